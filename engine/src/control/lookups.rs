//! Offsets that user code asks for: beginnings, ends, offsets by time, committed ones. Of any partitions, whether they
//! are owned or not, and without an effect on those that are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::backoff::Backoff;
use millstream_protocol::request::ErrorCode;

use super::Control;
use super::assignment::UNKNOWN_TOPIC_ANSWERS;
use super::brokers::{ChannelKey, Failure};
use super::metadata::TopicState;
use super::seam::OffsetsReply;
use super::ticket::Ticket;
use super::topic_partition::TopicPartition;
use super::wire::{Answer, Ask, FetchedOffset, ListedOffset, OffsetAsk};
use crate::config::IsolationLevel;
use crate::error::Error;
use crate::offsets::{CommittedOffset, TimestampOffset};
use crate::report::PartitionOffset;

/// Lookups that may be under way at once; more are answered with an error.
const LOOKUPS_MAX: usize = 256;
/// Partitions in one lookup.
const PARTITIONS_MAX: usize = 100_000;

/// The lookups under way, by number.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    open: BTreeMap<u64, Lookup>,
    next: u64,
    /// One came or went since the topics in use were looked at.
    has_changed: bool,
}

#[derive(Debug)]
struct Lookup {
    /// As they were asked for.
    partitions: Vec<TopicPartition>,
    missing: BTreeMap<TopicPartition, Missing>,
    found: BTreeMap<TopicPartition, Found>,
    /// When to ask for what is missing; `None` while all of it is asked for.
    due: Option<Instant>,
    deadline: Instant,
    backoff: Backoff,
    /// What went wrong last.
    trouble: Option<(TopicPartition, String)>,
    reply: OffsetsReply,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    /// For ListOffsets.
    timestamp: i64,
    is_asked: bool,
}

#[derive(Clone, Debug)]
struct Found {
    offset: i64,
    timestamp_ms: i64,
    leader_epoch: i32,
    metadata: String,
}

impl Lookups {
    /// Topics whose leaders must be known.
    pub(super) fn topics(&self) -> BTreeSet<Arc<str>> {
        let listed = self.open.values().filter(|lookup| !lookup.reply.is_committed());
        listed.flat_map(|lookup| lookup.missing.keys().map(|at| Arc::clone(&at.topic))).collect()
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.values().flat_map(|lookup| lookup.due.into_iter().chain([lookup.deadline])).min()
    }

    /// Whoever waits gets no more answer than that the engine has stopped.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    fn end(&mut self, id: u64, error: Error) {
        if let Some(lookup) = self.open.remove(&id) {
            self.has_changed = true;
            lookup.reply.fail(error);
        }
    }
}

impl Control {
    /// Looks for the offsets of partitions, each at a timestamp of ListOffsets.
    pub(super) fn look_up(
        &mut self,
        partitions: Vec<(TopicPartition, i64)>,
        reply: OffsetsReply,
        now: Instant,
    ) {
        if reply.is_committed() && self.coordinator.is_none() {
            return reply.fail(Error::NoGroup);
        }
        if self.lookups.open.len() >= LOOKUPS_MAX {
            return reply
                .fail(Error::Busy(format!("{LOOKUPS_MAX} lookups of offsets are under way already")));
        }
        if partitions.len() > PARTITIONS_MAX {
            let asked = partitions.len();
            return reply
                .fail(Error::Busy(format!("{asked} offsets, {PARTITIONS_MAX} may be asked for at once")));
        }
        let missing = partitions
            .iter()
            .map(|(at, timestamp)| (at.clone(), Missing { timestamp: *timestamp, is_asked: false }));
        let lookup = Lookup {
            missing: missing.collect(),
            partitions: partitions.into_iter().map(|(at, _)| at).collect(),
            found: BTreeMap::new(),
            due: Some(now),
            deadline: now + self.config.default_api_timeout,
            backoff: Backoff::new(self.config.retry_backoff, self.config.retry_backoff_max),
            trouble: None,
            reply,
        };
        let id = self.lookups.next;
        self.lookups.next += 1;
        self.lookups.open.insert(id, lookup);
        self.lookups.has_changed = true;
    }

    /// Asks what is due, and ends what has taken too long.
    pub(super) fn advance_lookups(&mut self, now: Instant) {
        if std::mem::take(&mut self.lookups.has_changed) {
            self.use_topics(now);
        }
        let ids: Vec<u64> = self.lookups.open.keys().copied().collect();
        for id in ids {
            let Some(lookup) = self.lookups.open.get_mut(&id) else { continue };
            if lookup.missing.is_empty() {
                self.finish_lookup(id);
            } else if lookup.deadline <= now {
                let error = lookup.late(self.config.default_api_timeout);
                self.lookups.end(id, error);
            } else if lookup.due.is_some_and(|due| due <= now) {
                match lookup.reply.is_committed() {
                    true => self.ask_committed(id, now),
                    false => self.ask_listed(id, now),
                }
            }
        }
    }

    /// An answer to one of its questions.
    pub(super) fn on_lookup_answer(
        &mut self,
        id: u64,
        result: Result<Answer, Failure>,
        asked: &[TopicPartition],
        now: Instant,
    ) {
        let Some(lookup) = self.lookups.open.get_mut(&id) else { return };
        let mut verdict = Verdict::default();
        match result {
            Ok(Answer::Offsets(list)) => {
                list.into_iter().for_each(|one| lookup.take_listed(&one, &mut verdict));
            }
            Ok(Answer::Committed(answer)) => {
                verdict.judge(asked.first(), "OffsetFetch", answer.error);
                answer.partitions.into_iter().for_each(|one| lookup.take_fetched(one, &mut verdict));
            }
            Ok(_) => {}
            Err(Failure::Unsupported(error)) => verdict.fail(asked.first(), error.to_string()),
            Err(Failure::Unreachable(reason)) => verdict.unreachable(asked.first(), reason),
            Err(Failure::Malformed(error)) => verdict.unreachable(asked.first(), error.to_string()),
        }
        // What the answer leaves out is asked for again.
        for at in asked {
            if let Some(missing) = lookup.missing.get_mut(at) {
                missing.is_asked = false;
            }
        }
        lookup.trouble = verdict.trouble.take().or(lookup.trouble.take());
        if lookup.missing.values().any(|missing| !missing.is_asked) {
            let retry_at = now + lookup.backoff.failed(&mut self.rng);
            lookup.due = Some(lookup.due.map_or(retry_at, |due| due.min(retry_at)));
        }
        let is_committed = lookup.reply.is_committed();
        if let Some(error) = verdict.error {
            self.lookups.end(id, error);
        }
        match is_committed {
            true if verdict.is_elsewhere => self.forget_coordinator(now),
            false if verdict.is_elsewhere => self.metadata.want(now),
            _ => {}
        }
    }

    fn ask_committed(&mut self, id: u64, now: Instant) {
        let Some(coordinator) = &mut self.coordinator else { return };
        let Some(broker) = coordinator.want(now).cloned() else {
            // It goes on when the coordinator is found; the deadline ends it otherwise.
            return self.ask_lookup_later(id, now);
        };
        let group = Arc::clone(coordinator.group());
        self.brokers.aim(ChannelKey::Offsets, &broker, now);
        let require_stable = self.config.isolation_level == IsolationLevel::ReadCommitted;
        let Some(lookup) = self.lookups.open.get_mut(&id) else { return };
        let asked = lookup.take_unasked().into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        let ask = Ask::OffsetFetch { group, require_stable, partitions: asked.clone(), member: None };
        self.brokers.ask(ChannelKey::Offsets, ask, Ticket::Lookup { id, asked }, now);
    }

    fn ask_listed(&mut self, id: u64, now: Instant) {
        let Some(lookup) = self.lookups.open.get_mut(&id) else { return };
        let mut by_leader: BTreeMap<i32, Vec<OffsetAsk>> = BTreeMap::new();
        let mut wrong = None;
        let mut is_led = true;
        for (at, timestamp) in lookup.take_unasked() {
            match self.metadata.leader(&at) {
                Some(leader) => by_leader.entry(leader.broker).or_default().push(OffsetAsk {
                    at,
                    leader_epoch: leader.epoch,
                    timestamp,
                }),
                None => {
                    wrong = wrong.or_else(|| unknown(&at, self.metadata.topic(&at.topic)));
                    is_led = false;
                    if let Some(missing) = lookup.missing.get_mut(&at) {
                        missing.is_asked = false;
                    }
                }
            }
        }
        if let Some(error) = wrong {
            return self.lookups.end(id, error);
        }
        let read_committed = self.config.isolation_level == IsolationLevel::ReadCommitted;
        let timeout_ms = i32::try_from(self.config.request_timeout.as_millis()).unwrap_or(i32::MAX);
        for (leader, partitions) in by_leader {
            if let Some(broker) = self.metadata.broker(leader) {
                self.brokers.aim(ChannelKey::Leader(leader), broker, now);
            }
            let asked = partitions.iter().map(|ask| ask.at.clone()).collect();
            let ask = Ask::ListOffsets { read_committed, partitions, timeout_ms };
            self.brokers.ask(ChannelKey::Leader(leader), ask, Ticket::Lookup { id, asked }, now);
        }
        if !is_led {
            self.metadata.want(now);
            self.ask_lookup_later(id, now);
        }
    }

    fn ask_lookup_later(&mut self, id: u64, now: Instant) {
        if let Some(lookup) = self.lookups.open.get_mut(&id) {
            lookup.due = Some(now + lookup.backoff.failed(&mut self.rng));
        }
    }

    fn finish_lookup(&mut self, id: u64) {
        let Some(lookup) = self.lookups.open.remove(&id) else { return };
        self.lookups.has_changed = true;
        let found = lookup.partitions.iter().filter_map(|at| Some((at, lookup.found.get(at)?)));
        let known = |number: i64| (number >= 0).then_some(number);
        match lookup.reply {
            OffsetsReply::Places(reply) => {
                let places = found.map(|(at, found)| PartitionOffset {
                    topic: Arc::clone(&at.topic),
                    partition: at.partition,
                    offset: found.offset,
                });
                reply.fulfil(Ok(places.collect()));
            }
            OffsetsReply::Times(reply) => {
                let times = found.map(|(at, found)| TimestampOffset {
                    topic: Arc::clone(&at.topic),
                    partition: at.partition,
                    offset: known(found.offset),
                    timestamp_ms: known(found.timestamp_ms),
                    leader_epoch: (found.leader_epoch >= 0).then_some(found.leader_epoch),
                });
                reply.fulfil(Ok(times.collect()));
            }
            OffsetsReply::Committed(reply) => {
                let committed = found.map(|(at, found)| CommittedOffset {
                    topic: Arc::clone(&at.topic),
                    partition: at.partition,
                    offset: known(found.offset),
                    leader_epoch: (found.leader_epoch >= 0).then_some(found.leader_epoch),
                    metadata: found.metadata.clone(),
                });
                reply.fulfil(Ok(committed.collect()));
            }
        }
    }
}

impl Lookup {
    /// What is missing and not asked for; it counts as asked for then.
    fn take_unasked(&mut self) -> Vec<(TopicPartition, i64)> {
        self.due = None;
        let unasked = self.missing.iter_mut().filter(|(_, missing)| !missing.is_asked);
        let taken = unasked.map(|(at, missing)| {
            missing.is_asked = true;
            (at.clone(), missing.timestamp)
        });
        taken.collect()
    }

    fn take_listed(&mut self, one: &ListedOffset, verdict: &mut Verdict) {
        if verdict.judge(Some(&one.at), "ListOffsets", one.error) && self.missing.remove(&one.at).is_some() {
            let found = Found {
                offset: one.offset,
                timestamp_ms: one.timestamp_ms,
                leader_epoch: one.leader_epoch,
                metadata: String::new(),
            };
            self.found.insert(one.at.clone(), found);
        }
    }

    fn take_fetched(&mut self, one: FetchedOffset, verdict: &mut Verdict) {
        if verdict.judge(Some(&one.at), "OffsetFetch", one.error) && self.missing.remove(&one.at).is_some() {
            let FetchedOffset { at, offset, leader_epoch, metadata, .. } = one;
            self.found.insert(at, Found { offset, timestamp_ms: -1, leader_epoch, metadata });
        }
    }

    fn late(&self, limit: Duration) -> Error {
        let first = || self.missing.keys().next().cloned().unwrap_or_else(|| TopicPartition::new("", -1));
        let (at, why) = match &self.trouble {
            Some((at, why)) => (at.clone(), format!(", the last one because {why}")),
            None => (first(), String::new()),
        };
        let limit_ms = limit.as_millis();
        lookup_failed(&at, format!("no attempt succeeded within {limit_ms} ms (default.api.timeout.ms){why}"))
    }
}

/// What an answer asks of the lookup.
#[derive(Debug, Default)]
struct Verdict {
    error: Option<Error>,
    trouble: Option<(TopicPartition, String)>,
    /// Whoever was asked is not the one to ask.
    is_elsewhere: bool,
}

impl Verdict {
    /// Whether nothing is wrong.
    fn judge(&mut self, at: Option<&TopicPartition>, api: &str, code: ErrorCode) -> bool {
        if code.is_ok() {
            return true;
        }
        let reason = format!("{api} was answered {code}");
        let is_elsewhere = code.needs_metadata_refresh() || code.needs_coordinator();
        self.is_elsewhere |= is_elsewhere;
        match is_elsewhere || code.is_retriable() {
            true => self.note(at, reason),
            false => self.fail(at, reason),
        }
        false
    }

    fn unreachable(&mut self, at: Option<&TopicPartition>, reason: String) {
        self.is_elsewhere = true;
        self.note(at, reason);
    }

    fn note(&mut self, at: Option<&TopicPartition>, reason: String) {
        self.trouble = at.map(|at| (at.clone(), reason));
    }

    fn fail(&mut self, at: Option<&TopicPartition>, reason: String) {
        if let Some(at) = at.filter(|_| self.error.is_none()) {
            self.error = Some(lookup_failed(at, reason));
        }
    }
}

/// The error of a partition that will not be known; `None` while it may be.
fn unknown(at: &TopicPartition, state: Option<&TopicState>) -> Option<Error> {
    let state = state?;
    if state.error.is_ok() {
        let is_there = state.partition(at.partition).is_some();
        return (!is_there).then(|| Error::UnknownTopic(format!("partition {at} does not exist")));
    }
    let may_pass = state.error.is_retriable() && state.failures < UNKNOWN_TOPIC_ANSWERS;
    (!may_pass && state.error != ErrorCode::LEADER_NOT_AVAILABLE)
        .then(|| Error::UnknownTopic(format!("topic {} cannot be asked: {}", at.topic, state.error)))
}

fn lookup_failed(at: &TopicPartition, reason: String) -> Error {
    Error::Lookup { topic: at.topic.to_string(), partition: at.partition, reason }
}
