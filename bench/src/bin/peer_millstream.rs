//! Millstream as a peer, embedded as a library: shards of the engine, or one that the main thread drives.
//!
//! Beside the contract's options: `--drive engine|caller`, `--spin` (a driven shard never parks).

use std::process::ExitCode;
use std::time::Instant;

use lexopt::ValueExt;
use millstream_bench::contract::{self, Failure, Outcome, Peer, Request};
use millstream_bench::peers::millstream::{Drive, read};

fn main() -> ExitCode {
    contract::run::<Millstream>()
}

#[derive(Default)]
struct Millstream {
    drive: Drive,
    spins: bool,
}

impl Peer for Millstream {
    fn version() -> String {
        format!("millstream {}", env!("CARGO_PKG_VERSION"))
    }

    fn own_option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        match name {
            "drive" => {
                self.drive = match &*parser.value()?.string()? {
                    "engine" => Drive::Engine,
                    "caller" => Drive::Caller { spins: false },
                    other => return Err(format!("--drive {other}: use engine or caller").into()),
                }
            }
            "spin" => self.spins = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure> {
        let drive = match self.drive {
            Drive::Caller { .. } => Drive::Caller { spins: self.spins },
            Drive::Engine if self.spins => {
                return Err("--spin is for --drive caller; use -X idle.strategy=spin".into());
            }
            Drive::Engine => Drive::Engine,
        };
        read(request, drive, started)
    }
}
