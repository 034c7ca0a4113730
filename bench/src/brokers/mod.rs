//! Where consumers read from: a broker on a core of its own, filled with the batches of a workload.
//!
//! Two kinds have the same batches to the byte, but for the offsets and leader epochs that brokers write into them.
//! [`Kind::Replay`] is the test broker in a process of its own, which hands out slices of what it holds in memory, so
//! that it is not what is measured. [`Kind::Kafka`] is Apache Kafka.

mod error;
mod feed;
pub(crate) mod helper;
pub(crate) mod kafka;
mod proxy;
mod replay;
pub mod serve;

use serde::{Deserialize, Serialize};

pub use error::Error;
pub use proxy::DelayProxy;
pub(crate) use serve::say;

use crate::workload::{Truth, Workload};

/// What kind of broker to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The test broker, replaying batches from memory.
    Replay,
    /// Apache Kafka.
    Kafka,
}

/// A running broker that holds a workload's batches. It ends when this is dropped.
///
/// Records of a live workload begin to arrive once a consumer of [`topic`](Self::topic) has sent a Fetch (replay), or
/// some seconds after the topic was made (Kafka, which does not tell). Every run needs a topic of its own: call
/// [`renew`](Self::renew) before each.
pub struct Source {
    broker: Broker,
    offer: Offer,
}

enum Broker {
    Replay(replay::Replay),
    Kafka(Box<kafka::Kafka>),
}

/// What a consumer needs to be told, and what it will find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// `host:port` of the broker, or of the proxy before it.
    pub bootstrap: String,
    /// The topic to read.
    pub topic: String,
    /// What there is to read in it.
    pub truth: Truth,
}

impl Kind {
    /// The kind of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "replay" => Some(Self::Replay),
            "kafka" => Some(Self::Kafka),
            _ => None,
        }
    }
}

impl Source {
    /// Starts a broker on `core` (or on any, without one) and fills it.
    ///
    /// # Errors
    /// If it cannot be started or filled.
    pub fn start(kind: Kind, workload: &Workload, core: Option<usize>) -> Result<Self, Error> {
        workload.check()?;
        let (broker, offer) = match kind {
            Kind::Replay => {
                let (broker, offer) = replay::Replay::start(workload, core)?;
                (Broker::Replay(broker), offer)
            }
            Kind::Kafka => {
                let (broker, offer) = kafka::Kafka::start(workload, core)?;
                (Broker::Kafka(Box::new(broker)), offer)
            }
        };
        Ok(Self { broker, offer })
    }

    /// Gets ready for the next run: a fresh topic if the workload has live records, otherwise nothing.
    ///
    /// # Errors
    /// If the broker fails.
    pub fn renew(&mut self) -> Result<(), Error> {
        self.offer = match &mut self.broker {
            Broker::Replay(replay) => replay.renew(&self.offer)?,
            Broker::Kafka(kafka) => kafka.renew(&self.offer)?,
        };
        Ok(())
    }

    /// `host:port`, as `bootstrap.servers` wants it.
    pub fn bootstrap(&self) -> &str {
        &self.offer.bootstrap
    }

    /// The topic to read.
    pub fn topic(&self) -> &str {
        &self.offer.topic
    }

    /// What there is to read.
    pub fn truth(&self) -> &Truth {
        &self.offer.truth
    }

    /// What it is, for reports.
    pub fn description(&self) -> String {
        match &self.broker {
            Broker::Replay(replay) => replay.description(),
            Broker::Kafka(kafka) => kafka.description(),
        }
    }
}
