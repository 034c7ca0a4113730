//! Which batches `read_committed` may deliver.

/// A transaction that was aborted, as a Fetch response lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AbortedTransaction {
    /// Id of the producer whose transaction it was.
    pub producer_id: i64,
    /// Offset of its first record in this partition.
    pub first_offset: i64,
}
