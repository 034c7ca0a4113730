//! What Kafka's Java consumer reads: the oracle for what ours reads.

use serde::Deserialize;

use super::error::Result;
use super::tally::Tally;
use super::tools::{JavaTools, configs, option};

/// What to read: all partitions from their beginning to their present end, or as a member of a group.
#[derive(Debug, Clone)]
pub struct Consume {
    /// The topics.
    pub topics: Vec<String>,
    /// Skip aborted records, and end at the last stable offset.
    pub read_committed: bool,
    /// Compute [`Consumed::content_checksum`].
    pub content: bool,
    /// Read as a member of a group, until so many records came or none for some time.
    pub group: Option<GroupRead>,
    /// Further properties of the Java consumer.
    pub configs: Vec<(String, String)>,
}

/// When a member has read enough. It commits its positions then, and leaves.
#[derive(Debug, Clone)]
pub struct GroupRead {
    /// The group.
    pub id: String,
    /// Ends after this many records.
    pub records: u64,
    /// Ends when none came for so long.
    pub idle_ms: u64,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Consumed {
    /// All records.
    #[serde(flatten)]
    pub total: Tally,
    /// The wrapping sum of every record's [`content_hash`](super::SeenRecord::content_hash), if it was asked for.
    pub content_checksum: Option<u64>,
    /// The partitions that had records, in no order.
    pub partitions: Vec<ConsumedPartition>,
}

/// What was read from one partition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ConsumedPartition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: i32,
    /// The offset of the first record.
    pub first_offset: i64,
    /// The offset of the last record.
    pub last_offset: i64,
    /// Whether offsets only grew.
    pub ordered: bool,
    /// Its records.
    #[serde(flatten)]
    pub tally: Tally,
}

impl Consume {
    /// Reading all of one topic.
    pub fn new(topic: &str) -> Self {
        Self {
            topics: vec![topic.to_owned()],
            read_committed: false,
            content: false,
            group: None,
            configs: Vec::new(),
        }
    }

    fn arguments(&self, bootstrap: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        option(&mut arguments, "bootstrap", bootstrap);
        option(&mut arguments, "topic", self.topics.join(","));
        option(&mut arguments, "content", u8::from(self.content));
        let isolation = if self.read_committed { "read_committed" } else { "read_uncommitted" };
        option(&mut arguments, "isolation", isolation);
        if let Some(group) = &self.group {
            option(&mut arguments, "group", &group.id);
            option(&mut arguments, "records", group.records.min(i64::MAX as u64));
            option(&mut arguments, "idle-ms", group.idle_ms);
        }
        configs(&mut arguments, &self.configs);
        arguments
    }
}

impl JavaTools {
    /// Reads with Kafka's Java consumer.
    ///
    /// # Errors
    /// If the consumer fails.
    pub fn consume(&self, bootstrap: &str, what: &Consume) -> Result<Consumed> {
        self.run_json("Consume", &what.arguments(bootstrap))
    }
}
