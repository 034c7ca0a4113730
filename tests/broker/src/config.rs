//! How a test cluster is set up.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::versions::Versions;

/// Settings of a cluster. `Config::default()` is one broker that creates topics on first use.
#[derive(Debug, Clone)]
pub struct Config {
    /// The broker ids; one listener each.
    pub brokers: Vec<i32>,
    /// The cluster id that Metadata tells.
    pub cluster_id: String,
    /// APIs and versions that every broker offers.
    pub versions: Versions,
    /// Whether Metadata creates topics that do not exist, where the client allows it.
    pub auto_create_topics: bool,
    /// Partitions of a topic that is created without saying how many.
    pub default_partitions: i32,
    /// Brokers that hold each partition; when its leader stops, the next of them leads.
    pub replication_factor: usize,
    /// Bytes that a partition keeps; its oldest appends go first. `None` keeps everything.
    pub retention_bytes: Option<u64>,
    /// Fetch sessions (KIP-227) that each broker keeps; 0 refuses all of them.
    pub fetch_session_slots: usize,
    /// How long a fetch session is safe from making room for another one.
    pub fetch_session_eviction: Duration,
    /// How long the first rebalance of an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// Shortest session timeout that a group member may ask for.
    pub min_session_timeout: Duration,
    /// Longest session timeout that a group member may ask for.
    pub max_session_timeout: Duration,
    /// How often members of the consumer protocol are to send heartbeats.
    pub consumer_heartbeat_interval: Duration,
    /// How long members of the consumer protocol stay in their group without one.
    pub consumer_session_timeout: Duration,
    /// Where brokers are. Where any is told, followers answer Fetches, and a leader names a follower in the rack of a
    /// client that tells one, as under `RackAwareReplicaSelector` (KIP-392).
    pub racks: BTreeMap<i32, String>,
    /// Where member ids, session ids and topic ids are drawn from: the same seed gives the same ids.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            brokers: vec![1],
            cluster_id: "millstream-test-cluster".to_owned(),
            versions: Versions::newest(),
            auto_create_topics: true,
            default_partitions: 1,
            replication_factor: 1,
            retention_bytes: None,
            fetch_session_slots: 1_000,
            fetch_session_eviction: Duration::from_secs(120),
            initial_rebalance_delay: Duration::ZERO,
            min_session_timeout: Duration::from_millis(6),
            max_session_timeout: Duration::from_secs(1_800),
            consumer_heartbeat_interval: Duration::from_secs(5),
            consumer_session_timeout: Duration::from_secs(45),
            racks: BTreeMap::new(),
            seed: 1,
        }
    }
}
