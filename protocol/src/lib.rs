//! Kafka's consumer protocol without IO.

pub mod fetch;
pub mod record;
pub mod request;
