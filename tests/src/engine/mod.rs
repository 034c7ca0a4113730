//! What a test needs around an engine that runs: a record of what its handlers were given, and of what it logged.

mod ledger;
mod log;
mod wait;

pub use ledger::{Contents, Ledger, Recorder, SeenPartition};
pub use log::Log;
pub use wait::{ended, wait_until};
