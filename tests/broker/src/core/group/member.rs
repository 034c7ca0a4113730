//! One member of a group.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::core::cluster::ConnectionId;

/// What a member brought when it joined, and what it waits for.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<StrBytes>,
    pub(super) client_id: StrBytes,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// Assignor names with the subscription for each, the preferred first.
    pub(super) protocols: Vec<(StrBytes, Bytes)>,
    pub(super) assignment: Bytes,
    /// Members of equal standing are ordered by this: the one that joined first leads.
    pub(super) join_sequence: u64,
    pub(super) session_ends_at: Instant,
    pub(super) awaits_join: Option<ConnectionId>,
    pub(super) awaits_sync: Option<ConnectionId>,
}

impl Member {
    /// When the member counts as gone; a member that waits for an answer cannot send heartbeats and is kept.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waits = self.awaits_join.is_some() || self.awaits_sync.is_some();
        (!waits).then_some(self.session_ends_at)
    }

    pub(super) fn heartbeat(&mut self, now: Instant) {
        self.session_ends_at = now + self.session_timeout;
    }

    pub(super) fn metadata_for(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name.as_str() == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name.as_str() == protocol)
    }
}
