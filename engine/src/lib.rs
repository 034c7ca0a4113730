//! A thread-per-core Kafka consumer engine over io_uring, or over epoll where a host denies it.
//!
//! One shard runs on each core, every partition belongs to one shard, and its records are fetched, decoded and handled
//! there. A program implements [`Handler`], says what to consume with [`Engine::builder`], starts the engine, and
//! steers it from any thread through a [`Handle`].
//!
//! ```no_run
//! use millstream::{Batch, Context, Engine, Handler, Outcome};
//! use std::time::Duration;
//!
//! struct Print;
//!
//! impl Handler for Print {
//!     type Error = std::io::Error;
//!
//!     fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, Self::Error> {
//!         for record in batch.records() {
//!             println!("{}-{}@{}", record.topic(), record.partition(), record.offset());
//!         }
//!         Ok(Outcome::Done)
//!     }
//! }
//!
//! let engine = Engine::builder()
//!     .property("bootstrap.servers", "localhost:9092")
//!     .group("printers")
//!     .topics(["orders"])
//!     .build()?
//!     .start(|_lane| Ok::<_, std::io::Error>(Print))?;
//! engine.wait_for_signal(Duration::from_secs(20))?;
//! # Ok::<(), millstream::Error>(())
//! ```
//!
//! # Delivery
//!
//! At least once, in the order of the partition. With `group.id` set, what a handler has finished is committed: every
//! `auto.commit.interval.ms` and before a partition is given up or the engine ends (unless `enable.auto.commit` is
//! false), when a handler asks by [`Context::commit`], and by [`Handle::commit`]. What a handler has not finished is
//! never committed, so after a crash the records since the last commit come again.
//!
//! # When something fails
//!
//! What can pass (a broker that is down, a leader that moves, a coordinator that is busy) is retried with backoff. A
//! record batch whose CRC is wrong is fetched again, three times. A handler's error or panic, a malformed record, or a
//! partition that the broker will never serve fails that partition: the others finish the batch in hand, what is done
//! is committed, the group is left, and [`Engine::wait`] returns the error, which names topic, partition and offset.
//!
//! # Threads, and what may block
//!
//! | thread | runs | may it block? |
//! |---|---|---|
//! | `millstream-0`, … (a shard) | handlers, [`AsyncLane`] tasks, factories, on their core | no: all else there waits |
//! | `millstream-control` | the group, metadata, commits; no user code | |
//! | `millstream-dns` | the system's resolver; no user code | |
//! | yours | [`Handle`], [`Engine::wait`] | yes; what begins with `begin_` asks and returns a future instead |
//!
//! A handler that computes for long is fine as far as its core is its own: heartbeats go on on the control thread, up
//! to `max.poll.interval.ms` for one batch. One that waits (for a lock, a disk, another service) delays every
//! partition of its core. The methods of [`Handle`] that wait for an answer refuse to be called from a handler
//! ([`Error::OnShard`]): they might wait for the very shard that it holds. [`Context`] has what a handler needs.
//!
//! # Memory
//!
//! `memory.budget.bytes` bounds the memory for fetched data of all shards together. Records are lent to a handler
//! for the time of one call; [`Record::retain`] keeps one beyond it without a copy, and its whole frame with it.
//!
//! # Configuration
//!
//! By Kafka's property names, from a file, the environment, a command line or code; see [`config`].

pub mod admin;
mod caller;
pub mod config;
mod control;
mod driver;
mod engine;
mod error;
mod event;
mod handler;
mod health;
mod lease;
mod link;
mod memory;
mod net;
pub mod offload;
mod offsets;
mod on_shard;
#[cfg(feature = "pieces")]
#[doc(hidden)]
pub mod pieces;
mod position;
mod pulse;
pub mod recording;
#[cfg(feature = "replay")]
#[doc(hidden)]
pub mod replay;
mod reply;
mod report;
mod shard;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod simulation;
mod stats;
pub mod testing;

pub use caller::{BoundShard, Budget, CallerShard, Polled, ShardHandler};
pub use control::TopicPartition;
pub use engine::{
    CloseOptions, Engine, EngineBuilder, Finished, Footprint, Handle, Partitions, Prepared, Reply, Signals,
};
pub use error::{BoxError, Error, LaneError, LaneErrorCause};
pub use event::{EngineEvent, Events, MoveReason, NextEvent};
pub use handler::{
    Ack, AsyncLane, Batch, Context, Handler, Header, Headers, Lane, LentBatch, Movable, NextBatch, Outcome,
    OwnedRecord, Record, Records, Sleep, Timer, TimestampType,
};
pub use health::{Health, HealthProblem};
pub use net::TransportKind;
pub use offsets::{CommittedOffset, OffsetToCommit, TimestampOffset};
pub use position::StartPosition;
pub use report::{CommitReport, PartitionOffset, Report};
pub use stats::{BlockedBy, CommitStats, EngineStats, LaneSnapshot, ShardSnapshot, Stage, StageSummary};

/// The examples of the README and of the pages for users, compiled, and run where they can be.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/coming-from.md")]
    struct ComingFrom;
    #[doc = include_str!("../../docs/delivery.md")]
    struct Delivery;
    #[doc = include_str!("../../docs/errors.md")]
    struct Errors;
    #[doc = include_str!("../../docs/handling.md")]
    struct Handling;
    #[doc = include_str!("../../docs/memory.md")]
    struct Memory;
    #[doc = include_str!("../../docs/moving.md")]
    struct Moving;
    #[doc = include_str!("../../docs/subscribing.md")]
    struct Subscribing;
    #[doc = include_str!("../../docs/testing.md")]
    struct Testing;
    #[doc = include_str!("../../docs/threads.md")]
    struct Threads;
}
