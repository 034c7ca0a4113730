//! What is read: how much of what, in which batches, over which partitions, and when it arrives.
//!
//! A [`Workload`] determines its record batches to the byte ([`PartitionWriter`]), so a consumer is compared with the
//! truth and not only with other consumers.

mod live;
mod reader;
mod table;
mod truth;
mod values;
mod writer;

use std::time::Duration;

use millstream_protocol::record::Codec;
use serde::{Deserialize, Serialize};

pub use live::{Append, Burst, Live, TICK_MS};
pub use reader::{BatchReader, ReadError};
pub use table::{all, by_name, main};
pub use truth::Truth;
pub use values::{SLOW_TAG, ValueText};
pub use writer::PartitionWriter;

/// The most partitions of a workload.
pub const MAX_PARTITIONS: u32 = 20_000;
/// The largest value.
pub const MAX_VALUE_BYTES: usize = 1_000_000;

/// One kind of work for a consumer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// What it is called on the command line and in reports.
    pub name: String,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Whether records have a key and two headers.
    pub keyed: bool,
    /// How many records go into a batch.
    pub fill: Fill,
    /// How batches are compressed.
    #[serde(with = "codec_name")]
    pub codec: Codec,
    /// Partitions of the topic.
    pub partitions: u32,
    /// How many of them have records, spread evenly.
    pub active_partitions: u32,
    /// Records that lie ready when a consumer starts.
    pub preloaded: u64,
    /// Records that arrive while it reads.
    pub live: Option<Live>,
    /// Time that the network adds to each round trip.
    pub round_trip_us: Option<u64>,
    /// What the consumer is asked to do.
    pub consumer: Consumer,
}

/// How many records a batch gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// So many; the last batch of a partition has the rest.
    Records(u32),
    /// As many as fit into so many bytes as sent. Like Kafka's producers, the size after compression is foretold from
    /// the batch before.
    Bytes(usize),
}

/// What the consumer is asked to do, beside reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Consumer {
    /// Reads as a group with automatic commits at this interval.
    pub commit_interval_ms: Option<u64>,
    /// Spins so long for each record.
    pub handler_ns: u64,
    /// Only records of this partition take `handler_ns`.
    pub slow_partition: Option<u32>,
    /// Not pinned to a core, but free to use so many CPUs.
    pub unpinned_cpus: Option<u32>,
}

/// A workload that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("workload {name}: {what}")]
pub struct WorkloadError {
    name: String,
    what: String,
}

impl Workload {
    /// Everything that a consumer has to read.
    pub fn records(&self) -> u64 {
        self.preloaded + self.live.map_or(0, |live| live.records())
    }

    /// The same with so many preloaded records.
    pub fn with_preloaded(mut self, records: u64) -> Self {
        self.preloaded = records;
        self
    }

    /// Whether its limits hold. One that comes from another process is checked before it is used.
    ///
    /// # Errors
    /// [`WorkloadError`] with the first limit that does not.
    pub fn check(&self) -> Result<(), WorkloadError> {
        let holds = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(WorkloadError { name: self.name.clone(), what: what.to_owned() }),
        };
        holds((1..=MAX_PARTITIONS).contains(&self.partitions), "1 to 20000 partitions can be read")?;
        let active = 1..=self.partitions;
        holds(active.contains(&self.active_partitions), "1 to all of the partitions can be active")?;
        holds((1..=MAX_VALUE_BYTES).contains(&self.value_bytes), "values have 1 to 1000000 bytes")?;
        holds(!matches!(self.fill, Fill::Records(0)), "a batch has a record at least")?;
        holds(self.records() > 0, "there is nothing to read")?;
        let halves = self.preloaded == 0 || self.live.is_none() || self.active_partitions >= 2;
        holds(halves, "backlog beside live records needs two active partitions")
    }

    /// The partitions with records, in order.
    pub fn active(&self) -> impl DoubleEndedIterator<Item = u32> + ExactSizeIterator + '_ {
        let (all, active) = (u64::from(self.partitions), u64::from(self.active_partitions));
        // The quotient is below the number of partitions.
        (0..self.active_partitions).map(move |index| (u64::from(index) * all / active) as u32)
    }

    /// The partitions with records that lie ready: all active ones, or the first half where the others are live.
    pub fn preloaded_partitions(&self) -> Vec<u32> {
        let count = match (self.preloaded, &self.live) {
            (0, _) => 0,
            (_, None) => self.active_partitions as usize,
            (_, Some(_)) => self.active_partitions as usize / 2,
        };
        self.active().take(count).collect()
    }

    /// The partitions whose records arrive while they are read.
    pub fn live_partitions(&self) -> Vec<u32> {
        match self.live {
            Some(_) => self.active().skip(self.preloaded_partitions().len()).collect(),
            None => Vec::new(),
        }
    }

    /// Records that lie ready in a partition: an even share, the first partitions having one more.
    pub fn preloaded_records_of(&self, partition: u32) -> u64 {
        let partitions = self.preloaded_partitions();
        let Some(place) = partitions.iter().position(|&active| active == partition) else { return 0 };
        let count = partitions.len() as u64;
        self.preloaded / count + u64::from((place as u64) < self.preloaded % count)
    }

    /// Half of the added round trip: what each direction is delayed by.
    pub fn one_way_delay(&self) -> Option<Duration> {
        self.round_trip_us.map(|us| Duration::from_nanos(us * 1_000 / 2))
    }

    /// In a sentence, for reports.
    pub fn describe(&self) -> String {
        let mut text = format!("{} values of {} B", self.records(), self.value_bytes);
        if self.keyed {
            text.push_str(" with key and two headers");
        }
        text.push_str(&match self.fill {
            Fill::Records(1) => ", one to a batch".to_owned(),
            Fill::Records(count) => format!(", {count} to a batch"),
            Fill::Bytes(bytes) => format!(", batches of up to {bytes} B"),
        });
        text.push_str(&format!(", compression {}", self.codec));
        text.push_str(&match (self.partitions, self.active_partitions) {
            (1, _) => ", 1 partition".to_owned(),
            (all, active) if all == active => format!(", {all} partitions"),
            (all, active) => format!(", {active} of {all} partitions active"),
        });
        if let Some(live) = &self.live {
            text.push_str(&live.describe(self.preloaded));
        }
        if let Some(us) = self.round_trip_us {
            text.push_str(&format!(", {us} us added to each round trip"));
        }
        text.push_str(&self.consumer.describe());
        text
    }
}

impl Consumer {
    fn describe(&self) -> String {
        let mut text = String::new();
        if let Some(ms) = self.commit_interval_ms {
            text.push_str(&format!(", as a group that commits each {ms} ms"));
        }
        match (self.handler_ns, self.slow_partition) {
            (0, _) => {}
            (ns, None) => text.push_str(&format!(", {ns} ns of work per record")),
            (ns, Some(slow)) => text.push_str(&format!(", {ns} ns of work per record of partition {slow}")),
        }
        if let Some(cpus) = self.unpinned_cpus {
            text.push_str(&format!(", not pinned, {cpus} CPUs"));
        }
        text
    }
}

mod codec_name {
    use millstream_protocol::record::Codec;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(codec: &Codec, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(codec.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Codec, D::Error> {
        let name = String::deserialize(from)?;
        let known = Codec::ALL.into_iter().find(|codec| codec.name() == name);
        known.ok_or_else(|| D::Error::custom(format!("{name:?} is no codec: none, gzip, snappy, lz4, zstd")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_workload_is_possible_and_survives_the_way_to_another_process() {
        for workload in all() {
            workload.check().unwrap();
            let json = serde_json::to_string(&workload).unwrap();
            assert_eq!(serde_json::from_str::<Workload>(&json).unwrap(), workload, "{json}");
        }
    }

    #[test]
    fn names_are_unique_and_found() {
        for workload in all() {
            assert_eq!(by_name(&workload.name).unwrap(), workload);
        }
        assert_eq!(by_name("100"), None);
        for workload in main() {
            assert!(all().contains(&workload));
        }
    }

    #[test]
    fn shares_add_up_over_the_partitions() {
        for workload in all() {
            let shares = (0..workload.partitions).map(|partition| workload.preloaded_records_of(partition));
            assert_eq!(shares.sum::<u64>(), workload.preloaded, "{}", workload.name);
        }
    }

    #[test]
    fn a_workload_beyond_its_limits_is_refused_by_name() {
        let mut workload = by_name("100b").unwrap();
        workload.active_partitions = 5;
        let error = workload.check().unwrap_err().to_string();
        assert!(error.contains("100b") && error.contains("active"), "{error}");
    }
}
