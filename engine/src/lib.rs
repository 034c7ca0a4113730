//! A thread-per-core Kafka consumer engine over io_uring.

pub mod config;
#[allow(dead_code, unused_imports)]
mod control;
#[allow(dead_code, unused_imports)]
mod driver;
mod engine;
mod error;
mod handler;
#[allow(dead_code, unused_imports)]
mod link;
#[allow(dead_code, unused_imports)]
mod memory;
#[allow(dead_code, unused_imports)]
mod net;
mod position;
mod pulse;
#[allow(dead_code)]
mod reply;
mod report;
mod shard;
mod stats;

pub use engine::{Engine, EngineBuilder, Finished, Handle, Partitions, Prepared};
pub use error::{BoxError, Error, LaneError, LaneErrorCause};
pub use handler::{Batch, Context, Handler, Header, Headers, Lane, Outcome, OwnedRecord, Record, Records};
pub use position::StartPosition;
pub use report::{CommitReport, PartitionOffset, Report};
pub use stats::{CommitStats, EngineStats, LaneSnapshot, ShardSnapshot, Stage, StageSummary};
