//! Partitions that are assigned by hand: which of the topics' partitions are meant, and what is wrong with them.

use std::time::Instant;

use millstream_protocol::request::ErrorCode;

use super::Control;
use super::metadata::TopicState;
use super::seam::{AssignedTopic, Subscription};
use super::topic_partition::TopicPartition;
use crate::error::Error;
use crate::event::EngineEvent;

/// Answers in a row that must call a topic unknown before it counts as such: a topic that was just created is not
/// known to all brokers at once.
pub(super) const UNKNOWN_TOPIC_ANSWERS: u32 = 5;

impl Control {
    /// Takes the topics' partitions, as far as they are known by now, for the ones to own.
    pub(super) fn expand_assignment(&mut self, now: Instant) {
        let Subscription::Assign(topics) = &self.subscription else { return };
        if self.stopping.is_some() {
            return;
        }
        let mut wrong = None;
        let known = self.desired.len();
        for assigned in topics {
            let Some(state) = self.metadata.topic(&assigned.topic) else { continue };
            match partitions(assigned, state) {
                Ok(partitions) => {
                    for partition in partitions {
                        let at = TopicPartition::new(state.topic.name.clone(), partition);
                        if self.changes.is_unassigned(&at) {
                            continue;
                        }
                        self.is_reconcile_due |= self.desired.insert(at, assigned.start).is_none();
                    }
                }
                // A topic that was there before may come back; its lanes wait for it.
                Err(_) if self.desired.keys().any(|at| at.topic == assigned.topic) => {}
                Err(error) => wrong = wrong.or(error),
            }
        }
        if self.desired.len() > known {
            self.since.assigned(now);
        }
        if let Some(error) = wrong {
            self.fail(error, now);
        }
    }

    /// In a group topics may come and go; what is wrong for good with one ends the engine.
    pub(super) fn judge_subscription(&mut self, now: Instant) {
        let Subscription::Group { topics, .. } = &self.subscription else { return };
        let states: Vec<_> = topics.iter().filter_map(|topic| self.metadata.topic(topic)).collect();
        let refused = states.iter().find(|state| !state.error.is_ok() && !state.error.is_retriable());
        let refused = refused.map(|state| unusable(&state.topic.name, state.error));
        let missing = states.iter().filter(|state| state.failures == UNKNOWN_TOPIC_ANSWERS);
        let notices: Vec<_> = missing
            .map(|state| EngineEvent::TopicUnavailable {
                topic: state.topic.name.to_string(),
                reason: state.error.to_string(),
            })
            .collect();
        notices.into_iter().for_each(|notice| self.notify(notice));
        if let Some(error) = refused {
            self.fail(error, now);
        }
    }
}

/// The partitions that are meant; `Err(None)` while that is not known.
pub(super) fn partitions(assigned: &AssignedTopic, state: &TopicState) -> Result<Vec<i32>, Option<Error>> {
    if !state.error.is_ok() {
        let may_pass = state.error.is_retriable() && state.failures < UNKNOWN_TOPIC_ANSWERS;
        // A leader that is being elected is no reason to fail, however long it takes.
        let is_election = state.error == ErrorCode::LEADER_NOT_AVAILABLE;
        return Err((!may_pass && !is_election).then(|| unusable(&assigned.topic, state.error)));
    }
    let Some(wanted) = &assigned.partitions else {
        return Ok(state.partitions.iter().map(|partition| partition.partition).collect());
    };
    match wanted.iter().find(|&&partition| state.partition(partition).is_none()) {
        None => Ok(wanted.clone()),
        Some(missing) => {
            let count = state.partitions.len();
            let topic = &assigned.topic;
            let text = format!(
                "partition {missing} of topic {topic} does not exist: the topic has {count} partition(s)"
            );
            Err(Some(Error::UnknownTopic(text)))
        }
    }
}

fn unusable(topic: &str, error: ErrorCode) -> Error {
    Error::UnknownTopic(match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
            format!("topic {topic} does not exist (or may not be described): check its name, or create it")
        }
        error => format!("topic {topic} cannot be consumed: {error}"),
    })
}
