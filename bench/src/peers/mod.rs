//! What the peers are made of beside their programs.

pub mod foreign;
#[cfg(feature = "peers")]
pub mod librdkafka;
pub mod millstream;
#[cfg(feature = "peers")]
pub mod rdkafka;
#[cfg(feature = "peers")]
pub mod rust;
