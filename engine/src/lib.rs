//! A thread-per-core Kafka consumer engine over io_uring.

pub mod config;
#[allow(dead_code, unused_imports)]
mod control;
#[allow(dead_code, unused_imports)]
mod driver;
#[allow(dead_code)]
mod error;
#[allow(dead_code, unused_imports)]
mod handler;
#[allow(dead_code)]
mod link;
#[allow(dead_code, unused_imports)]
mod memory;
#[allow(dead_code, unused_imports)]
mod net;
mod position;
#[allow(dead_code)]
mod pulse;
#[allow(dead_code)]
mod reply;
mod report;
#[allow(dead_code, unused_imports)]
mod shard;
#[allow(dead_code, unused_imports)]
mod stats;

pub use error::{BoxError, Error, LaneError, LaneErrorCause};
pub use handler::{Batch, Context, Handler, Header, Headers, Lane, Outcome, OwnedRecord, Record, Records};
pub use position::StartPosition;
pub use report::{CommitReport, PartitionOffset, Report};
pub use stats::Stage;
