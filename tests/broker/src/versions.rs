//! Which APIs a broker offers, and in which versions.

use std::collections::BTreeMap;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::VersionRange;

/// Highest and lowest version of each API, as ApiVersions answers it. An API that is not listed is not offered.
#[derive(Debug, Clone, PartialEq)]
pub struct Versions {
    ranges: BTreeMap<i16, VersionRange>,
}

/// What the broker implements: the lowest and highest version it can decode and answer.
const IMPLEMENTED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 6),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    // Later versions of the transaction APIs are between brokers, or need a feature that this broker does not have.
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 4),
    (ApiKey::EndTxn, 0, 4),
    (ApiKey::TxnOffsetCommit, 0, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DescribeCluster, 0, 2),
    (ApiKey::ConsumerGroupHeartbeat, 0, 1),
];

/// What Kafka 2.8 answers, for the APIs above.
const KAFKA_2_8_MAX: &[(ApiKey, i16)] = &[
    (ApiKey::Produce, 9),
    (ApiKey::Fetch, 12),
    (ApiKey::ListOffsets, 6),
    (ApiKey::Metadata, 11),
    (ApiKey::OffsetCommit, 8),
    (ApiKey::OffsetFetch, 7),
    (ApiKey::FindCoordinator, 3),
    (ApiKey::JoinGroup, 7),
    (ApiKey::Heartbeat, 4),
    (ApiKey::LeaveGroup, 4),
    (ApiKey::SyncGroup, 5),
    (ApiKey::DescribeGroups, 5),
    (ApiKey::ListGroups, 4),
    (ApiKey::ApiVersions, 3),
    (ApiKey::CreateTopics, 7),
    (ApiKey::DeleteTopics, 6),
    (ApiKey::DeleteRecords, 2),
    (ApiKey::InitProducerId, 4),
    (ApiKey::OffsetForLeaderEpoch, 4),
    (ApiKey::AddPartitionsToTxn, 3),
    (ApiKey::AddOffsetsToTxn, 3),
    (ApiKey::EndTxn, 3),
    (ApiKey::TxnOffsetCommit, 3),
    (ApiKey::DescribeConfigs, 4),
    (ApiKey::CreatePartitions, 3),
    (ApiKey::DeleteGroups, 2),
    (ApiKey::DescribeCluster, 0),
];

/// Fetch from this version on names topics by id.
pub(crate) const FETCH_TOPIC_ID_VERSION: i16 = 13;

impl Versions {
    /// Everything this broker implements, at its newest version.
    pub fn newest() -> Self {
        let ranges = IMPLEMENTED.iter().map(|&(api, min, max)| (api as i16, VersionRange { min, max }));
        Self { ranges: ranges.collect() }
    }

    /// The table of Kafka 2.8, which knows no topic ids: Fetch ends at version 12.
    pub fn kafka_2_8() -> Self {
        let mut versions = Self::newest();
        versions.ranges.retain(|key, _| KAFKA_2_8_MAX.iter().any(|(api, _)| *api as i16 == *key));
        for &(api, max) in KAFKA_2_8_MAX {
            versions = versions.limit(api, i16::MIN, max);
        }
        versions
    }

    /// Narrows an API to the versions from `min` to `max`, within what the broker implements.
    #[must_use]
    pub fn limit(mut self, api: ApiKey, min: i16, max: i16) -> Self {
        if let Some(range) = self.ranges.get_mut(&(api as i16)) {
            *range = range.intersect(&VersionRange { min, max });
        }
        self
    }

    /// Stops offering an API.
    #[must_use]
    pub fn without(mut self, api: ApiKey) -> Self {
        self.ranges.remove(&(api as i16));
        self
    }

    /// The versions of an API that requests may have; `None` when the API is not offered.
    pub fn range(&self, api: ApiKey) -> Option<VersionRange> {
        self.ranges.get(&(api as i16)).copied().filter(|range| !range.is_empty())
    }

    /// All offered APIs in the order of their keys, as ApiVersions lists them.
    ///
    /// Produce is listed from version 0 on although versions below 3 are refused, as Kafka 4 does: librdkafka takes a
    /// broker without version 0 for one that cannot compress.
    pub(crate) fn advertised(&self) -> impl Iterator<Item = (i16, VersionRange)> {
        self.ranges.iter().filter(|(_, range)| !range.is_empty()).map(|(&key, &range)| {
            let min = if key == ApiKey::Produce as i16 { 0 } else { range.min };
            (key, VersionRange { min, max: range.max })
        })
    }

    /// Whether clients can learn topic ids from this broker.
    pub(crate) fn has_topic_ids(&self) -> bool {
        self.range(ApiKey::Fetch).is_some_and(|range| range.max >= FETCH_TOPIC_ID_VERSION)
    }
}

impl Default for Versions {
    fn default() -> Self {
        Self::newest()
    }
}
