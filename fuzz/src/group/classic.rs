//! Membership in a classic group, eager and cooperative: any answer at any time, and whatever its driver may say.
//!
//! Input: two bytes that choose assignors, static membership and the coordinator's versions, then operations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{
    ApiKey, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupResponse, RequestHeader,
    ResponseHeader, SyncGroupResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use millstream_protocol::group::assignor::{Assignor, PartitionCounts};
use millstream_protocol::group::classic::{ClassicConfig, ClassicGroup};
use millstream_protocol::group::consumer_protocol::{Assignment, Subscription};
use millstream_protocol::group::{GroupAction, GroupRequest, GroupRequestKind, TopicPartition};
use millstream_protocol::request::{ErrorCode, VersionTable, supported_versions};

use crate::input::Input;

const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const TOPICS: [&str; 3] = ["a", "b", "c"];
const ASSIGNORS: [&[Assignor]; 5] = [
    &[Assignor::Range, Assignor::RoundRobin],
    &[Assignor::CooperativeSticky],
    &[Assignor::Sticky],
    &[Assignor::CooperativeSticky, Assignor::Range],
    &[Assignor::Sticky, Assignor::CooperativeSticky, Assignor::RoundRobin],
];
const NAMES: [&str; 6] = ["range", "cooperative-sticky", "sticky", "roundrobin", "", "unheard-of"];
/// NONE most often, then what coordinators answer, then what they should not.
const CODES: [i16; 16] = [0, 0, 0, 0, 0, 0, 79, 25, 22, 27, 14, 15, 16, 82, 30, -1];
/// Things to do at one instant; a machine that wants more goes round in circles.
const ACTIONS_MAX: usize = 64;
const OPERATIONS_MAX: usize = 1_000;
const KINDS: [GroupRequestKind; 5] = [
    GroupRequestKind::Join,
    GroupRequestKind::Sync,
    GroupRequestKind::Heartbeat,
    GroupRequestKind::HeartbeatBeside,
    GroupRequestKind::Leave,
];

/// Drives a member. It never panics or goes round in circles; it is asked to commit (`Revoke`) only what it owns; it
/// joins with nothing in hand under an eager assignor and says truly what it keeps under a cooperative one; told to
/// leave it takes nothing any more; it owns nothing longer than its session without an answer; and nothing follows
/// `Fatal`.
pub fn classic_group(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.next() else { break };
        world.step(operation, &mut input);
        world.drain();
        world.check();
    }
}

struct World {
    group: ClassicGroup,
    is_cooperative: bool,
    versions: VersionTable,
    now: Instant,
    /// What the member may consume and commit, by what it was told.
    held: BTreeSet<TopicPartition>,
    revoking: Option<Vec<TopicPartition>>,
    /// Requests without an answer, with their versions.
    sent: Vec<(GroupRequestKind, i16)>,
    /// When the last answer came, of any kind.
    answered_at: Instant,
    needs_counts: bool,
    /// It was told to leave and has not.
    is_leaving: bool,
    is_over: bool,
}

impl World {
    fn new(input: &mut Input<'_>) -> World {
        let shape = input.byte();
        let assignors = ASSIGNORS[usize::from(shape >> 1) % ASSIGNORS.len()];
        let config = ClassicConfig {
            group_instance_id: (shape & 1 == 1).then(|| "instance".to_owned()),
            session_timeout: SESSION_TIMEOUT,
            assignors: assignors.to_vec(),
            seed: 7,
            ..ClassicConfig::new("g")
        };
        let mut group = ClassicGroup::new(config);
        group.subscribe([Arc::from("a"), Arc::from("b")]);
        group.start();
        let now = Instant::now();
        World {
            group,
            is_cooperative: assignors.iter().all(|assignor| assignor.is_cooperative()),
            versions: versions(i16::from(input.byte())),
            now,
            held: BTreeSet::new(),
            revoking: None,
            sent: Vec::new(),
            answered_at: now,
            needs_counts: false,
            is_leaving: false,
            is_over: false,
        }
    }

    fn step(&mut self, operation: u8, input: &mut Input<'_>) {
        match operation % 20 {
            0 => self.now += Duration::from_millis(u64::from(input.byte()) * 50),
            1 | 2 => self.now = self.group.deadline().unwrap_or(self.now).max(self.now),
            3..=7 => {
                if !self.sent.is_empty() {
                    let (kind, version) = self.sent.remove(input.below(self.sent.len()));
                    let frame = answer(kind, version, self.group.member_id(), input);
                    self.deliver(kind, &frame);
                }
            }
            8 => {
                // Of a kind that nobody asked for, or a second time, or no answer at all.
                let kind = *input.pick(&KINDS);
                let version = input.below(10) as i16;
                let frame = if input.bool() {
                    Bytes::copy_from_slice(input.bytes())
                } else {
                    answer(kind, version, self.group.member_id(), input)
                };
                self.deliver(kind, &frame);
            }
            9 => {
                self.sent.clear();
                self.group.on_disconnected(self.now);
            }
            10 | 11 => {
                let _ = self.group.coordinator_known(&self.versions);
            }
            12 => self.group.coordinator_failed(ErrorCode(input.i16())),
            13 | 14 => self.revoked(),
            15 => {
                self.is_leaving = true;
                self.group.leave(self.now);
            }
            16 => self.group.start(),
            17 => {
                let shape = input.byte();
                let wanted = TOPICS.iter().enumerate().filter(|(at, _)| shape >> at & 1 == 1);
                self.group.subscribe(wanted.map(|(_, topic)| Arc::from(*topic)));
            }
            18 => {
                let counts = counts(input);
                if std::mem::take(&mut self.needs_counts) {
                    self.group.set_partition_counts(&counts);
                } else {
                    self.group.metadata_changed(&counts);
                }
            }
            _ if input.bool() => self.group.poll_interval_exceeded("a-0", self.now),
            _ => self.group.heartbeat_beside_failed(),
        }
    }

    fn deliver(&mut self, kind: GroupRequestKind, frame: &Bytes) {
        self.answered_at = self.now;
        if let Err(error) = self.group.on_response(kind, frame, self.now) {
            crate::says_something(&error);
            // A malformed answer ends its connection, and what is under way on it.
            self.sent.retain(|(kind, _)| is_beside_joins(*kind));
        }
    }

    fn revoked(&mut self) {
        let given_up = self.revoking.take();
        self.group.revoked(self.now);
        for partition in given_up.iter().flatten() {
            self.held.remove(partition);
        }
    }

    /// Carries out whatever there is to do.
    fn drain(&mut self) {
        for _ in 0..ACTIONS_MAX {
            let Some(action) = self.group.poll(self.now) else { return };
            self.act(action);
        }
        panic!("{ACTIONS_MAX} things to do at one instant");
    }

    fn act(&mut self, action: GroupAction) {
        assert!(!self.is_over, "nothing follows `Fatal`: {action:?}");
        match action {
            GroupAction::NeedCoordinator => {
                let is_beside =
                    |kind| matches!(kind, GroupRequestKind::HeartbeatBeside | GroupRequestKind::Leave);
                self.sent.retain(|(kind, _)| is_beside(*kind));
            }
            GroupAction::Send(request) => self.send(&request),
            GroupAction::NeedMetadata { topics } => {
                assert!(topics.is_sorted_by(|one, next| one < next), "each topic once");
                self.needs_counts = true;
            }
            GroupAction::NeedTopicNames { .. } => unreachable!("classic groups name their topics"),
            GroupAction::Revoke { partitions } => {
                assert!(!partitions.is_empty());
                let named: BTreeSet<_> = partitions.iter().cloned().collect();
                assert_eq!(named.len(), partitions.len(), "each partition once");
                assert!(named.is_subset(&self.held), "only what is owned can be committed: {named:?}");
                assert!(self.is_cooperative || named == self.held, "an eager member gives up everything");
                self.revoking = Some(partitions);
            }
            GroupAction::Assigned { partitions, generation, member_id } => {
                assert!(generation >= 0);
                assert!(!self.is_leaving, "who leaves takes nothing");
                assert!(!member_id.is_empty() || self.group.member_id().is_empty());
                assert!(partitions.is_sorted_by(|one, next| one < next), "each partition once");
                assert!(
                    self.is_cooperative || self.held.is_empty(),
                    "an eager member had let go of everything"
                );
                self.held.extend(partitions);
                self.revoking = None;
            }
            GroupAction::Lost { partitions, reason } => {
                assert!(!reason.to_string().is_empty());
                assert_eq!(partitions.into_iter().collect::<BTreeSet<_>>(), self.held);
                self.held.clear();
                self.revoking = None;
            }
            GroupAction::Left => {
                assert!(self.held.is_empty(), "who has left owns nothing");
                (self.revoking, self.is_leaving) = (None, false);
            }
            GroupAction::Fatal(error) => {
                crate::says_something(&error);
                assert!(self.held.is_empty(), "`Lost` comes before `Fatal`");
                self.is_over = true;
            }
        }
    }

    fn send(&mut self, request: &GroupRequest) {
        let mut frame = Vec::new();
        request.encode(1, "fuzz", &mut frame).expect("what the machine asks for can be written");
        let (kind, version) = (request.kind(), request.version());
        match kind {
            GroupRequestKind::Join => self.check_join(&frame, version),
            GroupRequestKind::Leave => assert!(self.held.is_empty(), "a member gives up before it leaves"),
            GroupRequestKind::Sync => {}
            GroupRequestKind::Heartbeat | GroupRequestKind::HeartbeatBeside => {
                assert!(self.group.generation() >= 0, "no heartbeat without a generation");
            }
        }
        if !is_beside_joins(kind) {
            // A new one in flight means that nothing older is waited for.
            self.sent.retain(|(kind, _)| is_beside_joins(*kind));
        }
        self.sent.push((kind, version));
    }

    fn check_join(&self, frame: &[u8], version: i16) {
        let mut body = Bytes::copy_from_slice(&frame[4..]);
        RequestHeader::decode(&mut body, ApiKey::JoinGroup.request_header_version(version))
            .expect("a header");
        let request =
            JoinGroupRequest::decode(&mut body, version).expect("kafka-protocol reads what we write");
        assert!(self.is_cooperative || self.held.is_empty(), "an eager member joins with nothing in hand");
        for protocol in &request.protocols {
            let subscription = Subscription::decode(&protocol.metadata).expect("we read what we write");
            let owned: BTreeSet<_> = subscription.owned.into_iter().collect();
            assert_eq!(owned, self.held, "a member says what it keeps");
        }
    }

    fn check(&self) {
        let owned: BTreeSet<_> = self.group.owned().iter().cloned().collect();
        assert_eq!(owned.len(), self.group.owned().len(), "each partition once");
        assert_eq!(owned, self.held, "the machine and what it has said agree");
        if self.now.saturating_duration_since(self.answered_at) >= SESSION_TIMEOUT {
            assert!(owned.is_empty(), "nothing is owned beyond the session");
        }
        if let Some(deadline) = self.group.deadline() {
            assert!(deadline > self.now, "a deadline that has passed would be polled for ever");
        }
        assert!(!self.is_over || owned.is_empty());
        assert!(!self.group.joins_to_leave() || !owned.is_empty(), "it joins for what it has");
    }
}

/// The coordinator's versions, each up to what we speak and, for one in four, below.
fn versions(shape: i16) -> VersionTable {
    let apis = [ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::Heartbeat, ApiKey::LeaveGroup];
    VersionTable::new(apis.map(|api| {
        let (first, last) = supported_versions(api).expect("we speak it");
        let cut = if shape % 4 == 0 { shape / 4 % (last - first + 1) } else { 0 };
        (api as i16, first, last - cut)
    }))
}

fn counts(input: &mut Input<'_>) -> PartitionCounts {
    TOPICS.iter().filter(|_| input.byte() != 0).map(|topic| (Arc::from(*topic), input_count(topic))).collect()
}

/// As many partitions as the topic's place in the alphabet: the counts need not vary, only what exists does.
fn input_count(topic: &str) -> i32 {
    i32::from(topic.as_bytes()[0] - b'a') + 2
}

/// An answer of the right shape with content of the fuzzer's choice.
fn answer(kind: GroupRequestKind, version: i16, member_id: &str, input: &mut Input<'_>) -> Bytes {
    let code = *input.pick(&CODES);
    let code = if code == -1 { input.i16() } else { code };
    let mut frame = Vec::new();
    let written = match kind {
        GroupRequestKind::Join => put(&mut frame, version, &join(code, version, member_id, input)),
        GroupRequestKind::Sync => {
            let body = SyncGroupResponse::default().with_error_code(code).with_assignment(assignment(input));
            put(&mut frame, version, &body)
        }
        GroupRequestKind::Heartbeat | GroupRequestKind::HeartbeatBeside => {
            put(&mut frame, version, &HeartbeatResponse::default().with_error_code(code))
        }
        GroupRequestKind::Leave => {
            put(&mut frame, version, &LeaveGroupResponse::default().with_error_code(code))
        }
    };
    // What the version cannot carry is no answer, which is an answer, too.
    if written.is_none() {
        frame.clear();
    }
    frame.into()
}

fn put<M: Encodable + HeaderVersion>(frame: &mut Vec<u8>, version: i16, body: &M) -> Option<()> {
    ResponseHeader::default().encode(frame, M::header_version(version)).ok()?;
    body.encode(frame, version).ok()
}

fn join(code: i16, version: i16, member_id: &str, input: &mut Input<'_>) -> JoinGroupResponse {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let me = if input.byte() < 16 || member_id.is_empty() { "me" } else { member_id };
    let leads = input.bool();
    let mut response = JoinGroupResponse::default()
        .with_error_code(code)
        .with_generation_id(if input.byte() < 240 { 5 } else { input.i32() })
        .with_protocol_name(Some(text(NAMES[input.below(32) % NAMES.len()])))
        .with_leader(text(if leads { me } else { "other" }))
        .with_member_id(text(me));
    if version >= 7 {
        let kind = if input.byte() < 250 { "consumer" } else { "connect" };
        response = response.with_protocol_type(Some(text(kind)));
    }
    if version >= 9 {
        response = response.with_skip_assignment(input.byte() > 240);
    }
    let others = if leads { input.below(4) } else { 0 };
    let members = (0..others).map(|at| {
        let id = if at == 0 { me.to_owned() } else { format!("m{at}") };
        JoinGroupResponseMember::default().with_member_id(text(&id)).with_metadata(subscription(input))
    });
    let members = members.collect();
    response.with_members(members)
}

fn subscription(input: &mut Input<'_>) -> Bytes {
    if input.byte() > 220 {
        return Bytes::copy_from_slice(input.bytes());
    }
    let shape = input.byte();
    let topics = TOPICS.iter().enumerate().filter(|(at, _)| shape >> at & 1 == 1);
    let subscription = Subscription {
        topics: topics.map(|(_, topic)| Arc::from(*topic)).collect(),
        user_data: input.bool().then(|| input.bytes().to_vec()),
        owned: partitions(input),
        generation: i32::from(input.byte()) - 1,
        rack: None,
    };
    subscription.encode(i16::from(shape >> 6)).into()
}

fn assignment(input: &mut Input<'_>) -> Bytes {
    match input.byte() {
        0..=15 => Bytes::copy_from_slice(input.bytes()),
        16..=23 => Bytes::new(),
        _ => Assignment { partitions: partitions(input), user_data: None }.encode(1).into(),
    }
}

/// Some partitions, perhaps of topics that nobody wants, perhaps twice.
fn partitions(input: &mut Input<'_>) -> Vec<TopicPartition> {
    let count = input.below(6);
    (0..count)
        .map(|_| {
            let choice = input.byte();
            let topic = TOPICS[usize::from(choice & 0x0f) % 2 + usize::from(choice > 250)];
            TopicPartition::new(topic, i32::from(choice >> 4 & 3))
        })
        .collect()
}

/// Whether a request may be under way beside a join: a heartbeat over the other connection, and the last one.
fn is_beside_joins(kind: GroupRequestKind) -> bool {
    matches!(kind, GroupRequestKind::HeartbeatBeside | GroupRequestKind::Leave)
}
