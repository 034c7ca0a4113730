//! An engine in a group, as a process: `engine_member TOPIC KEY=VALUE... [--record=FILE]`. It prints what happens as
//! JSON lines.
//!
//! Commands are lines on stdin: `commit` (awaits one), `hold` (handlers keep the next batch they are called with) and
//! `release`. SIGTERM stops the engine in order; the exit status is 0 only if that went well.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream::{Batch, Context, Engine, Error, Handle, Handler, Outcome};
use millstream_tests::group::EngineEvent;
use xxhash_rust::xxh3::xxh3_64;

/// What handlers get to finish after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let event = match run() {
        Ok(event) => event,
        Err(error) => EngineEvent::Failed { error: error.to_string() },
    };
    report(&event);
    match event {
        EngineEvent::Ended { .. } => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn run() -> Result<EngineEvent, Error> {
    let mut arguments = std::env::args().skip(1);
    let mut builder = Engine::builder().topics(arguments.next());
    for argument in arguments {
        builder = match argument.strip_prefix("--record=") {
            Some(file) => builder.record(file),
            None => builder.argument(&argument)?,
        };
    }
    let gate = Arc::new(Gate::default());
    let handlers_gate = Arc::clone(&gate);
    let engine = builder.build()?.start(move |lane| {
        let partition = lane.partition();
        report(&EngineEvent::Assigned { partition, start_offset: lane.start_offset() });
        Ok::<_, String>(Recorder { partition, gate: Arc::clone(&handlers_gate) })
    })?;
    let handle = engine.handle();
    std::thread::spawn(move || obey(&handle, &gate));
    let ended = engine.wait_for_signal(GRACE)?;
    Ok(EngineEvent::Ended {
        committed: ended.committed.iter().map(Into::into).collect(),
        uncommitted: ended.uncommitted.iter().map(Into::into).collect(),
    })
}

/// Carries out commands until stdin ends.
fn obey(handle: &Handle, gate: &Gate) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match line.trim() {
            "commit" => report(&commit(handle)),
            "hold" => gate.set(true),
            "release" => gate.set(false),
            other => report(&EngineEvent::Failed { error: format!("no such command: {other}") }),
        }
    }
}

fn commit(handle: &Handle) -> EngineEvent {
    match handle.commit() {
        Ok(done) => EngineEvent::Committed { offsets: done.committed.iter().map(Into::into).collect() },
        Err(error) => EngineEvent::CommitFailed {
            is_rebalance: matches!(error, Error::RebalanceInProgress),
            error: error.to_string(),
        },
    }
}

/// Reports every batch after it was walked, and keeps it while the gate is closed.
struct Recorder {
    partition: i32,
    gate: Arc<Gate>,
}

impl Handler for Recorder {
    type Error = String;

    fn on_batch(&mut self, batch: &Batch<'_>, _cx: &mut Context<'_>) -> Result<Outcome, String> {
        self.gate.pass(self.partition);
        let mut hashes = Vec::new();
        let mut first_offset = None;
        for record in batch.records() {
            let first = *first_offset.get_or_insert(record.offset());
            if record.offset() != first + hashes.len() as i64 {
                return Err(format!(
                    "offset {} follows {} records from {first} on",
                    record.offset(),
                    hashes.len()
                ));
            }
            hashes.push(record.value().map_or(0, xxh3_64));
        }
        if let Some(first_offset) = first_offset {
            report(&EngineEvent::Records { partition: self.partition, first_offset, hashes });
        }
        Ok(Outcome::Done)
    }

    fn on_revoked(&mut self, _deadline: Instant) {
        report(&EngineEvent::Revoked { partition: self.partition });
    }

    fn on_lost(&mut self) {
        report(&EngineEvent::Lost { partition: self.partition });
    }
}

/// Where handlers wait while it is closed.
#[derive(Default)]
struct Gate {
    is_closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, is_closed: bool) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = is_closed;
        self.changed.notify_all();
        report(&EngineEvent::Holding { is_on: is_closed });
    }

    fn pass(&self, partition: i32) {
        let mut is_closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *is_closed {
            report(&EngineEvent::Held { partition });
        }
        while *is_closed {
            is_closed = self.changed.wait(is_closed).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Prints an event. One write per line: a process that is killed leaves whole lines, but for the last.
fn report(event: &EngineEvent) {
    let Ok(mut line) = serde_json::to_string(event) else { return };
    line.push('\n');
    let mut out = io::stdout().lock();
    // Without a reader nobody is left to tell.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
