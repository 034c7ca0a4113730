//! Kafka's consumer protocol without IO.

pub mod fetch;
pub mod group;
pub mod record;
pub mod request;
