//! What the handle adds to a hand-made assignment, and takes from it.

use super::builder::Partitions;
use super::handle::{Handle, named, off_shard};
use super::reply::Reply;
use crate::control::{AssignedTopic, Request};
use crate::error::Error;
use crate::position::StartPosition;

impl Handle {
    /// Consumes more partitions, in an engine that was built with [`assign`](crate::EngineBuilder::assign): returns
    /// once they are open. What is assigned already goes on where it is.
    ///
    /// # Errors
    /// [`Error::Subscription`] where a group assigns the partitions; [`Error::UnknownTopic`] names what does not exist,
    /// and nothing is assigned then; [`Error::Stopped`]; [`Error::Busy`]; [`Error::OnShard`] in a handler.
    pub fn assign(&self, topic: &str, partitions: Partitions, start: StartPosition) -> Result<(), Error> {
        off_shard("Handle::assign")?;
        self.begin_assign(topic, partitions, start).wait()
    }

    /// As [`Handle::assign`], without waiting.
    pub fn begin_assign(&self, topic: &str, partitions: Partitions, start: StartPosition) -> Reply<()> {
        let assigned = AssignedTopic { topic: topic.into(), partitions: partitions.only(), start };
        self.ask(|reply| Request::Assign { assigned, reply })
    }

    /// Gives partitions up, in an engine that was built with [`assign`](crate::EngineBuilder::assign): returns once
    /// their handlers have finished, within `shutdown.timeout.ms`, and what they have done is committed. The others are
    /// not touched. The engine goes on without any.
    ///
    /// # Errors
    /// [`Error::NotOwned`] names a partition that is not assigned, and none is given up then; otherwise as
    /// [`Handle::assign`].
    pub fn unassign(&self, partitions: &[(&str, i32)]) -> Result<(), Error> {
        off_shard("Handle::unassign")?;
        self.begin_unassign(partitions).wait()
    }

    /// As [`Handle::unassign`], without waiting.
    pub fn begin_unassign(&self, partitions: &[(&str, i32)]) -> Reply<()> {
        let partitions = named(partitions);
        self.ask(|reply| Request::Unassign { partitions, reply })
    }
}
