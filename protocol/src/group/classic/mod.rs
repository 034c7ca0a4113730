//! Membership in a classic consumer group: JoinGroup, SyncGroup, Heartbeat, LeaveGroup; eager and cooperative
//! rebalancing.
//!
//! ```text
//!          start                JoinGroup           leader: partition counts
//!   Idle ────────► Unjoined ─────────► Joining ───────────────► Assigning
//!    ▲                ▲                   │ follower                │
//!    │ Left           │ revoked           ▼                         │
//!  Leaving ◄── Revoking ◄── Stable ◄── Syncing ◄────────────────────┘
//! ```
//!
//! [`ClassicGroup`] does no IO. Its driver calls [`poll`](ClassicGroup::poll) until it returns nothing,
//! carries out each [`GroupAction`], waits until [`deadline`](ClassicGroup::deadline) or an answer,
//! and reports what happened. A partition is consumed from `Assigned` until `Revoke` or `Lost`.
//!
//! Non-obvious:
//! - Under an eager assignor all partitions are given up before JoinGroup is sent, and only when the caller says so
//!   with [`revoked`](ClassicGroup::revoked): the final commit must be answered under the old generation. Heartbeats
//!   go on meanwhile. The coordinator's patience is `max.poll.interval.ms`.
//! - Cooperatively (KIP-429; where every configured assignor can) a member keeps its partitions while it joins. After
//!   SyncGroup it gives up those that were not assigned again, and joins once more: only then does the leader give
//!   them to others. So between Stable and Stable a member may go through Revoking and a second join.
//! - A member that is to leave while it joins with partitions in hand goes on joining until they are committed:
//!   from the moment when all have joined until the leader has assigned, the coordinator takes no commit.
//! - A member that owns partitions while it joins must still prove that it is there: its heartbeats go beside the join,
//!   over the connection that commits use.
//! - The session is counted from the *sending* of the last good heartbeat: the coordinator's own count
//!   started later, so it cannot have given the partitions away before this member lets go.
//! - One request is in flight at a time (LeaveGroup aside): a coordinator answers a connection in order.

mod config;
mod requests;
mod responses;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

pub use config::ClassicConfig;
use requests::{Identity, Versions};

use super::assignor::{Assignor, Claim, Member, PartitionCounts, PartitionRacks};
use super::consumer_protocol::{Assignment, CONSUMER_PROTOCOL_VERSION, Subscription};
use super::{
    GroupAction, GroupError, GroupRequest, GroupRequestKind, LostReason, MembershipOperation, TopicPartition,
};
use crate::backoff::Backoff;
use crate::request::{ErrorCode, Unsupported, VersionTable};

/// A member of a classic group.
#[derive(Debug)]
pub struct ClassicGroup {
    config: ClassicConfig,
    identity: Identity,
    state: State,
    coordinator: Coordinator,
    in_flight: Option<InFlight>,
    /// When the heartbeat beside a join was sent that is not answered yet.
    heartbeat_beside: Option<(i16, Instant)>,
    /// The subscription, sorted, without repetitions.
    topics: Vec<Arc<str>>,
    owned: Vec<TopicPartition>,
    /// Those of the owned ones that the caller is giving up.
    giving_up: Vec<TopicPartition>,
    /// What was assigned last, for assignors that care.
    last: Claim,
    /// What the leader knows of the group; `None` on a follower.
    leading: Option<Leading>,
    /// As said last.
    racks: PartitionRacks,
    /// What the coordinator picked for this generation.
    assignor: Assignor,
    events: VecDeque<GroupAction>,
    backoff: Backoff,
    /// For jitter.
    rng: fastrand::Rng,
    /// Nothing is sent before this.
    not_before: Option<Instant>,
    /// When the membership was last proven: the sending of a good heartbeat, or the answer to a SyncGroup.
    proven_at: Option<Instant>,
    /// The last sending of a request whose answer said that what is owned is this member's.
    granted_at: Option<Instant>,
    /// The last sending of a request whose answer said that no rebalance was open: one that was heard of since began
    /// after that.
    settled_at: Option<Instant>,
    next_heartbeat: Option<Instant>,
    join_reason: &'static str,
    on_leave: MembershipOperation,
    /// Asked to leave while it joined with partitions in hand: the join goes on until they are given up.
    is_leaving: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Not in the group and not wanting to be.
    Idle,
    /// JoinGroup is the next thing to send.
    Unjoined,
    Joining,
    /// The leader waits for partition counts.
    Assigning,
    /// SyncGroup is to be sent with these (member id, assignment), or is in flight.
    Syncing(Vec<(String, Bytes)>),
    Stable,
    /// The caller gives up its partitions.
    Revoking(Then),
    /// LeaveGroup is to be sent or in flight; given up at the time named.
    Leaving {
        sent: bool,
        until: Instant,
    },
    /// `Fatal` was said.
    Failed,
}

/// What follows when the partitions are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Rejoin,
    Leave,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coordinator {
    Unknown { asked: bool },
    Known(Versions),
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    kind: GroupRequestKind,
    version: i16,
    sent_at: Instant,
}

#[derive(Debug)]
struct Leading {
    members: Vec<Member>,
    /// Every topic that a member wants.
    topics: BTreeSet<Arc<str>>,
    /// What the current assignment was made with, of those topics.
    known: Option<Known>,
}

/// What metadata says of topics, as far as it makes a difference to an assignment.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    counts: PartitionCounts,
    racks: PartitionRacks,
}

impl ClassicGroup {
    /// A member that is in no group yet: [`ClassicGroup::subscribe`] and [`ClassicGroup::start`] make it join.
    ///
    /// # Panics
    /// If `config` names no assignor.
    pub fn new(config: ClassicConfig) -> ClassicGroup {
        assert!(!config.assignors.is_empty(), "a member offers at least one assignor");
        ClassicGroup {
            identity: Identity::new(&config),
            state: State::Idle,
            coordinator: Coordinator::Unknown { asked: false },
            in_flight: None,
            heartbeat_beside: None,
            topics: Vec::new(),
            owned: Vec::new(),
            giving_up: Vec::new(),
            last: Claim::default(),
            leading: None,
            racks: PartitionRacks::new(),
            assignor: config.assignors[0],
            events: VecDeque::new(),
            backoff: Backoff::new(config.retry_backoff, config.retry_backoff_max),
            rng: fastrand::Rng::with_seed(config.seed),
            not_before: None,
            proven_at: None,
            granted_at: None,
            settled_at: None,
            next_heartbeat: None,
            join_reason: "first join",
            on_leave: MembershipOperation::Default,
            is_leaving: false,
            config,
        }
    }

    /// Wants to be in the group. Does nothing unless the member is new or has left.
    pub fn start(&mut self) {
        if self.state == State::Idle {
            self.join_reason = "first join";
            self.state = State::Unjoined;
        }
    }

    /// Wants these topics; a member that has joined with others joins again.
    pub fn subscribe(&mut self, topics: impl IntoIterator<Item = Arc<str>>) {
        let topics: Vec<_> = topics.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        if topics == self.topics {
            return;
        }
        self.topics = topics;
        match self.state {
            State::Stable => self.rebalance("the subscription changed"),
            // Asked with the old subscription: asked anew once the answer is there.
            State::Joining | State::Assigning | State::Syncing(_) => {
                self.abandon_join("the subscription changed")
            }
            _ => {}
        }
    }

    /// The coordinator is connected and offers these versions.
    ///
    /// # Errors
    /// [`Unsupported`] if the broker has no group requests that we speak; the member waits as if none were known.
    pub fn coordinator_known(&mut self, versions: &VersionTable) -> Result<(), Unsupported> {
        let versions = Versions::negotiate(versions)?;
        if self.identity.is_static() && versions.join < 5 && self.is_member() {
            let error =
                GroupError::NoStaticMembers { group: self.config.group_id.clone(), version: versions.join };
            self.fail(error);
            return Ok(());
        }
        self.coordinator = Coordinator::Known(versions);
        Ok(())
    }

    /// The coordinator cannot be found, for a reason that retries do not cure (GROUP_AUTHORIZATION_FAILED, ...).
    pub fn coordinator_failed(&mut self, code: ErrorCode) {
        if self.is_member() {
            self.fail(GroupError::NoCoordinator { group: self.config.group_id.clone(), code });
        }
    }

    /// Where replicas are, as far as that is known. To be said before the counts, which make use of it.
    pub fn set_partition_racks(&mut self, racks: PartitionRacks) {
        self.racks = racks;
    }

    /// How many partitions the topics of [`GroupAction::NeedMetadata`] have.
    pub fn set_partition_counts(&mut self, counts: &PartitionCounts) {
        let (State::Assigning, Some(leading)) = (&self.state, &mut self.leading) else { return };
        let known = leading.of_interest(self.assignor, counts, &self.racks);
        let assigned = self.assignor.assign(&leading.members, &known.counts, &known.racks);
        let members = leading.members.iter().map(|member| member.member_id.clone());
        let bytes = assigned.into_iter().map(|partitions| {
            let assignment = Assignment { partitions, user_data: None };
            Bytes::from(assignment.encode(CONSUMER_PROTOCOL_VERSION))
        });
        let assignments = members.zip(bytes).collect();
        leading.known = Some(known);
        self.state = State::Syncing(assignments);
    }

    /// Metadata was refreshed: the leader joins again if a topic of the group has gained or lost partitions, or where
    /// members name racks, if replicas are elsewhere.
    pub fn metadata_changed(&mut self, counts: &PartitionCounts) {
        let Some(leading) = self.leading.as_mut().filter(|_| self.state == State::Stable) else { return };
        let known = leading.of_interest(self.assignor, counts, &self.racks);
        // A leader that has returned did not assign, and compares with what it finds.
        if *leading.known.get_or_insert_with(|| known.clone()) != known {
            self.rebalance("partition counts or racks changed");
        }
    }

    /// The partitions of [`GroupAction::Revoke`] are given up and their final commit is answered. Of no effect
    /// unless a revocation is pending; `Lost` and `Fatal` end one.
    pub fn revoked(&mut self, now: Instant) {
        let then = match self.state {
            State::Revoking(then) => then,
            _ if self.is_leaving => Then::Leave,
            _ => return,
        };
        let given_up = std::mem::take(&mut self.giving_up);
        self.owned.retain(|partition| !given_up.contains(partition));
        match then {
            Then::Rejoin => self.state = State::Unjoined,
            Then::Leave => self.begin_leaving(now),
        }
    }

    /// Whether LeaveGroup is sent at the end (KIP-1092).
    pub fn leave_as(&mut self, operation: MembershipOperation) {
        self.on_leave = operation;
    }

    /// Leaves the group in order: `Revoke` first where partitions are owned, then LeaveGroup (a static member skips it
    /// and keeps its place, unless [`leave_as`](ClassicGroup::leave_as) says otherwise), then `Left`.
    ///
    /// A join with partitions in hand goes on until [`revoked`](ClassicGroup::revoked) is called, so that what the
    /// coordinator refuses to commit meanwhile can be committed once it is over; how long that is waited for is the
    /// caller's to say.
    pub fn leave(&mut self, now: Instant) {
        match self.state {
            State::Idle if self.events.is_empty() => self.events.push_back(GroupAction::Left),
            State::Idle | State::Failed | State::Leaving { .. } | State::Revoking(Then::Leave) => {}
            _ if self.owned.is_empty() => self.begin_leaving(now),
            _ if self.is_joining() => {
                if !std::mem::replace(&mut self.is_leaving, true) {
                    self.ask_to_give_up(self.owned.clone());
                }
            }
            // What is being given up already, and the rest.
            _ => self.revoke(self.owned.clone(), Then::Leave),
        }
    }

    /// A batch of `lane` has taken longer than `max.poll.interval.ms`: the partitions are lost and the member leaves.
    /// It joins again with [`ClassicGroup::start`], after `Left`.
    pub fn poll_interval_exceeded(&mut self, lane: &str, now: Instant) {
        if self.is_member() {
            self.lose(LostReason::PollInterval { lane: lane.to_owned() });
            self.begin_leaving(now);
        }
    }

    /// The connection to the coordinator broke, or a request of the group timed out. The coordinator is
    /// looked for anew; owned partitions are kept as long as the session lasts.
    pub fn on_disconnected(&mut self, now: Instant) {
        self.in_flight = None;
        self.heartbeat_beside = None;
        self.coordinator = Coordinator::Unknown { asked: false };
        self.delay(now);
        match self.state {
            State::Joining | State::Assigning | State::Syncing(_) => self.state = State::Unjoined,
            State::Leaving { sent: true, .. } => self.finish_leaving(),
            _ => {}
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
            Coordinator::Known(versions) => self.next_request(versions, now).map(GroupAction::Send),
            Coordinator::Unknown { asked: true } => None,
            Coordinator::Unknown { asked: false } => {
                self.coordinator = Coordinator::Unknown { asked: true };
                Some(GroupAction::NeedCoordinator)
            }
        }
    }

    /// When to call [`ClassicGroup::poll`] again at the latest, if nothing else happens; of use once it has returned
    /// nothing.
    pub fn deadline(&self) -> Option<Instant> {
        let session = self.session_end();
        let is_connected = matches!(self.coordinator, Coordinator::Known(_));
        let heartbeats = match self.in_flight {
            None => self.heartbeats(),
            Some(_) => self.heartbeats_beside() && self.heartbeat_beside.is_none(),
        };
        let heartbeat = self.next_heartbeat.filter(|_| heartbeats && is_connected);
        let heartbeat = heartbeat.max(self.not_before.filter(|_| heartbeat.is_some()));
        let leaving = match self.state {
            State::Leaving { until, .. } => Some(until),
            _ => None,
        };
        let not_before = self.not_before.filter(|_| !matches!(self.state, State::Idle | State::Failed));
        [session, heartbeat, leaving, not_before].into_iter().flatten().min()
    }

    /// Until when what is owned is certainly nobody else's: `session.timeout.ms` from the sending of the last request
    /// that the coordinator has granted, and no longer than a rebalance waits for members, counted from when it may
    /// have begun. `None` while nothing is granted.
    ///
    /// A coordinator answers the heartbeats of a member that it waits for; whoever has not joined when the wait is over
    /// is out, however well it was heard of. Whether a join got there is known when it is answered.
    ///
    /// Whoever comes late to this, however late (its process may have stood still), hands out nothing more until it is
    /// renewed. It may be over while the membership is not, when SyncGroup was answered late: the heartbeat that
    /// follows renews it.
    pub fn lease_end(&self) -> Option<Instant> {
        let session = self.granted_at.map(|at| at + self.config.session_timeout)?;
        Some(self.settled_at.map_or(session, |at| session.min(at + self.config.rebalance_timeout)))
    }

    /// The group's generation, or -1 outside of one; for commits.
    pub fn generation(&self) -> i32 {
        self.identity.generation
    }

    /// The member's id, empty while it has none; for commits.
    pub fn member_id(&self) -> &str {
        &self.identity.member_id
    }

    /// `group.instance.id`; for commits.
    pub fn group_instance_id(&self) -> Option<&str> {
        self.config.group_instance_id.as_deref()
    }

    /// Whether a join is open: a commit would be answered with REBALANCE_IN_PROGRESS.
    pub fn is_joining(&self) -> bool {
        matches!(self.state, State::Unjoined | State::Joining | State::Assigning | State::Syncing(_))
    }

    /// Whether it leaves as soon as its partitions are given up, and joins until then.
    pub fn joins_to_leave(&self) -> bool {
        self.is_leaving && self.is_joining()
    }

    /// Whether the coordinator may take a commit now. It takes none while a join is open, except under the former
    /// generation until all have joined, which is of use to a member that leaves: it may have no other chance.
    pub fn may_commit(&self) -> bool {
        let is_before_join = matches!(self.state, State::Unjoined | State::Joining);
        self.generation() >= 0 && (!self.is_joining() || self.is_leaving && is_before_join)
    }

    /// The partitions owned, those being revoked included.
    pub fn owned(&self) -> &[TopicPartition] {
        &self.owned
    }

    /// The topics whose partition counts matter to this member: the group's for the leader, its own otherwise.
    pub fn watched_topics(&self) -> impl Iterator<Item = &Arc<str>> + '_ {
        let group = self.leading.iter().flat_map(|leading| &leading.topics);
        let own = self.topics.iter().filter(|_| self.leading.is_none());
        group.chain(own)
    }

    fn next_request(&mut self, versions: Versions, now: Instant) -> Option<GroupRequest> {
        if let State::Leaving { sent, until } = self.state {
            if sent {
                return None;
            }
            self.state = State::Leaving { sent: true, until };
            return Some(self.identity.leave(versions.leave, &self.config, "the consumer is closing"));
        }
        if self.in_flight.is_some() {
            return self.heartbeat_beside(versions, now);
        }
        let request = match &self.state {
            State::Unjoined => {
                let subscription = |assignor| self.subscription(assignor);
                let request = self.identity.join(versions.join, &self.config, subscription, self.join_reason);
                self.state = State::Joining;
                request
            }
            State::Syncing(assignments) => {
                self.identity.sync(versions.sync, &self.config, self.assignor.name(), assignments)
            }
            _ if self.heartbeats() && self.next_heartbeat.is_none_or(|at| now >= at) => {
                self.next_heartbeat = Some(now + self.config.heartbeat_interval);
                self.identity.heartbeat(versions.heartbeat, &self.config)
            }
            _ => return None,
        };
        self.in_flight = Some(InFlight { kind: request.kind(), version: request.version, sent_at: now });
        Some(request)
    }

    /// A heartbeat that does not wait for the answer to JoinGroup or SyncGroup.
    fn heartbeat_beside(&mut self, versions: Versions, now: Instant) -> Option<GroupRequest> {
        let is_due = self.next_heartbeat.is_none_or(|at| now >= at) && self.heartbeat_beside.is_none();
        if !self.heartbeats_beside() || !is_due {
            return None;
        }
        self.next_heartbeat = Some(now + self.config.heartbeat_interval);
        self.heartbeat_beside = Some((versions.heartbeat, now));
        Some(self.identity.heartbeat(versions.heartbeat, &self.config).beside())
    }

    /// The bytes of a subscription for one of the assignors on offer.
    fn subscription(&self, assignor: Assignor) -> Vec<u8> {
        let subscription = Subscription {
            topics: self.topics.clone(),
            user_data: assignor.user_data(&self.last),
            owned: self.owned.clone(),
            // Owned partitions are owned since the last assignment, whatever generation is under way.
            generation: if self.owned.is_empty() { -1 } else { self.last.generation },
            rack: self.config.client_rack.as_deref().map(str::to_owned),
        };
        subscription.encode(CONSUMER_PROTOCOL_VERSION)
    }

    /// Whether partitions are kept while joining: all assignors on offer must be able to, because which one the
    /// coordinator picks is known only afterwards.
    fn is_cooperative(&self) -> bool {
        self.config.assignors.iter().all(|assignor| assignor.is_cooperative())
    }

    /// Joins again, once what must be given up before is.
    fn rebalance(&mut self, reason: &'static str) {
        self.join_reason = reason;
        let is_unwanted = |at: &&TopicPartition| self.topics.binary_search(&at.topic).is_err();
        let cooperative = self.is_cooperative();
        let given_up: Vec<_> =
            self.owned.iter().filter(|at| !cooperative || is_unwanted(at)).cloned().collect();
        if given_up.is_empty() {
            self.state = State::Unjoined;
        } else {
            self.revoke(given_up, Then::Rejoin);
        }
    }

    fn revoke(&mut self, partitions: Vec<TopicPartition>, then: Then) {
        self.state = State::Revoking(then);
        self.ask_to_give_up(partitions);
    }

    fn ask_to_give_up(&mut self, partitions: Vec<TopicPartition>) {
        self.giving_up.clone_from(&partitions);
        // A caller that has not seen the former word yet need not.
        self.events.retain(|event| !matches!(event, GroupAction::Revoke { .. }));
        self.events.push_back(GroupAction::Revoke { partitions });
    }

    /// Drops a join that is under way; its answer, when it comes, is not waited for in any state.
    fn abandon_join(&mut self, reason: &'static str) {
        self.join_reason = reason;
        self.state = State::Unjoined;
    }

    fn begin_leaving(&mut self, now: Instant) {
        self.owned.clear();
        self.giving_up.clear();
        self.is_leaving = false;
        let stays = match self.on_leave {
            MembershipOperation::Default => self.identity.is_static(),
            MembershipOperation::Leave => false,
            MembershipOperation::Remain => true,
        };
        if stays || self.identity.member_id.is_empty() {
            self.finish_leaving();
        } else {
            self.state = State::Leaving { sent: false, until: now + self.config.request_timeout };
            self.not_before = None;
        }
    }

    fn finish_leaving(&mut self) {
        self.forget_generation(true);
        self.in_flight = None;
        self.leading = None;
        self.state = State::Idle;
        self.events.push_back(GroupAction::Left);
    }

    /// The session's end by this member's count, while it has a session to lose.
    fn session_end(&self) -> Option<Instant> {
        let counts = self.heartbeats() || self.heartbeats_beside();
        self.proven_at.filter(|_| counts).map(|at| at + self.config.session_timeout)
    }

    /// Gives up what has taken too long: the session, or the way out of the group.
    fn check_limits(&mut self, now: Instant) {
        if let State::Leaving { until, .. } = self.state
            && now >= until
        {
            self.finish_leaving();
        }
        // What it joined for is lost.
        if self.joins_to_leave() && self.owned.is_empty() {
            self.begin_leaving(now);
        }
        if self.session_end().is_none_or(|end| now < end) {
            return;
        }
        // The coordinator may be there and silent: it is looked for anew, over a new connection.
        let session_timeout_ms = self.config.session_timeout.as_millis();
        self.in_flight = None;
        self.heartbeat_beside = None;
        self.coordinator = Coordinator::Unknown { asked: false };
        self.expelled(LostReason::SessionTimeout { session_timeout_ms }, false, now);
    }

    /// The member is out of its generation against its will: what it owned is lost, and it joins again
    /// unless it was about to leave.
    fn expelled(&mut self, reason: LostReason, forget_member: bool, now: Instant) {
        self.lose(reason);
        self.forget_generation(forget_member);
        self.join_reason = "the member lost its membership";
        if self.state == State::Revoking(Then::Leave) {
            self.begin_leaving(now);
        } else {
            self.state = State::Unjoined;
            self.delay(now);
        }
    }

    fn lose(&mut self, reason: LostReason) {
        self.giving_up.clear();
        self.granted_at = None;
        let partitions = std::mem::take(&mut self.owned);
        if !partitions.is_empty() {
            // A revocation that the caller has not seen yet is pointless now.
            self.events.retain(|event| !matches!(event, GroupAction::Revoke { .. }));
            self.events.push_back(GroupAction::Lost { partitions, reason });
        }
    }

    fn fail(&mut self, error: GroupError) {
        self.lose(LostReason::Failed);
        self.forget_generation(true);
        self.in_flight = None;
        self.leading = None;
        self.is_leaving = false;
        self.state = State::Failed;
        self.events.push_back(GroupAction::Fatal(error));
    }

    fn forget_generation(&mut self, forget_member: bool) {
        self.identity.generation = -1;
        self.proven_at = None;
        self.granted_at = None;
        self.settled_at = None;
        self.next_heartbeat = None;
        self.heartbeat_beside = None;
        if forget_member {
            self.identity.member_id = Default::default();
        }
    }

    fn delay(&mut self, now: Instant) {
        self.not_before = Some(now + self.backoff.failed(&mut self.rng));
    }

    /// Whether the coordinator expects heartbeats, and nothing that waits at the coordinator stands in for them.
    fn heartbeats(&self) -> bool {
        matches!(self.state, State::Stable | State::Revoking(_) | State::Assigning)
    }

    /// Whether partitions are owned while a join is on its way, which may take as long as the slowest member.
    fn heartbeats_beside(&self) -> bool {
        !self.owned.is_empty() && self.is_joining() && self.state != State::Assigning
    }

    /// Whether the member is in the group or on its way in.
    fn is_member(&self) -> bool {
        !matches!(self.state, State::Idle | State::Leaving { .. } | State::Failed)
    }
}

impl Leading {
    /// Of what is known, what makes a difference to this group.
    fn of_interest(&self, assignor: Assignor, counts: &PartitionCounts, racks: &PartitionRacks) -> Known {
        let by_racks = assignor == Assignor::Range && self.members.iter().any(|member| member.rack.is_some());
        let racks_of = |topic| racks.get_key_value(topic).filter(|_| by_racks);
        Known {
            counts: owned(self.topics.iter().filter_map(|topic| counts.get_key_value(topic))),
            racks: owned(self.topics.iter().filter_map(racks_of)),
        }
    }
}

fn owned<'a, T: Clone + 'a>(of_topics: impl Iterator<Item = (&'a Arc<str>, &'a T)>) -> BTreeMap<Arc<str>, T> {
    of_topics.map(|(topic, known)| (Arc::clone(topic), known.clone())).collect()
}

#[cfg(test)]
mod tests;
