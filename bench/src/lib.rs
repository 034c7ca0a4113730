//! Benchmarks of Millstream, and its comparison with other clients.
//!
//! The comparison needs the feature `peers`, which builds librdkafka with CMake:
//!
//! ```text
//! cargo build --release -p millstream-cli
//! cargo run --release -p millstream-bench --features peers --bin versus
//! ```

pub mod process;
#[cfg(feature = "peers")]
pub mod rdkafka;
pub mod summary;
#[cfg(feature = "peers")]
pub mod versus;
