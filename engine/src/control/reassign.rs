//! Partitions that user code adds and takes away while the engine runs, where they are assigned by hand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::Control;
use super::assignment::partitions;
use super::fences::Done;
use super::lanes::Phase;
use super::requests::not_owned;
use super::seam::{AssignedTopic, Subscription};
use super::topic_partition::TopicPartition;
use crate::error::Error;
use crate::link::{CloseReason, LaneId};

/// Changes that may be under way at once; more are answered with an error.
const CHANGES_MAX: usize = 1024;

/// Changes of what is assigned, under way.
#[derive(Debug, Default)]
pub(super) struct Changes {
    coming: Vec<Coming>,
    going: Vec<Going>,
    /// Partitions of topics that are assigned as a whole, taken away.
    unassigned: BTreeSet<TopicPartition>,
}

/// Partitions that are wanted and not all open.
#[derive(Debug)]
struct Coming {
    assigned: AssignedTopic,
    /// Once the topic is known: those whose lanes are waited for.
    partitions: Option<Vec<TopicPartition>>,
    deadline: Instant,
    done: Done,
}

/// Partitions that are given up and not all closed.
#[derive(Debug)]
struct Going {
    partitions: Vec<(TopicPartition, LaneId)>,
    done: Done,
}

impl Changes {
    /// When the topic of one has been unknown for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.coming.iter().filter(|coming| coming.partitions.is_none()).map(|coming| coming.deadline).min()
    }

    /// Topics that must be known.
    pub(super) fn topics(&self) -> impl Iterator<Item = Arc<str>> + '_ {
        self.coming.iter().map(|coming| coming.assigned.topic.clone())
    }

    /// Whether a partition of a topic that is assigned as a whole was taken away.
    pub(super) fn is_unassigned(&self, at: &TopicPartition) -> bool {
        self.unassigned.contains(at)
    }

    /// Whoever waits gets no more answer than that the engine has stopped.
    pub(super) fn clear(&mut self) {
        self.coming.clear();
        self.going.clear();
    }

    fn has_room(&self) -> bool {
        self.coming.len() + self.going.len() < CHANGES_MAX
    }
}

impl Control {
    /// Assigns partitions beside those that are. Answered once they are open; what is assigned already stays as it is.
    pub(super) fn assign_more(&mut self, assigned: AssignedTopic, done: Done, now: Instant) {
        if let Err(error) = self.may_change() {
            return done.fulfil(Err(error));
        }
        let deadline = now + self.config.default_api_timeout;
        self.changes.coming.push(Coming { assigned, partitions: None, deadline, done });
        self.use_topics(now);
    }

    /// Gives partitions up. Answered once they are closed and what they have done is committed.
    pub(super) fn unassign(&mut self, given_up: &[TopicPartition], done: Done, now: Instant) {
        if let Err(error) = self.may_change() {
            return done.fulfil(Err(error));
        }
        if let Some(missing) = given_up.iter().find(|at| !self.desired.contains_key(at)) {
            return done.fulfil(Err(not_owned(missing)));
        }
        let lane = |at: &TopicPartition| Some((at.clone(), self.lanes.find(at)?.id));
        let partitions: Vec<_> = given_up.iter().filter_map(lane).collect();
        for at in given_up {
            self.desired.remove(at);
            if let Subscription::Assign(topics) = &mut self.subscription {
                remove(topics, at, &mut self.changes.unassigned);
            }
        }
        let deadline = now + self.config.shutdown_timeout;
        for (_, lane) in &partitions {
            self.close(*lane, CloseReason::Revoked, deadline);
        }
        self.changes.going.push(Going { partitions, done });
        self.use_topics(now);
    }

    /// Goes on with what is under way.
    pub(super) fn advance_changes(&mut self, now: Instant) {
        if !self.changes.going.is_empty() {
            let is_over =
                |going: &Going| going.partitions.iter().all(|(_, lane)| self.lanes.get(*lane).is_none());
            let over = self.changes.going.extract_if(.., |going| is_over(going));
            over.for_each(|going| going.done.fulfil(Ok(())));
        }
        for mut coming in std::mem::take(&mut self.changes.coming) {
            if coming.partitions.is_none() {
                match self.expand(&coming.assigned, now) {
                    Ok(partitions) => coming.partitions = partitions,
                    Err(error) => {
                        coming.done.fulfil(Err(error));
                        continue;
                    }
                }
            }
            let is_open = |at: &TopicPartition| {
                let lane = self.lanes.find(at);
                // One that is unassigned again meanwhile is not waited for.
                lane.is_some_and(|lane| lane.phase != Phase::Positioning) || !self.desired.contains_key(at)
            };
            match &coming.partitions {
                Some(partitions) if partitions.iter().all(is_open) => coming.done.fulfil(Ok(())),
                None if coming.deadline <= now => {
                    let topic = &coming.assigned.topic;
                    let limit_ms = self.config.default_api_timeout.as_millis();
                    let text =
                        format!("topic {topic} was not known within {limit_ms} ms (default.api.timeout.ms)");
                    coming.done.fulfil(Err(Error::UnknownTopic(text)));
                }
                _ => self.changes.coming.push(coming),
            }
        }
    }

    /// Takes the partitions in once their topic is known; `None` before that.
    fn expand(
        &mut self,
        assigned: &AssignedTopic,
        now: Instant,
    ) -> Result<Option<Vec<TopicPartition>>, Error> {
        let Some(state) = self.metadata.topic(&assigned.topic) else { return Ok(None) };
        let numbers = match partitions(assigned, state) {
            Ok(numbers) => numbers,
            Err(None) => return Ok(None),
            Err(Some(error)) => return Err(error),
        };
        let name = &state.topic.name;
        let partitions: Vec<_> =
            numbers.into_iter().map(|partition| TopicPartition::new(name.clone(), partition)).collect();
        for at in &partitions {
            self.desired.entry(at.clone()).or_insert(assigned.start);
        }
        if let Subscription::Assign(topics) = &mut self.subscription {
            add(topics, assigned.clone(), &mut self.changes.unassigned);
        }
        self.is_reconcile_due = true;
        self.since.assigned(now);
        self.reconcile(now);
        Ok(Some(partitions))
    }

    fn may_change(&self) -> Result<(), Error> {
        if self.stopping.is_some() {
            return Err(Error::Stopped);
        }
        if !matches!(self.subscription, Subscription::Assign(_)) {
            return Err(Error::Subscription(
                "a group decides what its members own: subscribe to topics instead",
            ));
        }
        match self.changes.has_room() {
            true => Ok(()),
            false => {
                Err(Error::Busy(format!("{CHANGES_MAX} changes of the assignment are under way already")))
            }
        }
    }
}

/// Adds topics to those that are assigned.
fn add(topics: &mut Vec<AssignedTopic>, more: AssignedTopic, unassigned: &mut BTreeSet<TopicPartition>) {
    let is_meant = |at: &TopicPartition| {
        at.topic == more.topic && more.partitions.as_ref().is_none_or(|only| only.contains(&at.partition))
    };
    unassigned.retain(|at| !is_meant(at));
    topics.push(more);
}

/// Takes a partition away; one of a topic that is assigned as a whole is kept in mind.
fn remove(topics: &mut Vec<AssignedTopic>, at: &TopicPartition, unassigned: &mut BTreeSet<TopicPartition>) {
    for assigned in topics.iter_mut().filter(|assigned| assigned.topic == at.topic) {
        match &mut assigned.partitions {
            Some(only) => only.retain(|partition| *partition != at.partition),
            None => drop(unassigned.insert(at.clone())),
        }
    }
    topics.retain(|assigned| assigned.partitions.as_ref().is_none_or(|only| !only.is_empty()));
}
