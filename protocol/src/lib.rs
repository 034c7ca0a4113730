//! Kafka's consumer protocol without IO.
