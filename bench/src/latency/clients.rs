//! The clients under the latency harness, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::contract::{Failure, Outcome, Request};

/// A client, set up in one way.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// What it is called on the command line and in reports.
    pub name: &'static str,
    /// How it waits and is polled.
    pub what: &'static str,
    program: &'static str,
    options: &'static [&'static str],
}

/// The one that others are held against.
pub const REFERENCE: &str = "librdkafka-tuned";

const MILLSTREAM: &str = "latency_millstream";
const RDKAFKA: &str = "latency_rdkafka";

/// All of them.
pub const ALL: &[Client] = &[
    Client {
        name: "parked",
        what: "Millstream, asleep until something comes",
        program: MILLSTREAM,
        options: &["-X", "idle.strategy=park"],
    },
    Client {
        name: "adaptive-20us",
        what: "Millstream, looks on for 20 us after work",
        program: MILLSTREAM,
        options: &["-X", "idle.strategy=adaptive", "-X", "idle.spin.us=20"],
    },
    Client {
        name: "adaptive-100us",
        what: "Millstream, looks on for 100 us after work",
        program: MILLSTREAM,
        options: &["-X", "idle.strategy=adaptive", "-X", "idle.spin.us=100"],
    },
    Client {
        name: "adaptive-500us",
        what: "Millstream, looks on for 500 us after work",
        program: MILLSTREAM,
        options: &["-X", "idle.strategy=adaptive", "-X", "idle.spin.us=500"],
    },
    Client {
        name: "spinning",
        what: "Millstream, never asleep",
        program: MILLSTREAM,
        options: &["-X", "idle.strategy=spin"],
    },
    Client {
        name: "librdkafka-default",
        what: "librdkafka as it ships, polled one by one",
        program: RDKAFKA,
        options: &["--mode", "single"],
    },
    Client {
        name: REFERENCE,
        what: "librdkafka without waits of its own, polled one by one",
        program: RDKAFKA,
        options: TUNED,
    },
    Client {
        name: "librdkafka-batch",
        what: "librdkafka without waits of its own, polled for batches of 1 ms",
        program: RDKAFKA,
        options: TUNED_BATCH,
    },
];

/// What its documentation names for low latency: nothing is held back to fill a packet, a fetch follows the last one at
/// once, also after an error or a full queue.
const TUNED: &[&str] = &[
    "--mode",
    "single",
    "-X",
    "socket.nagle.disable=true",
    "-X",
    "fetch.queue.backoff.ms=0",
    "-X",
    "fetch.error.backoff.ms=0",
];
const TUNED_BATCH: &[&str] = &[
    "--mode",
    "batch",
    "-X",
    "socket.nagle.disable=true",
    "-X",
    "fetch.queue.backoff.ms=0",
    "-X",
    "fetch.error.backoff.ms=0",
];

impl Client {
    /// The client of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|client| client.name == name)
    }

    /// Its program, if it was built.
    pub fn program(&self) -> Option<PathBuf> {
        let own = std::env::current_exe().ok()?;
        let beside = own.with_file_name(self.program);
        // A test is one folder below the programs.
        let above = own.ancestors().nth(2)?.join(self.program);
        [beside, above].into_iter().find(|path| path.is_file())
    }

    /// Runs it once, on this core if one is given.
    ///
    /// # Errors
    /// If it cannot be run, fails, or prints something else than the contract says.
    pub fn run(&self, request: &Request, core: Option<usize>, hlog: &Path) -> Result<Outcome, Failure> {
        let program = self.program().ok_or_else(|| format!("{} was not built", self.program))?;
        let mut command = match core {
            Some(core) => {
                let mut taskset = Command::new("taskset");
                taskset.args(["-c", &core.to_string()]).arg(program);
                taskset
            }
            None => Command::new(program),
        };
        let output = command
            .args(request.arguments())
            .args(self.options)
            .arg("--hlog")
            .arg(hlog)
            .output()
            .map_err(|error| format!("{}: {error}", self.program))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} failed: {}", self.name, said.trim()).into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(|error| format!("{}: {error}: {line}", self.name).into())
    }
}
