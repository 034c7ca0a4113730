//! A thread-per-core Kafka consumer engine over io_uring.

pub mod config;
#[allow(dead_code)]
mod error;
#[allow(dead_code)]
mod link;
#[allow(dead_code, unused_imports)]
mod memory;
#[allow(dead_code, unused_imports)]
mod net;
#[allow(dead_code, unused_imports)]
mod stats;

pub use error::{BoxError, Error, LaneError, LaneErrorCause};
pub use stats::Stage;
