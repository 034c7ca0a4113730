//! A thread-per-core Kafka consumer engine over io_uring.
