//! A thread-per-core Kafka consumer engine over io_uring.

pub mod config;
#[allow(dead_code, unused_imports)]
mod memory;
#[allow(dead_code, unused_imports)]
mod net;
