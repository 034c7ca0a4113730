//! What a shard takes from the configuration, in the units that it works in.

use std::time::Duration;

use crate::config::{Config, ConfigError, HugePages, IsolationLevel};

/// Batches waiting on a lane are worth at most this many partition fetches, so that one can be handled while the
/// next is on its way.
const LANE_SHARE_FETCHES: usize = 2;
/// A lane may hold at most this part of what its shard may fetch.
const LANE_SHARE_DIVISOR: usize = 2;

/// A shard's settings; sizes in bytes.
#[derive(Clone, Debug)]
pub(crate) struct ShardSettings {
    pub(crate) client_id: String,
    /// Where this process is; empty where that is not told.
    pub(crate) rack: String,
    pub(crate) read_committed: bool,
    pub(crate) check_crcs: bool,
    pub(crate) fetch_min_bytes: usize,
    pub(crate) fetch_max_bytes: usize,
    pub(crate) fetch_max_wait: Duration,
    pub(crate) partition_fetch_max_bytes: usize,
    pub(crate) poll_records_max: u32,
    pub(crate) poll_bytes_max: usize,
    pub(crate) decompressed_batch_max_bytes: usize,
    pub(crate) response_max_bytes: usize,
    /// For responses.
    pub(crate) fetch_share_bytes: usize,
    /// Beside it, for one decompression.
    pub(crate) decode_reserve_bytes: usize,
    /// Whether large frames ask for huge pages.
    pub(crate) huge_pages: bool,
    /// What one lane may have waiting before it is not fetched any more.
    pub(crate) lane_share_bytes: usize,
    /// How long a batch may be out.
    pub(crate) max_poll_interval: Duration,
    /// How long a lane with records to deliver may stand still before that is told; `None` for ever.
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) request_timeout: Duration,
    /// How long a follower is fetched from before its leader is asked again.
    pub(crate) metadata_max_age: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
    pub(crate) reconnect_backoff: Duration,
    pub(crate) reconnect_backoff_max: Duration,
    pub(crate) connect_timeout: Duration,
}

impl ShardSettings {
    /// The settings of one of `shards` shards.
    ///
    /// # Errors
    /// When the memory budget does not suffice for so many.
    pub(crate) fn new(config: &Config, shards: usize) -> Result<Self, ConfigError> {
        let memory = config.shard_memory(shards)?;
        let lane_share_bytes = (config.max_partition_fetch_bytes.saturating_mul(LANE_SHARE_FETCHES))
            .min(memory.fetch_bytes / LANE_SHARE_DIVISOR);
        Ok(Self {
            client_id: config.client_id.clone(),
            rack: config.client_rack.clone(),
            read_committed: config.isolation_level == IsolationLevel::ReadCommitted,
            check_crcs: config.check_crcs,
            fetch_min_bytes: config.fetch_min_bytes,
            fetch_max_bytes: config.fetch_max_bytes,
            fetch_max_wait: config.fetch_max_wait,
            partition_fetch_max_bytes: config.max_partition_fetch_bytes,
            poll_records_max: u32::try_from(config.max_poll_records).unwrap_or(u32::MAX),
            poll_bytes_max: config.max_poll_bytes,
            decompressed_batch_max_bytes: config.decompressed_batch_max_bytes,
            response_max_bytes: config.receive_message_max_bytes,
            fetch_share_bytes: memory.fetch_bytes,
            decode_reserve_bytes: memory.decompression_bytes,
            huge_pages: config.memory_huge_pages == HugePages::Transparent,
            lane_share_bytes,
            max_poll_interval: config.max_poll_interval,
            stall_timeout: config.stall_timeout,
            request_timeout: config.request_timeout,
            metadata_max_age: config.metadata_max_age,
            retry_backoff: config.retry_backoff,
            retry_backoff_max: config.retry_backoff_max,
            reconnect_backoff: config.reconnect_backoff,
            reconnect_backoff_max: config.reconnect_backoff_max,
            connect_timeout: config.socket_connection_setup_timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigSources;

    #[test]
    fn a_lane_may_hold_two_partition_fetches_and_at_most_half_of_what_its_shard_fetches_with() {
        let lane_share_bytes = |partition_fetch_max: &str| {
            let mut sources = ConfigSources::new();
            sources.set("bootstrap.servers", "k:1").set("max.partition.fetch.bytes", partition_fetch_max);
            // 64 MiB for two shards, of which each sets 8 MiB aside: 24 MiB to fetch with.
            ShardSettings::new(&sources.build().unwrap(), 2).unwrap().lane_share_bytes
        };
        assert_eq!(lane_share_bytes("1048576"), 2 << 20);
        assert_eq!(lane_share_bytes("33554432"), 12 << 20);
    }
}
