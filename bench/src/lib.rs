//! Benchmarks of Millstream, and its comparison with other clients.
//!
//! ```text
//! cargo run --release -p millstream-bench --features peers -- compare
//! ```
//!
//! The feature `peers` builds the other clients, librdkafka among them with CMake.

pub mod brokers;
pub mod codec_alone;
pub mod compare;
pub mod contract;
pub mod drain;
pub mod latency;
pub mod material;
pub mod peers;
pub mod scale;
pub mod workload;
