//! What brokers see of one process.

use std::fmt;

use crate::config::Config;
use crate::control::Subscription;

/// Connections of one shard to a broker that leads one of its partitions: one with the fetch session, and one for
/// partitions that cannot wait for the Fetch that is parked there.
const CONNECTIONS_PER_SHARD: usize = 2;

/// The connections and fetch sessions that brokers see of one engine: see
/// [`Prepared::footprint`](crate::Prepared::footprint).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Footprint {
    /// Fetch sessions at each broker that leads partitions of every shard: one per shard. A broker keeps
    /// `max.incremental.fetch.session.cache.slots` (1000 unless it is set) of them for all its clients and followers.
    pub fetch_sessions_per_leader: usize,
    /// Connections to each such broker, at most: two per shard, of which the second comes when it is needed.
    pub fetch_connections_per_leader: usize,
    /// Connections of the control thread to each leader, while offsets to start from are looked for.
    pub offset_connections_per_leader: usize,
    /// Connections to the group's coordinator.
    pub coordinator_connections: usize,
    /// Connections for metadata, to one broker of the cluster.
    pub metadata_connections: usize,
}

impl Footprint {
    pub(super) fn new(config: &Config, subscription: &Subscription, shards: usize) -> Self {
        let coordinator_connections = match (subscription, &config.group_id) {
            // One is for the group's requests, which a rebalance may hold up, one for offsets.
            (Subscription::Group { .. } | Subscription::Pattern { .. }, _) => 2,
            (Subscription::Assign(_), Some(_)) => 1,
            (Subscription::Assign(_), None) => 0,
        };
        Self {
            fetch_sessions_per_leader: shards,
            fetch_connections_per_leader: shards * CONNECTIONS_PER_SHARD,
            offset_connections_per_leader: 1,
            coordinator_connections,
            metadata_connections: 1,
        }
    }

    /// The most connections that any one broker sees.
    pub fn connections_per_broker_max(&self) -> usize {
        self.fetch_connections_per_leader
            + self.offset_connections_per_leader
            + self.coordinator_connections
            + self.metadata_connections
    }
}

/// In one line.
impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a broker sees at most {} fetch session(s) and {} connection(s) of this process: {} to fetch, {} for \
             offsets, {} as coordinator, {} for metadata",
            self.fetch_sessions_per_leader,
            self.connections_per_broker_max(),
            self.fetch_connections_per_leader,
            self.offset_connections_per_leader,
            self.coordinator_connections,
            self.metadata_connections
        )
    }
}

#[cfg(test)]
mod tests {
    use crate::{Engine, Partitions, StartPosition};

    #[test]
    fn sessions_count_by_shard_and_coordinator_connections_by_what_is_asked_of_it() {
        let builder = || Engine::builder().property("bootstrap.servers", "localhost:9092");
        let member = builder().group("g").topics(["t"]).build().unwrap();
        let shards = member.shard_cores().len();
        let seen = member.footprint();
        assert_eq!((seen.fetch_sessions_per_leader, seen.fetch_connections_per_leader), (shards, 2 * shards));
        assert_eq!(seen.coordinator_connections, 2);
        let assigned = || builder().assign("t", Partitions::All, StartPosition::Earliest);
        assert_eq!(assigned().build().unwrap().footprint().coordinator_connections, 0);
        let seen = assigned().group("g").build().unwrap().footprint();
        assert_eq!((seen.coordinator_connections, seen.connections_per_broker_max()), (1, 2 * shards + 3));
        let line = seen.to_string();
        assert!(line.starts_with(&format!("a broker sees at most {shards} fetch session(s) and")), "{line}");
    }
}
