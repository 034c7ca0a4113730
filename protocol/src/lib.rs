//! Kafka's consumer protocol without IO.

pub mod backoff;
pub mod fetch;
pub mod group;
pub mod record;
pub mod request;
