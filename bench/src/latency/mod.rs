//! How long a record takes to its handler, by an open loop: a writer that keeps its schedule whatever the reader does.

mod clients;
mod command;
mod histograms;
mod jitter;
mod plot;
mod probe;
mod report;
mod stamps;

pub use clients::{ALL, Client, REFERENCE};
pub use command::run;
pub use histograms::Latencies;
pub use probe::{Probe, hlog_option};
pub use stamps::{STAMPS_BYTES, Stamps, now_ns};
