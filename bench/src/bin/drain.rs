//! The limit that clients are held against: receives every response and looks at nothing but batch headers.

use std::process::ExitCode;

use millstream_bench::contract;
use millstream_bench::drain::Drain;

fn main() -> ExitCode {
    contract::run::<Drain>()
}
