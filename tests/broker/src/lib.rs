//! An in-memory Kafka broker for tests, benchmarks and the demo.
