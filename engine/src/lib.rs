//! A thread-per-core Kafka consumer engine over io_uring.

#[allow(dead_code, unused_imports)]
mod memory;
#[allow(dead_code, unused_imports)]
mod net;
