//! For the tests of programs that embed Millstream.
//!
//! [`HandlerTest`] runs a [`Handler`](crate::Handler) against made-up records: no broker, no threads, virtual time. It
//! is the engine's own shard that decodes, dispatches and moves the watermark, not a model of it, so what it says about
//! offsets is what would be committed.
//!
//! ```
//! use millstream::testing::{HandlerTest, record};
//! # use millstream::{Batch, Context, Handler, Outcome};
//! # #[derive(Default)]
//! # struct Sum(u64);
//! # impl Handler for Sum {
//! #     type Error = Box<dyn std::error::Error + Send + Sync>;
//! #     fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
//! #         for record in batch.records() {
//! #             self.0 += std::str::from_utf8(record.value().unwrap_or_default())?.parse::<u64>()?;
//! #             cx.done(record.offset());
//! #         }
//! #         Ok(Outcome::Done)
//! #     }
//! # }
//!
//! let mut test = HandlerTest::new(Sum::default());
//! test.batch([record("1"), record("2")]).expect_done();
//! assert_eq!(test.handler().0, 3);
//!
//! let run = test.batch([record("4"), record("a word")]);
//! assert_eq!(run.expect_error().offset(), 3, "where the partition stands still");
//! assert_eq!(run.commit_offset(), 3, "what was done before it is committed");
//! ```
//!
//! The same goes for tasks of [async lanes](crate::AsyncLane), see [`HandlerTestBuilder::task`].
//!
//! [`MockContext`] and [`TestBatch::lend`] are for functions that take a [`Context`](crate::Context), a
//! [`Batch`](crate::Batch) or a [`Record`](crate::Record) and are not handlers.
//!
//! [`Deliveries`] collects records from handlers on any thread, and says which were lost, repeated, late, different or
//! unexpected.
//!
//! `TestBroker`, behind the feature `test-broker`, is a Kafka cluster inside the process for whole engines, with the
//! faults that a test asks for.

#[cfg(feature = "test-broker")]
mod broker;
mod builder;
mod clock;
mod context;
mod deliveries;
mod expected;
mod findings;
mod handler_test;
#[cfg(test)]
mod later_tests;
mod record;
mod recorder;
mod rig;
mod run;
#[cfg(test)]
mod tests;

#[cfg(feature = "test-broker")]
pub use broker::{Fault, Request, TestBroker, TestBrokerError};
pub use builder::{HandlerTestBuilder, Task};
pub use context::MockContext;
pub use deliveries::{Delivered, Deliveries, Recording};
pub use expected::Expected;
pub use findings::{Findings, Stretch};
pub use handler_test::HandlerTest;
pub use millstream_protocol::record::Codec;
#[cfg(feature = "test-broker")]
pub use millstream_protocol::request::ErrorCode;
pub use record::{TestBatch, TestRecord, batch, record, tombstone};
pub use run::{Call, Closed, Run};
