//! The clients under the latency harness, and how each is started.

use std::path::Path;
use std::process::Command;

use crate::compare::Program;
use crate::contract::{Failure, Outcome, Request};

/// A client, set up in one way.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// What it is called on the command line and in reports.
    pub name: &'static str,
    /// How it waits and is polled.
    pub what: &'static str,
    /// Whose it is.
    pub library: Library,
    own: &'static [&'static str],
}

/// A client whose program is there.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    /// Which.
    pub(super) client: Client,
    /// What starts its program.
    pub(super) program: Vec<String>,
}

/// What a client is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    /// Ours.
    Millstream,
    /// As it ships.
    Librdkafka,
    /// With [`TUNED`].
    TunedLibrdkafka,
}

/// The one that others are held against.
pub const REFERENCE: &str = "librdkafka-tuned";

/// What librdkafka's documentation names for low latency: nothing is held back to fill a packet, and a fetch follows
/// the last one at once, also after an error or a full queue. `fetch.min.bytes=1` is its default and in every request;
/// `fetch.wait.max.ms` is how long a broker with nothing holds a fetch, so a shorter one costs CPU and gives nothing;
/// the prefetch queue (`queued.min.messages`) stays as large as it is, since a full one is what stops fetching.
const TUNED: &[&str] =
    &["-X", "socket.nagle.disable=true", "-X", "fetch.queue.backoff.ms=0", "-X", "fetch.error.backoff.ms=0"];

const PARKED: Client = Client {
    name: "parked",
    what: "Millstream, asleep until something comes",
    library: Library::Millstream,
    own: &["-X", "idle.strategy=park"],
};
const SPINNING: Client = Client {
    name: "spinning",
    what: "Millstream, never asleep",
    own: &["-X", "idle.strategy=spin"],
    ..PARKED
};
const TUNED_SINGLE: Client = Client {
    name: REFERENCE,
    what: "librdkafka without waits of its own, polled one by one",
    library: Library::TunedLibrdkafka,
    own: &["--mode", "single"],
};

/// All of them.
pub const ALL: &[Client] = &[
    PARKED,
    Client {
        name: "adaptive-20us",
        what: "Millstream, looks on for up to 20 us after work as long as that pays",
        own: &["-X", "idle.strategy=adaptive", "-X", "idle.spin.us=20"],
        ..PARKED
    },
    Client {
        name: "adaptive-100us",
        what: "Millstream, looks on for up to 100 us after work as long as that pays",
        own: &["-X", "idle.strategy=adaptive", "-X", "idle.spin.us=100"],
        ..PARKED
    },
    Client {
        name: "adaptive-500us",
        what: "Millstream, looks on for up to 500 us after work as long as that pays",
        own: &["-X", "idle.strategy=adaptive", "-X", "idle.spin.us=500"],
        ..PARKED
    },
    Client {
        name: "adaptive-2000us",
        what: "Millstream, looks on for up to 2000 us after work as long as that pays",
        own: &["-X", "idle.strategy=adaptive", "-X", "idle.spin.us=2000"],
        ..PARKED
    },
    SPINNING,
    Client {
        name: "librdkafka-default",
        what: "librdkafka as it ships, polled one by one",
        library: Library::Librdkafka,
        ..TUNED_SINGLE
    },
    Client {
        name: "librdkafka-default-batch",
        what: "librdkafka as it ships, polled for batches of at most 1000 that may take 5 ms",
        library: Library::Librdkafka,
        own: &["--mode", "batch", "--poll-timeout-ms", "5"],
    },
    TUNED_SINGLE,
    Client {
        name: "librdkafka-tuned-batch",
        what: "librdkafka without waits of its own, polled for batches of at most 1000 that may take 1 ms",
        own: &["--mode", "batch", "--poll-timeout-ms", "1"],
        ..TUNED_SINGLE
    },
    Client {
        name: "librdkafka-tuned-spinning",
        what: "librdkafka without waits of its own, polled one by one by a thread that never sleeps",
        own: &["--mode", "single", "--poll-timeout-ms", "0"],
        ..TUNED_SINGLE
    },
];

impl Library {
    /// What its clients are run by.
    pub(super) fn program(self) -> Program {
        match self {
            Self::Millstream => Program::Cargo { bin: "latency_millstream", is_peer: false },
            Self::Librdkafka | Self::TunedLibrdkafka => {
                Program::Cargo { bin: "latency_rdkafka", is_peer: true }
            }
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Millstream | Self::Librdkafka => &[],
            Self::TunedLibrdkafka => TUNED,
        }
    }
}

impl Client {
    /// The client of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        ALL.iter().copied().find(|client| client.name == name)
    }
}

impl Ready {
    /// Runs it once, on this core if one is given.
    ///
    /// # Errors
    /// If it cannot be run, fails, or prints something else than the contract says.
    pub(super) fn run(
        &self,
        request: &Request,
        core: Option<usize>,
        hlog: &Path,
    ) -> Result<Outcome, Failure> {
        let Self { client, program } = self;
        let mut words = program.clone();
        if let Some(core) = core {
            words.splice(0..0, ["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
        }
        let (first, others) = words.split_first().ok_or("a client has no program")?;
        let mut command = Command::new(first);
        let output = command
            .args(others)
            .args(request.arguments())
            .args(client.library.options())
            .args(client.own)
            .arg("--hlog")
            .arg(hlog)
            .output()
            .map_err(|error| format!("{first}: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{} failed: {}", client.name, said.trim()).into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).map_err(|error| format!("{}: {error}: {line}", client.name).into())
    }
}
