//! The contract between the comparison and the programs that it runs, one per client: how they are called, and the one
//! line that they print.

mod arguments;
mod outcome;
mod process;
mod program;
mod reading;
mod tally;

pub use arguments::{Asked, Fetching, Group, Isolation, Request};
pub use outcome::{Contents, Outcome};
pub use process::{cpu_s, host_cpu_s, max_rss_kb};
pub use program::{Failure, Peer, run};
pub use reading::{Next, Reading};
pub use tally::{Measured, Stamp, Tally};
