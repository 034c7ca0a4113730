//! The control plane's core: finds brokers, topics and positions, gives partitions to shards, folds their marks into
//! commits, and ends the engine in order. Sans-IO: its driver carries out what it asks for and tells it the time.
//!
//! ```text
//!            completions, names, time             requests of user code
//!                     │                                    │
//!   brokers ──► metadata ──► assignment ──► lanes ──► positions ──► Command::Open
//!      ▲                                      ▲
//!      └── commits ◄── progress ◄── marks ────┘◄── events of the shards
//! ```

mod assignment;
mod balancer;
mod balancing;
mod brokers;
mod commits;
mod coordinator;
mod fences;
mod given_commits;
mod group_member;
mod health;
mod lanes;
mod lookups;
mod matching;
mod membership;
mod metadata;
mod moves;
mod opening;
mod pattern;
mod positions;
mod progress;
mod reassign;
mod requests;
mod seam;
mod shard_events;
mod shutdown;
mod snapshots;
mod stop_at_end;
#[cfg(test)]
mod tests;
mod ticket;
mod topic_partition;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::backoff::Backoff;
use millstream_protocol::request::ErrorCode;

pub(crate) use brokers::Endpoint;
pub(crate) use pattern::Pattern;
pub(crate) use seam::{
    AssignedTopic, ControlSetup, LaneInfo, OffsetsReply, Outcome, Output, OverdueBatch, Request, Snapshot,
    Subscription, WallClock,
};
pub use topic_partition::TopicPartition;

use crate::config::{Config, IsolationLevel};
use crate::error::Error;
use crate::event::EngineEvent;
use crate::link::{BrokerEndpoint, Command, Mark};
use crate::net::{Completion, IoOp};
use crate::position::StartPosition;
use balancing::Balancing;
use brokers::{BrokerEvent, Brokers, ChannelKey, Failure};
use commits::{CommitRules, Commits};
use coordinator::{Coordinator, Found};
use fences::Fences;
use health::Since;
use lanes::Lanes;
use lookups::Lookups;
use matching::Matching;
use membership::Membership;
use metadata::{AskedTopics, Metadata};
use positions::{PositionRules, Positions};
use reassign::Changes;
use shutdown::Stopping;
use snapshots::Snapshots;
use stop_at_end::EndsReached;
use ticket::Ticket;
use wire::{Answer, Ask, CommitMember};

/// Turns of asking and answering without time passing; answers that come at once (a refused version) take a turn or
/// two, so more is a loop of ours, which the next call goes on with.
const MAX_TURNS: usize = 16;

/// The control plane.
#[derive(Debug)]
pub(crate) struct Control {
    config: Arc<Config>,
    subscription: Subscription,
    shards: usize,
    rng: fastrand::Rng,
    brokers: Brokers,
    metadata: Metadata,
    /// Of the group, where there is one.
    coordinator: Option<Coordinator>,
    commits: Option<Commits>,
    /// In the group, unless the partitions are assigned by hand.
    membership: Option<Membership>,
    lanes: Lanes,
    positions: Positions,
    /// The partitions to own, and where they start.
    desired: BTreeMap<TopicPartition, StartPosition>,
    /// Some of the desired partitions may lack their lane.
    is_reconcile_due: bool,
    /// The brokers as the shards know them.
    endpoints: Arc<[BrokerEndpoint]>,
    snapshots: Snapshots,
    fences: Fences,
    lookups: Lookups,
    changes: Changes,
    since: Since,
    /// Of an engine of several shards whose handlers may move.
    balancing: Option<Balancing>,
    stopping: Option<Stopping>,
    /// Kept where the engine is to stop at the end of all partitions.
    ends_reached: Option<EndsReached>,
    outputs: VecDeque<Output>,
}

impl Control {
    /// A control plane that has not asked anybody anything yet.
    pub(crate) fn new(setup: ControlSetup, now: Instant) -> Self {
        let ControlSetup { config, subscription, shards, is_movable, stop_at_end, seed, wall, lease } = setup;
        let mut rng = fastrand::Rng::with_seed(seed);
        let retry = (config.retry_backoff, config.retry_backoff_max);
        let backoff = || Backoff::new(retry.0, retry.1);
        let group: Option<Arc<str>> = config.group_id.as_deref().map(Arc::from);
        let commits = group.clone().map(|group| {
            let interval = config.enable_auto_commit.then_some(config.auto_commit_interval);
            Commits::new(
                CommitRules { group, interval, patience: config.default_api_timeout },
                backoff(),
                now,
            )
        });
        let rules = PositionRules {
            group: group.clone(),
            reset: config.auto_offset_reset,
            wall,
            read_committed: config.isolation_level == IsolationLevel::ReadCommitted,
            retry,
            request_timeout: config.request_timeout,
        };
        let membership = match (&group, &subscription) {
            (Some(group), Subscription::Group { .. } | Subscription::Pattern { .. }) => {
                Some(Membership::new(&config, group, &subscription, lease, rng.u64(..)))
            }
            _ => None,
        };
        let matching = subscription
            .own_pattern()
            .map(|pattern| Matching::new(pattern.clone(), config.exclude_internal_topics, now));
        let mut metadata = Metadata::new(config.metadata_max_age, backoff(), matching, now);
        metadata.use_topics(subscription.topics(), now);
        let mut control = Self {
            brokers: Brokers::new(&config, rng.u64(..), now),
            rng,
            metadata,
            coordinator: group.map(|group| Coordinator::new(group, backoff())),
            commits,
            membership,
            lanes: Lanes::new(shards),
            positions: Positions::new(rules),
            desired: BTreeMap::new(),
            is_reconcile_due: false,
            endpoints: Arc::from([]),
            snapshots: Snapshots::new(shards),
            fences: Fences::default(),
            lookups: Lookups::default(),
            changes: Changes::default(),
            since: Since::new(now),
            balancing: config
                .balance_interval
                .filter(|_| is_movable && shards > 1)
                .map(|interval| Balancing::new(interval, now)),
            stopping: None,
            ends_reached: stop_at_end.then(EndsReached::default),
            outputs: VecDeque::new(),
            config,
            subscription,
            shards,
        };
        if let (Some(commits), Some(coordinator)) = (&control.commits, &mut control.coordinator)
            && commits.is_automatic()
        {
            // Found now, the first automatic commit need not look for it.
            coordinator.want(now);
        }
        control.drive(now);
        control
    }

    /// Moves the network operations that are to be carried out to `ops`.
    pub(crate) fn take_ops(&mut self, ops: &mut Vec<IoOp>) {
        self.brokers.take_ops(ops);
    }

    /// Takes the completion of a network operation.
    pub(crate) fn on_completion(&mut self, completion: Completion, now: Instant) {
        self.brokers.on_completion(completion, now);
        self.drive(now);
    }

    /// The next thing that is to be done.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes the answer to an [`Output::Resolve`].
    pub(crate) fn on_resolved(
        &mut self,
        endpoint: &Endpoint,
        result: io::Result<Vec<SocketAddr>>,
        now: Instant,
    ) {
        self.brokers.on_resolved(endpoint, result, now);
        self.tell_resolved(endpoint);
        self.drive(now);
    }

    /// Takes a mark of a shard. Cheap: a commit takes it along later.
    pub(crate) fn on_mark(&mut self, mark: Mark, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(mark.lane) {
            lane.on_mark(mark, now);
        }
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, now: Instant) {
        self.brokers.on_time(now);
        if let Some(commits) = &mut self.commits {
            commits.on_time(now);
        }
        self.drive(now);
    }

    /// When [`Control::on_time`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let commit = self
            .commits
            .as_ref()
            .and_then(|commits| commits.deadline(&self.lanes, self.commit_member().as_ref()));
        [
            self.brokers.deadline(),
            self.metadata.deadline(),
            self.rebootstrap_at(),
            self.coordinator.as_ref().and_then(Coordinator::deadline),
            self.positions.deadline(),
            self.lookups.deadline(),
            self.changes.deadline(),
            self.balancing.as_ref().filter(|_| self.stopping.is_none()).and_then(Balancing::deadline),
            commit,
            self.membership.as_ref().and_then(|membership| membership.deadline(self.stopping.is_some())),
            self.stopping.as_ref().and_then(Stopping::deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Goes on until nothing can be done without time or news.
    fn drive(&mut self, now: Instant) {
        for _ in 0..MAX_TURNS {
            self.advance(now);
            let mut has_news = false;
            while let Some(event) = self.brokers.poll_event() {
                has_news = true;
                self.on_broker_event(event, now);
            }
            if !has_news {
                break;
            }
        }
        self.watch_health(now);
        while let Some(endpoint) = self.brokers.take_question() {
            self.outputs.push_back(Output::Resolve(endpoint));
        }
    }

    /// Asks what is due to be asked.
    fn advance(&mut self, now: Instant) {
        if self.stopping.as_ref().is_some_and(Stopping::has_ended) {
            return;
        }
        if self.rebootstrap_at().is_some_and(|at| at <= now) {
            self.rebootstrap("no broker has told metadata for too long", now);
        }
        if let Some(AskedTopics { names: topics, ids }) = self.metadata.take_due(now) {
            let ask = Ask::Metadata { topics, ids, create: self.config.allow_auto_create_topics };
            self.brokers.ask(ChannelKey::Any, ask, Ticket::Metadata, now);
        }
        if let Some(coordinator) = &mut self.coordinator
            && coordinator.take_due(now)
        {
            let ask = Ask::FindCoordinator { group: Arc::clone(coordinator.group()) };
            self.brokers.ask(ChannelKey::Any, ask, Ticket::Coordinator, now);
        }
        self.advance_membership(now);
        self.advance_changes(now);
        self.reconcile(now);
        self.ask_positions(now);
        self.advance_lookups(now);
        self.commit(now);
        self.advance_balancing(now);
        self.advance_stop(now);
    }

    fn on_broker_event(&mut self, event: BrokerEvent, now: Instant) {
        match event {
            BrokerEvent::Answer { ticket, result } => self.on_answer(ticket, result, now),
            BrokerEvent::Ready { key, versions } => {
                tracing::debug!(?key, "connected");
                if key == ChannelKey::Group {
                    self.on_group_connected(&versions, now);
                }
            }
            BrokerEvent::Down { key, endpoint, reason, .. } => {
                self.notify(EngineEvent::BrokerDown { broker: endpoint.to_string(), shard: None, reason });
                if key == ChannelKey::Group {
                    self.on_group_disconnected(now);
                }
            }
            BrokerEvent::Hopeless(message) => self.fail(Error::Bootstrap(message), now),
        }
    }

    fn on_answer(&mut self, ticket: Ticket, result: Result<Answer, Failure>, now: Instant) {
        match ticket {
            Ticket::Metadata => self.on_metadata(result, now),
            Ticket::Coordinator => self.on_coordinator(result, now),
            Ticket::Positions(searches) => {
                let mut findings = Vec::new();
                self.positions.on_answer(&searches, result, now, &mut self.rng, &mut findings);
                self.apply_findings(findings, now);
            }
            Ticket::Lookup { id, asked } => self.on_lookup_answer(id, result, &asked, now),
            Ticket::Commit(serial) => self.on_commit_answer(serial, result, now),
            Ticket::Group { session, kind } => self.on_group_answer(session, kind, result, now),
        }
    }

    /// When the servers asked first are to be asked anew, if no metadata comes.
    fn rebootstrap_at(&self) -> Option<Instant> {
        // Sooner, no connection would be given the time to be set up.
        let trigger =
            self.config.metadata_rebootstrap_trigger?.max(self.config.socket_connection_setup_timeout);
        self.metadata.gives_up_at(trigger)
    }

    fn rebootstrap(&mut self, reason: &'static str, now: Instant) {
        tracing::warn!("bootstrap.servers are asked anew: {reason}");
        self.metadata.ask_others(now);
        self.brokers.rebootstrap(now);
    }

    fn on_metadata(&mut self, result: Result<Answer, Failure>, now: Instant) {
        let answer = match result {
            Ok(Answer::Metadata(answer)) if answer.error.is_ok() => answer,
            Err(Failure::Unsupported(error)) => {
                self.fail(Error::Bootstrap(format!("the cluster cannot be used: {error}")), now);
                return;
            }
            other => {
                tracing::debug!(?other, "no metadata");
                let is_sent_away = matches!(&other, Ok(Answer::Metadata(answer))
                    if answer.error == ErrorCode::REBOOTSTRAP_REQUIRED);
                if is_sent_away && self.config.metadata_rebootstrap_trigger.is_some() {
                    self.rebootstrap("a broker has asked for that", now);
                }
                self.metadata.failed(now, &mut self.rng);
                return;
            }
        };
        let changes = self.metadata.apply(answer, now, &mut self.rng);
        if changes.brokers {
            self.brokers.set_known(self.metadata.brokers(), now);
        }
        self.tell_endpoints();
        self.tell_leaders(now);
        self.expand_assignment(now);
        self.judge_subscription(now);
        if changes.matches {
            self.on_topics_matched();
        }
        self.tell_group_metadata();
    }

    fn on_coordinator(&mut self, result: Result<Answer, Failure>, now: Instant) {
        let Some(coordinator) = &mut self.coordinator else { return };
        match coordinator.on_answer(result, now, &mut self.rng) {
            Found::Coordinator => {
                if let Some(broker) = coordinator.want(now) {
                    self.brokers.aim(ChannelKey::Offsets, broker, now);
                }
                self.connect_group(now);
            }
            Found::NotYet => {}
            Found::Refused(code) => {
                let group = coordinator.group().to_string();
                if let Some(membership) = &mut self.membership {
                    membership.coordinator_refused(code);
                }
                let reason = format!("the coordinator cannot be found: {code}");
                self.fail(Error::Group { group, reason }, now);
            }
        }
    }

    /// The coordinator is another one, or none.
    fn forget_coordinator(&mut self, now: Instant) {
        if let Some(coordinator) = &mut self.coordinator {
            coordinator.forget();
            coordinator.want(now);
        }
    }

    fn ask_positions(&mut self, now: Instant) {
        let mut findings = Vec::new();
        let is_coordinator_known = match &mut self.coordinator {
            Some(coordinator) if self.positions.wants_coordinator() => coordinator.want(now).is_some(),
            Some(coordinator) => coordinator.is_known(),
            None => false,
        };
        self.positions.set_coordinator_known(is_coordinator_known);
        self.positions.set_member(self.membership.as_ref().and_then(Membership::fetch_member));
        let leader = |at: &TopicPartition| self.metadata.leader(at);
        let questions = self.positions.questions(now, &mut self.rng, leader, &mut findings);
        for question in questions {
            let key = match question.leader {
                None => ChannelKey::Offsets,
                Some(id) => {
                    if let Some(broker) = self.metadata.broker(id) {
                        self.brokers.aim(ChannelKey::Leader(id), broker, now);
                    }
                    ChannelKey::Leader(id)
                }
            };
            self.brokers.ask(key, question.ask, Ticket::Positions(question.searches), now);
        }
        self.apply_findings(findings, now);
    }

    /// In whose name to commit now; `None` while nothing can be committed.
    fn commit_member(&self) -> Option<CommitMember> {
        let is_known = self.coordinator.as_ref().is_some_and(Coordinator::is_known);
        match &self.membership {
            _ if !is_known => None,
            Some(membership) => membership.commit_member(),
            None => Some(CommitMember::outside()),
        }
    }

    fn commit(&mut self, now: Instant) {
        let (Some(commits), Some(coordinator)) = (&mut self.commits, &mut self.coordinator) else { return };
        if commits.is_due(&self.lanes, now) {
            coordinator.want(now);
        }
        let Some(member) = self.commit_member() else { return };
        let Some(commits) = &mut self.commits else { return };
        if let Some((serial, ask)) = commits.take_due(&mut self.lanes, &member, now) {
            self.brokers.ask(ChannelKey::Offsets, Ask::OffsetCommit(ask), Ticket::Commit(serial), now);
        }
    }

    fn on_commit_answer(&mut self, serial: u64, result: Result<Answer, Failure>, now: Instant) {
        let Some(commits) = &mut self.commits else { return };
        let mut notices = Vec::new();
        let aftermath = commits.on_answer(serial, result, &mut self.lanes, now, &mut self.rng, &mut notices);
        notices.into_iter().for_each(|notice| self.notify(notice));
        if aftermath.coordinator_wanted {
            self.forget_coordinator(now);
        }
        if aftermath.metadata_wanted {
            self.metadata.want(now);
        }
        if aftermath.member.is_some_and(|code| !self.may_commit_later(code)) {
            self.give_up_closed();
        }
        self.release_closed();
    }

    /// Tells the shards of the brokers and their addresses, when there is news.
    fn tell_endpoints(&mut self) {
        let endpoints: Vec<BrokerEndpoint> = self
            .metadata
            .brokers()
            .map(|broker| {
                // They are told in the order of their ids.
                let known = self.endpoints.binary_search_by_key(&broker.id, |known| known.id);
                let known = known.ok().map(|at| &self.endpoints[at]);
                let name = broker.endpoint().to_string();
                // While a name is looked up again its former addresses are better than none.
                let former =
                    known.filter(|known| *known.name == *name).map(|known| Arc::clone(&known.addresses));
                let addresses = self.brokers.addresses(broker).or(former).unwrap_or_else(|| Arc::from([]));
                BrokerEndpoint { id: broker.id, name: name.into(), addresses }
            })
            .collect();
        if *self.endpoints != *endpoints {
            self.tell_shards_endpoints(endpoints.into());
        }
    }

    /// Tells the shards of one name's addresses. Nothing is looked up for it: a cluster may name thousands of brokers,
    /// whose answers come one by one.
    fn tell_resolved(&mut self, endpoint: &Endpoint) {
        let Some(addresses) = self.brokers.addresses_of(endpoint) else { return };
        let name = endpoint.to_string();
        let is_there = |known: &BrokerEndpoint| *known.name == name && known.addresses != addresses;
        if !self.endpoints.iter().any(is_there) {
            return;
        }
        let told = self.endpoints.iter().map(|known| match is_there(known) {
            true => BrokerEndpoint { addresses: Arc::clone(&addresses), ..known.clone() },
            false => known.clone(),
        });
        self.tell_shards_endpoints(told.collect());
    }

    fn tell_shards_endpoints(&mut self, endpoints: Arc<[BrokerEndpoint]>) {
        self.endpoints = endpoints;
        for shard in 0..self.shards {
            self.command(shard, Command::Brokers(Arc::clone(&self.endpoints)));
        }
    }

    fn command(&mut self, shard: usize, command: Command) {
        self.outputs.push_back(Output::Command { shard, command });
    }

    fn notify(&mut self, event: EngineEvent) {
        self.outputs.push_back(Output::Event(event));
    }
}
