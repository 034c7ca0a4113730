//! What the peers are made of beside their programs.

pub mod foreign;
pub mod millstream;
#[cfg(feature = "peers")]
pub mod rdkafka;
