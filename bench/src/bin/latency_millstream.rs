//! Millstream under the latency harness: how long each record took to its handler. `--hlog FILE` beside the options of
//! every peer; `-X idle.strategy=park|spin|adaptive` says how the shard waits.

use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use millstream::{Batch, Context, Handler, Outcome};
use millstream_bench::contract::{self, Failure, Peer, Request};
use millstream_bench::latency::{Probe, hlog_option};
use millstream_bench::peers::millstream::{prepare, settings};

fn main() -> ExitCode {
    contract::run::<Millstream>()
}

#[derive(Default)]
struct Millstream {
    hlog: Option<PathBuf>,
}

impl Peer for Millstream {
    fn version() -> String {
        format!("millstream {}", env!("CARGO_PKG_VERSION"))
    }

    fn own_option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        hlog_option(&mut self.hlog, name, parser)
    }

    fn read(self, request: &Request, started: Instant) -> Result<contract::Outcome, Failure> {
        let hlog = self.hlog.ok_or("--hlog FILE is missing")?;
        let prepared = prepare(request)?;
        let settings = settings(&prepared);
        let probe = Arc::new(Mutex::new(Probe::new(request, started)));
        let lanes = Arc::clone(&probe);
        let engine = prepared.start(move |_| Ok::<_, Infallible>(Lane(Arc::clone(&lanes))))?;
        engine.wait()?;
        let probe = probe.lock().unwrap_or_else(PoisonError::into_inner);
        probe.finish(&hlog, settings)
    }
}

/// One partition's handler. The lock is taken once a batch, and by one shard.
struct Lane(Arc<Mutex<Probe>>);

impl Handler for Lane {
    type Error = Infallible;

    fn on_batch(&mut self, batch: &Batch<'_>, _: &mut Context<'_>) -> Result<Outcome, Infallible> {
        let mut probe = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut is_last = false;
        for record in batch.records() {
            is_last = probe.handle(record.key(), record.value());
        }
        Ok(if is_last { Outcome::Stop } else { Outcome::Done })
    }
}
