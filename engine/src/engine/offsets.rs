//! What the handle tells of offsets, and commits on demand.

use super::handle::{Handle, named, off_shard};
use super::reply::Reply;
use crate::control::{OffsetsReply, Request, TopicPartition};
use crate::error::Error;
use crate::offsets::{CommittedOffset, OffsetToCommit, TimestampOffset};
use crate::reply::reply;
use crate::report::{CommitReport, PartitionOffset};

/// The timestamps by which ListOffsets is asked for the end and the beginning.
const END: i64 = -1;
const BEGINNING: i64 = -2;

impl Handle {
    /// The first offset in each log. Any partitions may be named, owned or not; they come in the order in which they
    /// are named.
    ///
    /// ```no_run
    /// # fn span(handle: &millstream::Handle) -> Result<(), millstream::Error> {
    /// let orders = [("orders", 0), ("orders", 1)];
    /// let (first, end) = (handle.beginning_offsets(&orders)?, handle.end_offsets(&orders)?);
    /// for (first, end) in first.iter().zip(&end) {
    ///     println!("{}-{}: {} offsets", first.topic, first.partition, end.offset - first.offset);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownTopic`] names what does not exist; [`Error::Lookup`] what a broker refuses, or does not answer
    /// within `default.api.timeout.ms`; [`Error::Stopped`]; [`Error::Busy`]; [`Error::OnShard`] in a handler.
    pub fn beginning_offsets(&self, partitions: &[(&str, i32)]) -> Result<Vec<PartitionOffset>, Error> {
        off_shard("Handle::beginning_offsets")?;
        self.begin_beginning_offsets(partitions).wait()
    }

    /// As [`Handle::beginning_offsets`], without waiting.
    pub fn begin_beginning_offsets(&self, partitions: &[(&str, i32)]) -> Reply<Vec<PartitionOffset>> {
        self.look_up(at(partitions, BEGINNING), OffsetsReply::Places)
    }

    /// The end of each log: the high watermark, or the last stable offset under `read_committed`.
    ///
    /// # Errors
    /// As [`Handle::beginning_offsets`].
    pub fn end_offsets(&self, partitions: &[(&str, i32)]) -> Result<Vec<PartitionOffset>, Error> {
        off_shard("Handle::end_offsets")?;
        self.begin_end_offsets(partitions).wait()
    }

    /// As [`Handle::end_offsets`], without waiting.
    pub fn begin_end_offsets(&self, partitions: &[(&str, i32)]) -> Reply<Vec<PartitionOffset>> {
        self.look_up(at(partitions, END), OffsetsReply::Places)
    }

    /// For each partition the first record that is not older than the time named with it, milliseconds since the Unix
    /// epoch; a time before that counts as the epoch. To go on there, seek to
    /// [`StartPosition::Timestamp`](crate::StartPosition::Timestamp) without asking first.
    ///
    /// # Errors
    /// As [`Handle::beginning_offsets`].
    pub fn offsets_for_times(&self, times: &[(&str, i32, i64)]) -> Result<Vec<TimestampOffset>, Error> {
        off_shard("Handle::offsets_for_times")?;
        self.begin_offsets_for_times(times).wait()
    }

    /// As [`Handle::offsets_for_times`], without waiting.
    pub fn begin_offsets_for_times(&self, times: &[(&str, i32, i64)]) -> Reply<Vec<TimestampOffset>> {
        let partitions = times.iter().map(|&(topic, partition, timestamp_ms)| {
            (TopicPartition::new(topic, partition), timestamp_ms.max(0))
        });
        self.look_up(partitions.collect(), OffsetsReply::Times)
    }

    /// What the group has committed of each partition, as its coordinator knows it, with the metadata. Any partitions
    /// may be named, owned or not.
    ///
    /// # Errors
    /// [`Error::NoGroup`]; otherwise as [`Handle::beginning_offsets`].
    pub fn committed(&self, partitions: &[(&str, i32)]) -> Result<Vec<CommittedOffset>, Error> {
        off_shard("Handle::committed")?;
        self.begin_committed(partitions).wait()
    }

    /// As [`Handle::committed`], without waiting.
    pub fn begin_committed(&self, partitions: &[(&str, i32)]) -> Reply<Vec<CommittedOffset>> {
        self.look_up(at(partitions, END), OffsetsReply::Committed)
    }

    /// Commits these offsets, with their metadata, and waits for the answer. Nothing looks whether their records are
    /// handled: that is the caller's to know. The engine's own commits go on beside it; where they shall not, set
    /// `enable.auto.commit=false`. A lower offset than the one committed is taken, too.
    ///
    /// A handler begins it by [`begin_commit_offsets`](Self::begin_commit_offsets).
    ///
    /// # Errors
    /// [`Error::RebalanceInProgress`] at once while the group is joining; [`Error::Commit`] when a partition's commit
    /// was refused, or not answered within `default.api.timeout.ms`; [`Error::NoGroup`]; [`Error::Stopped`];
    /// [`Error::Busy`]; [`Error::OnShard`] in a handler.
    pub fn commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = OffsetToCommit>,
    ) -> Result<CommitReport, Error> {
        off_shard("Handle::commit_offsets")?;
        self.begin_commit_offsets(offsets).wait()
    }

    /// As [`Handle::commit_offsets`], without waiting.
    pub fn begin_commit_offsets(
        &self,
        offsets: impl IntoIterator<Item = OffsetToCommit>,
    ) -> Reply<CommitReport> {
        let offsets = offsets.into_iter().collect();
        self.ask(|reply| Request::CommitOffsets { offsets, reply })
    }

    fn look_up<T>(
        &self,
        partitions: Vec<(TopicPartition, i64)>,
        kind: impl FnOnce(crate::reply::Promise<Result<T, Error>>) -> OffsetsReply,
    ) -> Reply<T> {
        let (promise, answer) = reply();
        match self.send(Request::Offsets { partitions, reply: kind(promise) }) {
            Ok(()) => Reply::asked(answer),
            Err(error) => Reply::known(Err(error)),
        }
    }
}

fn at(partitions: &[(&str, i32)], timestamp: i64) -> Vec<(TopicPartition, i64)> {
    named(partitions).into_iter().map(|at| (at, timestamp)).collect()
}
