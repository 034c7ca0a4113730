//! Membership in a group of the consumer protocol (KIP-848): ConsumerGroupHeartbeat and what follows from its answers.
//!
//! ```text
//!          start              epoch 0, answered            target lacks what is owned
//!   Idle ────────► Joining ─────────────────────► Member ────────────────────────────► Revoking
//!    ▲                ▲                             │  ▲                                  │
//!    │ Left           └──────── fenced ─────────────┤  └──────────── revoked ─────────────┤
//!  Leaving ◄────────────────────────────────────────┴─────────────────────────────────────┘
//! ```
//!
//! The coordinator assigns; the member *reconciles* what it owns with the target that it is told: first it gives up
//! what is not in the target, then it takes what is new and whose topic it can name, and says what it owns. Partitions
//! that stay are not touched.
//!
//! [`ConsumerGroup`] does no IO. Its driver calls [`poll`](ConsumerGroup::poll) until it returns nothing, carries out
//! each [`GroupAction`], waits until [`deadline`](ConsumerGroup::deadline) or an answer, and reports what happened. A
//! partition is consumed from `Assigned` until `Revoke` or `Lost`.
//!
//! Non-obvious:
//! - A heartbeat says only what the coordinator does not know. What it said counts as known unless the answer is an
//!   error or stays out; then everything is said again, so that a coordinator that took the former one in, and moved
//!   the epoch on, sees from the partitions that this member is the same.
//! - Targets may change while partitions are being given up. Nothing is taken back half-way: the newest target is
//!   looked at when they are.
//! - The session timeout is the broker's (`group.consumer.session.timeout.ms`) and is not told. A member stops by
//!   itself after [`SESSION_INTERVALS`] heartbeat intervals, which are told, and after [`SESSION_MAX`] at the latest:
//!   the broker's defaults for both come to the same 45 s. It is counted from the sending of the last good heartbeat.
//! - What is to be given up is to be given up within `max.poll.interval.ms`, or the coordinator puts the member out and
//!   hands everything that it owned to others. A member that is late leaves by itself before that (`limits.rs`).
//! - A static member that joins again may find its instance id held by itself: by a join whose answer got lost, or by a
//!   membership that it has counted as lost before the coordinator did. It waits for the end of that.
//! - The member's id is drawn here and kept for ever (version 1). Brokers with version 0 give one.
//! - One heartbeat is in flight at a time, the last one aside.

mod config;
mod limits;
mod partitions;
mod requests;
mod responses;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;

pub use config::ConsumerConfig;
use partitions::{IdPartition, Owned, TopicId};
use requests::{Identity, Unsaid, text};

use super::{GroupAction, GroupError, GroupRequest, LostReason, MembershipOperation, TopicPartition};
use crate::backoff::Backoff;
use crate::request::{ErrorCode, VersionTable};

/// Heartbeat intervals without a good heartbeat after which others may own the partitions.
pub const SESSION_INTERVALS: u32 = 9;
/// The time without a good heartbeat after which others may own the partitions, however long the interval is.
pub const SESSION_MAX: Duration = Duration::from_secs(45);

/// The first version that knows patterns, and where members draw their ids themselves.
const PATTERN_SINCE: i16 = 1;
/// The time between heartbeats until the broker names one: its own default.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// A member of a group of the consumer protocol.
#[derive(Debug)]
pub struct ConsumerGroup {
    config: ConsumerConfig,
    identity: Identity,
    state: State,
    coordinator: Coordinator,
    in_flight: Option<InFlight>,
    subscription: Subscription,
    unsaid: Unsaid,
    /// What the coordinator wants this member to own.
    target: BTreeSet<IdPartition>,
    owned: Owned,
    /// Those of the owned ones that the caller is giving up.
    giving_up: BTreeSet<IdPartition>,
    /// The names of topics in the target.
    names: BTreeMap<TopicId, Arc<str>>,
    /// Ids whose names were asked for.
    unnamed: Vec<TopicId>,
    /// Whether `Assigned` was said since the member joined.
    is_assigned: bool,
    /// Whether the coordinator may count the member in, as far as is known here.
    may_be_known: bool,
    /// The coordinator may count it in under its instance id without its knowing.
    may_hold_instance: bool,
    /// When a join was refused first because somebody holds the instance id.
    unreleased_since: Option<Instant>,
    /// How it leaves when it is told to.
    on_leave: MembershipOperation,
    events: VecDeque<GroupAction>,
    backoff: Backoff,
    /// For jitter.
    rng: fastrand::Rng,
    /// Nothing is sent before this.
    not_before: Option<Instant>,
    /// The sending of the last good heartbeat.
    proven_at: Option<Instant>,
    next_heartbeat: Option<Instant>,
    /// The sending of the first heartbeat since the last good answer: the coordinator may have taken it in.
    unheard_since: Option<Instant>,
    /// Since when the coordinator may wait for what it has told this member to give up.
    told_at: Option<Instant>,
    /// Until when what is to be given up has to be, and the coordinator has to know.
    revoke_by: Option<Instant>,
    /// As the broker says.
    interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in the group and not wanting to be.
    Idle,
    /// The heartbeat with epoch 0 is to be sent or in flight.
    Joining,
    /// In the group.
    Member,
    /// In the group, and the caller gives up partitions.
    Revoking(Then),
    /// The last heartbeat is to be sent or in flight; given up at the time named.
    Leaving { sent: bool, until: Instant },
    /// `Fatal` was said.
    Failed,
}

/// What follows when the partitions are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Reconcile,
    Leave,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coordinator {
    Unknown {
        asked: bool,
    },
    /// Connected, and speaking this version.
    Known(i16),
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    version: i16,
    sent_at: Instant,
    /// Nothing was being given up: what it says, or said before, is all that is owned.
    is_settled: bool,
}

/// What the member wants.
#[derive(Debug, Default)]
struct Subscription {
    /// Sorted, without repetitions.
    topics: Vec<Arc<str>>,
    pattern: Option<Arc<str>>,
    /// The coordinator may have a pattern of this member, which is to be withdrawn when there is none any more.
    had_pattern: bool,
}

impl Subscription {
    /// An empty pattern withdraws the former one.
    fn pattern_to_say(&self) -> Option<StrBytes> {
        let withdrawn = self.had_pattern.then(|| text(""));
        self.pattern.as_deref().map(text).or(withdrawn)
    }
}

impl ConsumerGroup {
    /// A member that is in no group yet: [`ConsumerGroup::subscribe`] and [`ConsumerGroup::start`] make it join.
    pub fn new(config: ConsumerConfig) -> ConsumerGroup {
        let mut rng = fastrand::Rng::with_seed(config.seed);
        let mut identity = Identity::new(&config);
        identity.member_id =
            text(&uuid::Builder::from_random_bytes(rng.u128(..).to_be_bytes()).into_uuid().to_string());
        ConsumerGroup {
            identity,
            state: State::Idle,
            coordinator: Coordinator::Unknown { asked: false },
            in_flight: None,
            subscription: Subscription::default(),
            unsaid: Unsaid::EVERYTHING,
            target: BTreeSet::new(),
            owned: Owned::new(),
            giving_up: BTreeSet::new(),
            names: BTreeMap::new(),
            unnamed: Vec::new(),
            is_assigned: false,
            may_be_known: false,
            may_hold_instance: false,
            unreleased_since: None,
            on_leave: MembershipOperation::Default,
            events: VecDeque::new(),
            backoff: Backoff::new(config.retry_backoff, config.retry_backoff_max),
            rng,
            not_before: None,
            proven_at: None,
            next_heartbeat: None,
            unheard_since: None,
            told_at: None,
            revoke_by: None,
            interval: DEFAULT_INTERVAL,
            config,
        }
    }

    /// Wants to be in the group. Does nothing unless the member is new or has left.
    pub fn start(&mut self) {
        if self.state == State::Idle {
            self.begin_joining();
        }
    }

    /// Wants these topics, and those that match `pattern` as the broker reads it (RE2); a member tells its coordinator
    /// at once.
    pub fn subscribe(&mut self, topics: impl IntoIterator<Item = Arc<str>>, pattern: Option<Arc<str>>) {
        let topics: Vec<_> = topics.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        if (&topics, &pattern) == (&self.subscription.topics, &self.subscription.pattern) {
            return;
        }
        let had_pattern = self.subscription.had_pattern || self.subscription.pattern.is_some();
        self.subscription = Subscription { topics, pattern, had_pattern };
        self.unsaid.subscription = true;
    }

    /// The coordinator is connected and offers these versions.
    pub fn coordinator_known(&mut self, versions: &VersionTable) {
        let needs_pattern = self.subscription.pattern.is_some();
        let missing = match versions.negotiate(ApiKey::ConsumerGroupHeartbeat) {
            Ok(version) if needs_pattern && version < PATTERN_SINCE => {
                ("ConsumerGroupHeartbeat version 1 for a pattern (Kafka 4.0)", format!("version {version}"))
            }
            Ok(version) => {
                // Nobody knows the member there yet, and such a broker gives it an id.
                if version < PATTERN_SINCE && !self.may_be_known {
                    self.identity.member_id = StrBytes::new();
                }
                self.coordinator = Coordinator::Known(version);
                return;
            }
            Err(_) => ("ConsumerGroupHeartbeat (Kafka 4.0)", "none".to_owned()),
        };
        if self.is_member() {
            let (needed, has) = missing;
            self.fail(GroupError::NoConsumerProtocol { group: self.config.group_id.clone(), needed, has });
        }
    }

    /// The coordinator cannot be found, for a reason that retries do not cure (GROUP_AUTHORIZATION_FAILED, ...).
    pub fn coordinator_failed(&mut self, code: ErrorCode) {
        if self.is_member() {
            self.fail(GroupError::NoCoordinator { group: self.config.group_id.clone(), code });
        }
    }

    /// Names of topics, those of [`GroupAction::NeedTopicNames`] among them as far as they are known.
    pub fn set_topic_names<'a>(&mut self, names: impl IntoIterator<Item = (TopicId, &'a Arc<str>)>) {
        let mut is_news = false;
        for (id, name) in names {
            if self.unnamed.contains(&id) {
                self.names.insert(id, Arc::clone(name));
                is_news = true;
            }
        }
        if is_news {
            self.reconcile();
        }
    }

    /// The partitions of [`GroupAction::Revoke`] are given up and their final commit is answered. Of no effect
    /// unless a revocation is pending; `Lost` and `Fatal` end one.
    pub fn revoked(&mut self, now: Instant) {
        let State::Revoking(then) = self.state else { return };
        let given_up = std::mem::take(&mut self.giving_up);
        self.owned.retain(|partition, _| !given_up.contains(partition));
        match then {
            Then::Reconcile => {
                self.state = State::Member;
                self.unsaid.owned = true;
                self.is_assigned = false;
                self.reconcile();
            }
            Then::Leave => self.begin_leaving(now),
        }
    }

    /// What [`ConsumerGroup::leave`] says to the group.
    pub fn leave_as(&mut self, operation: MembershipOperation) {
        self.on_leave = operation;
    }

    /// Leaves the group in order: `Revoke` first where partitions are owned, then the last heartbeat (by which a static
    /// member keeps its place), then `Left`.
    pub fn leave(&mut self, now: Instant) {
        match self.state {
            State::Idle if self.events.is_empty() => self.events.push_back(GroupAction::Left),
            State::Idle | State::Failed | State::Leaving { .. } | State::Revoking(Then::Leave) => {}
            _ if self.owned.is_empty() => self.begin_leaving(now),
            // What is being given up already, and the rest.
            _ => self.revoke(self.owned.keys().copied().collect(), Then::Leave),
        }
    }

    /// A batch of `lane` has taken longer than `max.poll.interval.ms`: the partitions are lost and the member leaves.
    /// It joins again with [`ConsumerGroup::start`], after `Left`.
    pub fn poll_interval_exceeded(&mut self, lane: &str, now: Instant) {
        if self.is_member() {
            self.lose(LostReason::PollInterval { lane: lane.to_owned() });
            self.begin_leaving(now);
        }
    }

    /// The connection to the coordinator broke, or a request of the group timed out. The coordinator is
    /// looked for anew; owned partitions are kept as long as the session lasts.
    pub fn on_disconnected(&mut self, now: Instant) {
        self.may_hold_instance |= self.in_flight.take().is_some();
        self.coordinator = Coordinator::Unknown { asked: false };
        self.unsaid = Unsaid::EVERYTHING;
        self.delay(now);
        if matches!(self.state, State::Leaving { sent: true, .. }) {
            self.finish_leaving();
        }
    }

    /// The next thing to do; to be called until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<GroupAction> {
        if self.events.is_empty() {
            self.check_limits(now);
        }
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        match self.coordinator {
            _ if !self.is_member() && !matches!(self.state, State::Leaving { .. }) => None,
            Coordinator::Known(version) => self.next_request(version, now).map(GroupAction::Send),
            Coordinator::Unknown { asked: true } => None,
            Coordinator::Unknown { asked: false } => {
                self.coordinator = Coordinator::Unknown { asked: true };
                Some(GroupAction::NeedCoordinator)
            }
        }
    }

    /// When to call [`ConsumerGroup::poll`] again at the latest, if nothing else happens; of use once it has returned
    /// nothing.
    pub fn deadline(&self) -> Option<Instant> {
        let is_connected = matches!(self.coordinator, Coordinator::Known(_));
        let may_send = is_connected && self.in_flight.is_none() && self.is_in_group();
        let heartbeat = self.next_heartbeat.filter(|_| may_send).max(self.not_before.filter(|_| may_send));
        let leaving = match self.state {
            State::Leaving { until, .. } => Some(until),
            _ => None,
        };
        let not_before = self.not_before.filter(|_| !matches!(self.state, State::Idle | State::Failed));
        [self.session_end(), self.revocation_end(), heartbeat, leaving, not_before]
            .into_iter()
            .flatten()
            .min()
    }

    /// The member's epoch, or -1 outside the group; for commits.
    pub fn epoch(&self) -> i32 {
        if self.is_in_group() { self.identity.epoch } else { -1 }
    }

    /// The member's id, empty while it has none; for commits.
    pub fn member_id(&self) -> &str {
        &self.identity.member_id
    }

    /// `group.instance.id`; for commits.
    pub fn group_instance_id(&self) -> Option<&str> {
        self.config.group_instance_id.as_deref()
    }

    /// Whether the member is on its way in, so that nothing can be committed in its name.
    pub fn is_joining(&self) -> bool {
        self.state == State::Joining
    }

    /// The partitions owned, those being revoked included.
    pub fn owned(&self) -> Vec<TopicPartition> {
        named(self.owned.iter())
    }

    /// The topics that matter to this member: those that it names, and those that it was assigned.
    pub fn watched_topics(&self) -> impl Iterator<Item = &Arc<str>> + '_ {
        self.subscription.topics.iter().chain(self.names.values()).chain(self.owned.values())
    }

    fn next_request(&mut self, version: i16, now: Instant) -> Option<GroupRequest> {
        if let State::Leaving { sent, until } = self.state {
            self.state = State::Leaving { sent: true, until };
            return (!sent).then(|| self.identity.leave(version, &self.config, self.on_leave));
        }
        let is_due = match self.state {
            State::Joining => true,
            _ => self.unsaid != Unsaid::NOTHING || self.next_heartbeat.is_none_or(|at| now >= at),
        };
        if self.in_flight.is_some() || !is_due {
            return None;
        }
        let unsaid = std::mem::replace(&mut self.unsaid, Unsaid::NOTHING);
        let request = self.identity.heartbeat(version, &self.config, &self.subscription, &self.owned, unsaid);
        self.may_be_known = true;
        self.next_heartbeat = Some(now + self.interval);
        self.unheard_since.get_or_insert(now);
        let is_settled = !matches!(self.state, State::Revoking(_));
        self.in_flight = Some(InFlight { version, sent_at: now, is_settled });
        Some(request)
    }

    /// Goes one step from what is owned to what is to be owned.
    fn reconcile(&mut self) {
        if self.state != State::Member {
            return;
        }
        let target = &self.target;
        self.names.retain(|id, _| target.range((*id, 0)..=(*id, i32::MAX)).next().is_some());
        let going: BTreeSet<IdPartition> =
            self.owned.keys().filter(|partition| !target.contains(partition)).copied().collect();
        if !going.is_empty() {
            self.limit_revocation();
            return self.revoke(going, Then::Reconcile);
        }
        let new: Vec<IdPartition> =
            target.iter().filter(|partition| !self.owned.contains_key(partition)).copied().collect();
        let known = self.named_once(&new);
        let unnamed: BTreeSet<TopicId> =
            new.iter().map(|(id, _)| *id).filter(|id| !self.names.contains_key(id)).collect();
        self.ask_names(unnamed.into_iter().collect());
        if known.is_empty() && self.is_assigned {
            return;
        }
        self.unsaid.owned |= !known.is_empty();
        self.is_assigned = true;
        self.owned.extend(known);
        self.events.push_back(GroupAction::Assigned {
            partitions: self.owned(),
            generation: self.identity.epoch,
            member_id: self.identity.member_id.to_string(),
        });
    }

    /// Those of `new` whose topics have names. Of two topics with one name, one of which is gone and was created again,
    /// a partition is taken once: it stays with the topic that it is owned of until the target lacks that.
    fn named_once(&self, new: &[IdPartition]) -> Owned {
        let owned = self.owned.iter().map(|(&(_, partition), name)| (name, partition));
        let mut taken: BTreeSet<(&Arc<str>, i32)> = owned.collect();
        let named = new.iter().filter_map(|at| Some((*at, self.names.get(&at.0)?)));
        let once = named.filter(|((_, partition), name)| taken.insert((*name, *partition)));
        once.map(|(at, name)| (at, Arc::clone(name))).collect()
    }

    fn ask_names(&mut self, unnamed: Vec<TopicId>) {
        if unnamed != self.unnamed {
            self.unnamed.clone_from(&unnamed);
            self.events.push_back(GroupAction::NeedTopicNames { topic_ids: unnamed });
        }
    }

    fn revoke(&mut self, partitions: BTreeSet<IdPartition>, then: Then) {
        self.state = State::Revoking(then);
        // A caller that has not seen the former word yet need not.
        self.events.retain(|event| !matches!(event, GroupAction::Revoke { .. }));
        let going = named(self.owned.iter().filter(|(at, _)| partitions.contains(at)));
        self.giving_up = partitions;
        self.events.push_back(GroupAction::Revoke { partitions: going });
    }

    fn begin_joining(&mut self) {
        self.state = State::Joining;
        self.unsaid = Unsaid::EVERYTHING;
    }

    fn begin_leaving(&mut self, now: Instant) {
        self.owned.clear();
        self.giving_up.clear();
        // Only an instance id makes a member that is expected back; any other is silent until its session is over.
        let says_nothing = self.on_leave == MembershipOperation::Remain && !self.identity.is_static();
        if self.may_be_known && !self.identity.member_id.is_empty() && !says_nothing {
            self.state = State::Leaving { sent: false, until: now + self.config.request_timeout };
            self.not_before = None;
        } else {
            self.finish_leaving();
        }
    }

    fn finish_leaving(&mut self) {
        self.forget_epoch();
        self.may_be_known = false;
        self.in_flight = None;
        self.state = State::Idle;
        self.events.push_back(GroupAction::Left);
    }

    /// The member is out of the group against its will: what it owned is lost, and it joins again unless it was
    /// about to leave.
    fn expelled(&mut self, reason: LostReason, now: Instant) {
        let leaves = self.state == State::Revoking(Then::Leave);
        self.lose(reason);
        self.forget_epoch();
        if leaves {
            self.finish_leaving();
        } else {
            self.begin_joining();
            self.delay(now);
        }
    }

    fn lose(&mut self, reason: LostReason) {
        self.giving_up.clear();
        let partitions = named(std::mem::take(&mut self.owned).iter());
        if !partitions.is_empty() {
            // A revocation that the caller has not seen yet is pointless now.
            self.events.retain(|event| !matches!(event, GroupAction::Revoke { .. }));
            self.events.push_back(GroupAction::Lost { partitions, reason });
        }
    }

    fn fail(&mut self, error: GroupError) {
        self.lose(LostReason::Failed);
        self.forget_epoch();
        self.in_flight = None;
        self.state = State::Failed;
        self.events.push_back(GroupAction::Fatal(error));
    }

    fn forget_epoch(&mut self) {
        self.identity.epoch = 0;
        self.target.clear();
        self.names.clear();
        self.ask_names(Vec::new());
        self.is_assigned = false;
        self.proven_at = None;
        self.next_heartbeat = None;
        self.unheard_since = None;
        self.told_at = None;
        self.revoke_by = None;
    }

    fn delay(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.failed(&mut self.rng));
    }

    /// Whether the coordinator has let the member in and it has not left.
    fn is_in_group(&self) -> bool {
        matches!(self.state, State::Member | State::Revoking(_))
    }

    /// Whether the member is in the group or on its way in.
    fn is_member(&self) -> bool {
        self.is_in_group() || self.state == State::Joining
    }
}

fn named<'a>(partitions: impl Iterator<Item = (&'a IdPartition, &'a Arc<str>)>) -> Vec<TopicPartition> {
    let mut partitions: Vec<_> = partitions
        .map(|((_, partition), topic)| TopicPartition::new(Arc::clone(topic), *partition))
        .collect();
    partitions.sort();
    partitions
}
