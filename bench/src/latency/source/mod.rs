//! Where stamped records come from: a process of its own that keeps its schedule whatever their reader does.

mod connections;
mod producer;
mod punctuality;
mod ticker;

use std::net::SocketAddr;
use std::num::NonZeroU64;

use millstream_tests::kafka::{KafkaCluster, Spec};
use serde::{Deserialize, Serialize};

pub use producer::produce_on_time;
pub use punctuality::Punctuality;
pub use ticker::tick;

use super::ticks::Ticks;
use crate::brokers::helper::Helper;
use crate::brokers::{Error, Kind};

const BROKER: i32 = 1;

/// What a source does until the next record is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// It looks at the clock: the most punctual, on a core of its own.
    Spinning,
    /// It sleeps, for a core that it shares with its reader.
    Asleep,
}

/// One run, as a source is asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Begin {
    /// Where its records go: one partition.
    topic: String,
    ticks: Ticks,
}

/// A broker, and what sends records into it.
pub(super) struct Source {
    sender: Helper,
    /// Dropped after the producer into it.
    kafka: Option<KafkaCluster>,
    bootstrap: String,
    description: String,
    runs: u32,
}

impl Waits {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spinning => "spin",
            Self::Asleep => "sleep",
        }
    }

    /// The one of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Spinning, Self::Asleep].into_iter().find(|waits| waits.name() == name)
    }
}

impl Begin {
    /// Reads what [`Source::begin`] wrote.
    fn parse(what: &str, line: &str) -> Result<Self, Error> {
        let parsed = serde_json::from_str::<Self>(line).map_err(|error| error.to_string());
        parsed.and_then(|begin| begin.ticks.check().map(|()| begin)).map_err(|reason| Error::Answer {
            what: what.to_owned(),
            line: line.to_owned(),
            reason,
        })
    }
}

impl Source {
    /// Starts it on a core, or on any. `waits` is for [`Kind::Replay`]; a producer always sleeps, since it shares its
    /// core with Kafka.
    pub(super) fn start(kind: Kind, core: Option<usize>, waits: Waits) -> Result<Self, Error> {
        match kind {
            Kind::Replay => Self::ticker(core, waits),
            Kind::Kafka => Self::kafka(core),
        }
    }

    /// Asks for the next run: the topic that it will be in. It begins when a consumer has come.
    pub(super) fn begin(&mut self, ticks: Ticks) -> Result<String, Error> {
        self.runs += 1;
        let begin = Begin { topic: format!("latency-{}", self.runs), ticks };
        if let Some(kafka) = &self.kafka {
            kafka.create_topic(&begin.topic, 1, &[])?;
        }
        let line = serde_json::to_string(&begin)
            .map_err(|error| Error::Io { what: "writing a schedule", source: error.into() })?;
        self.sender.tell(&line)?;
        match self.kafka {
            Some(_) => Ok(begin.topic),
            None => self.sender.answer(),
        }
    }

    /// How punctual the last run was, once everything of it was sent.
    pub(super) fn end(&mut self) -> Result<Punctuality, Error> {
        let punctuality = self.sender.answer()?;
        if let Some(kafka) = &self.kafka {
            kafka.delete_topic(&format!("latency-{}", self.runs))?;
        }
        Ok(punctuality)
    }

    /// `host:port`, as `bootstrap.servers` wants it.
    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// What it is, for reports.
    pub(super) fn description(&self) -> &str {
        &self.description
    }

    fn ticker(core: Option<usize>, waits: Waits) -> Result<Self, Error> {
        let mut sender = Helper::start("tick", &["tick", waits.name()], core)?;
        let address: SocketAddr = sender.answer()?;
        let description = format!(
            "Millstream's test broker {}, one thread {} that sends each record when it is due and {}s until then",
            env!("CARGO_PKG_VERSION"),
            place(core),
            waits.name()
        );
        Ok(Self { sender, kafka: None, bootstrap: address.to_string(), description, runs: 0 })
    }

    fn kafka(core: Option<usize>) -> Result<Self, Error> {
        let mut spec = Spec::new();
        if let Some(core) = core {
            spec = spec.cores(&core.to_string());
        }
        let cluster = KafkaCluster::start(spec)?;
        let address = cluster.broker_address(BROKER).to_string();
        let sender = Helper::start("produce", &["produce", &address], core)?;
        let description = format!(
            "Apache Kafka {}, one broker {}, and beside it a producer with one request in flight (acks=1)",
            cluster.version(),
            place(core)
        );
        let bootstrap = cluster.bootstrap();
        Ok(Self { sender, kafka: Some(cluster), bootstrap, description, runs: 0 })
    }
}

fn place(core: Option<usize>) -> String {
    core.map_or("on any core".to_owned(), |core| format!("on core {core}"))
}

/// Timers of this thread end when they are due, and not up to 50 us later.
fn no_timer_slack() {
    if let Err(error) = rustix::thread::set_current_timer_slack(Some(NonZeroU64::MIN)) {
        tracing::debug!(%error, "sleeps are longer by the timer's slack");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_comes_through_its_line_and_one_beyond_its_limits_is_refused() {
        let ticks = Ticks { records_per_s: 1_000, records: 5, value_bytes: 100 };
        let begin = Begin { topic: "latency-1".to_owned(), ticks };
        let line = |begin: &Begin| serde_json::to_string(begin).unwrap();
        assert_eq!(Begin::parse("tick", &line(&begin)).unwrap(), begin);
        let endless = Begin { ticks: Ticks { records: u64::MAX, ..ticks }, ..begin };
        assert!(Begin::parse("tick", &line(&endless)).unwrap_err().to_string().contains("records"));
        assert!(Begin::parse("tick", "renew").is_err());
    }
}
