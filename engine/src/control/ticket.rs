//! What an answer is for: comes back with it, so that no table of questions is needed.

use millstream_protocol::group::GroupRequestKind;

use super::positions::Searches;
use super::topic_partition::TopicPartition;

/// The sender of a question.
#[derive(Debug)]
pub(super) enum Ticket {
    /// Metadata.
    Metadata,
    /// The search for the group's coordinator.
    Coordinator,
    /// Searches for start positions.
    Positions(Searches),
    /// A lookup of offsets.
    Lookup {
        /// Its number.
        id: u64,
        /// The partitions that were asked for.
        asked: Vec<TopicPartition>,
    },
    /// A commit; its number.
    Commit(u64),
    /// One of the group's requests.
    Group {
        /// The connection to the coordinator that it was meant for.
        session: u64,
        /// Which request.
        kind: GroupRequestKind,
    },
}
