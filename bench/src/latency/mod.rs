//! How long a record takes to its handler, by an open loop: a writer that keeps its schedule whatever the reader does.

mod batches;
mod canvas;
mod clients;
mod command;
mod cost;
mod histograms;
mod jitter;
mod markdown;
mod percentiles;
mod probe;
mod report;
mod results;
mod rounds;
mod source;
mod stamps;
mod ticks;

pub use clients::{ALL, Client, REFERENCE};
pub use command::run;
pub use histograms::Latencies;
pub use probe::{Probe, hlog_option};
pub use source::{Punctuality, Waits, produce_on_time, tick};
pub use stamps::{STAMPS_BYTES, Stamps, now_ns};
pub use ticks::Ticks;
