//! Membership in a group of the consumer protocol (KIP-848): any answer at any time, and whatever its driver may say.
//!
//! Input: two bytes that choose static membership, a pattern and the coordinator's version, then operations.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use millstream_protocol::group::consumer::{ConsumerConfig, ConsumerGroup, SESSION_MAX};
use millstream_protocol::group::{
    GroupAction, GroupRequest, GroupRequestKind, MembershipOperation, TopicPartition,
};
use millstream_protocol::request::{ErrorCode, VersionTable, supported_versions};
use uuid::Uuid;

use crate::input::Input;
use crate::memory::measure;

const TOPICS: [&str; 3] = ["a", "b", "c"];
/// Topics that a coordinator names by id: one more than there are names, as when one was created again.
const TOPIC_IDS: usize = TOPICS.len() + 1;
/// NONE most often, then what coordinators answer, then what they should not.
const CODES: [i16; 16] = [0, 0, 0, 0, 0, 0, 0, 110, 25, 113, 14, 15, 16, 111, 112, -1];
const LEAVINGS: [MembershipOperation; 3] =
    [MembershipOperation::Default, MembershipOperation::Leave, MembershipOperation::Remain];
/// Things to do at one instant; a machine that wants more goes round in circles.
const ACTIONS_MAX: usize = 16;
const OPERATIONS_MAX: usize = 1_000;
/// What one step may take of memory beside what an answer's length justifies, …
const STEP_BYTES: usize = 64 << 10;
/// … and what it may take per byte of an answer: an id of a topic is in the target, among the names and asked for.
const STEP_BYTES_PER_BYTE: usize = 256;

/// Drives a member. It never panics or goes round in circles; one heartbeat is under way at a time; it is asked to give
/// up (`Revoke`) only what it owns and says truly what that is; it takes nothing back while it gives up; it owns
/// nothing longer than its session without an answer; a step takes memory in proportion to the answer; and nothing
/// follows `Fatal`.
pub fn consumer_group(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    world.drain();
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.next() else { break };
        let before = input.rest().len();
        let ((), taken) = measure(|| {
            world.step(operation, &mut input);
            world.drain();
        });
        let drawn = before - input.rest().len();
        assert!(taken.peak_bytes <= STEP_BYTES + STEP_BYTES_PER_BYTE * drawn, "{taken:?} for {drawn} bytes");
        world.check();
    }
}

struct World {
    group: ConsumerGroup,
    version: i16,
    now: Instant,
    /// What the member may consume and commit, by what it was told.
    held: BTreeSet<TopicPartition>,
    /// What it was told to give up and has not.
    revoking: Option<BTreeSet<TopicPartition>>,
    /// Whether the coordinator was asked for and has not been found.
    is_looking: bool,
    /// When the heartbeat without an answer was sent.
    beating: Option<Instant>,
    is_leaving: bool,
    /// When the newest heartbeat that was answered, in whatever way, was sent.
    proven_at: Instant,
    unnamed: Vec<[u8; 16]>,
    is_over: bool,
}

impl World {
    fn new(input: &mut Input<'_>) -> World {
        let shape = input.byte();
        let config = ConsumerConfig {
            group_instance_id: (shape & 1 == 1).then(|| "instance".to_owned()),
            seed: 7,
            ..ConsumerConfig::new("g")
        };
        let mut group = ConsumerGroup::new(config);
        group.subscribe([Arc::from("a"), Arc::from("b")], (shape & 2 == 2).then(|| Arc::from("c.*")));
        group.leave_as(LEAVINGS[usize::from(shape >> 2) % LEAVINGS.len()]);
        group.start();
        let now = Instant::now();
        World {
            group,
            version: i16::from(!input.byte().is_multiple_of(4)),
            now,
            held: BTreeSet::new(),
            revoking: None,
            is_looking: false,
            beating: None,
            is_leaving: false,
            proven_at: now,
            unnamed: Vec::new(),
            is_over: false,
        }
    }

    fn step(&mut self, operation: u8, input: &mut Input<'_>) {
        match operation % 20 {
            0 => self.now += Duration::from_millis(u64::from(input.byte()) * 200),
            1 | 2 => self.now = self.group.deadline().unwrap_or(self.now).max(self.now),
            3..=7 if self.beating.is_some() => self.deliver(GroupRequestKind::Heartbeat, &answer(input)),
            3..=7 => {
                if std::mem::take(&mut self.is_leaving) {
                    self.deliver(GroupRequestKind::Leave, &answer(input));
                }
            }
            8 => {
                // Of a kind that nobody asked for, or a second time, or no answer at all.
                let is_last = input.bool();
                let kind = if is_last { GroupRequestKind::Leave } else { GroupRequestKind::Heartbeat };
                let frame = match input.bool() {
                    true => Bytes::copy_from_slice(input.bytes()),
                    false => answer(input),
                };
                self.deliver(kind, &frame);
            }
            9 => self.disconnected(),
            10 if self.is_looking => self.coordinator_known(input),
            10 => {}
            11 => self.group.leave_as(*input.pick(&LEAVINGS)),
            12 => self.group.coordinator_failed(ErrorCode(input.i16())),
            13 | 14 => self.revoked(),
            15 => self.group.leave(self.now),
            16 => self.group.start(),
            17 => self.subscribe(input),
            18 => self.name_topics(input),
            _ => self.group.poll_interval_exceeded("a-0", self.now),
        }
    }

    fn deliver(&mut self, kind: GroupRequestKind, frame: &Bytes) {
        if kind == GroupRequestKind::Heartbeat
            && let Some(sent_at) = self.beating.take()
        {
            self.proven_at = sent_at;
        }
        if let Err(error) = self.group.on_response(kind, frame, self.now) {
            crate::says_something(&error);
            // A malformed answer ends its connection, and what is under way on it.
            self.beating = None;
            self.is_leaving = false;
        }
    }

    fn disconnected(&mut self) {
        self.beating = None;
        self.is_leaving = false;
        self.group.on_disconnected(self.now);
    }

    /// Now and then one that is too old, or speaks nothing of the kind.
    fn coordinator_known(&mut self, input: &mut Input<'_>) {
        let (first, last) = supported_versions(ApiKey::ConsumerGroupHeartbeat).expect("we speak it");
        assert!(first <= self.version && self.version <= last);
        self.is_looking = false;
        let key = if input.byte() > 250 { ApiKey::Heartbeat } else { ApiKey::ConsumerGroupHeartbeat };
        self.group.coordinator_known(&VersionTable::new([(key as i16, 0, self.version)]));
    }

    fn subscribe(&mut self, input: &mut Input<'_>) {
        let shape = input.byte();
        let wanted = TOPICS.iter().enumerate().filter(|(at, _)| shape >> at & 1 == 1);
        let pattern = (shape >= 128).then(|| Arc::from("c.*"));
        self.group.subscribe(wanted.map(|(_, topic)| Arc::from(*topic)), pattern);
    }

    /// Some of what was asked for, and perhaps what was not.
    fn name_topics(&mut self, input: &mut Input<'_>) {
        let shape = input.byte();
        let ids = (0..TOPIC_IDS).filter(|at| shape >> at & 1 == 0);
        let names: Vec<_> = ids.map(|at| (topic_id(at), Arc::from(TOPICS[at % TOPICS.len()]))).collect();
        self.group.set_topic_names(names.iter().map(|(id, name)| (*id, name)));
    }

    fn revoked(&mut self) {
        self.group.revoked(self.now);
        for partition in self.revoking.take().iter().flatten() {
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
            GroupAction::NeedCoordinator => (self.is_looking, self.beating) = (true, None),
            GroupAction::Send(request) => self.send(&request),
            GroupAction::NeedMetadata { .. } => unreachable!("the coordinator assigns"),
            GroupAction::NeedTopicNames { topic_ids } => {
                assert!(topic_ids.is_sorted_by(|one, next| one < next), "each id once");
                assert!(topic_ids != self.unnamed, "nothing is asked for twice in a row");
                self.unnamed = topic_ids;
            }
            GroupAction::Revoke { partitions } => {
                let named = distinct(&partitions);
                assert!(!named.is_empty() && named.is_subset(&self.held), "only what is owned: {named:?}");
                let before = self.revoking.replace(named);
                let still = before.iter().flatten().all(|partition| partitions.contains(partition));
                assert!(still, "what was to be given up still is: {before:?}");
            }
            GroupAction::Assigned { partitions, generation, member_id } => {
                assert!(generation > 0 && !member_id.is_empty());
                assert!(self.revoking.is_none(), "nothing is taken while partitions are given up");
                let named = distinct(&partitions);
                assert!(self.held.is_subset(&named), "what is owned is given up first");
                self.held = named;
            }
            GroupAction::Lost { partitions, reason } => {
                assert!(!reason.to_string().is_empty());
                assert_eq!(distinct(&partitions), self.held);
                self.held.clear();
                self.revoking = None;
            }
            GroupAction::Left => {
                assert!(self.held.is_empty(), "who has left owns nothing");
                (self.beating, self.is_leaving) = (None, false);
            }
            GroupAction::Fatal(error) => {
                crate::says_something(&error);
                assert!(self.held.is_empty(), "`Lost` comes before `Fatal`");
                self.is_over = true;
            }
        }
    }

    fn send(&mut self, request: &GroupRequest) {
        let body = read(request, self.version);
        assert!(!request.is_beside_joins(), "the last heartbeat does not overtake another");
        if request.kind() == GroupRequestKind::Leave {
            assert!(self.held.is_empty(), "a member gives up before it leaves");
            assert!(!std::mem::replace(&mut self.is_leaving, true), "it leaves once");
            return;
        }
        assert!(self.beating.replace(self.now).is_none(), "one heartbeat is under way at a time");
        assert_eq!(request.kind(), GroupRequestKind::Heartbeat);
        let is_joining = body.member_epoch == 0;
        assert!(!is_joining || self.held.is_empty(), "a member joins with nothing in hand");
        assert!(
            !is_joining || body.subscribed_topic_names.is_some(),
            "a member that joins says what it wants"
        );
        if let Some(topics) = body.topic_partitions {
            let said: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
            assert_eq!(said, self.held.len(), "a member says what it owns");
        }
    }

    fn check(&self) {
        assert_eq!(distinct(&self.group.owned()), self.held, "the machine and what it has said agree");
        if self.now.saturating_duration_since(self.proven_at) >= SESSION_MAX {
            assert!(self.held.is_empty(), "nothing is owned beyond the session");
        }
        if let Some(deadline) = self.group.deadline() {
            assert!(deadline > self.now, "a deadline that has passed would be polled for ever");
        }
        assert!(!self.is_over || self.held.is_empty());
        assert!(self.held.is_empty() || self.group.epoch() > 0, "what is owned can be committed");
    }
}

/// The same, each once.
fn distinct(partitions: &[TopicPartition]) -> BTreeSet<TopicPartition> {
    assert!(partitions.is_sorted_by(|one, next| one < next), "each partition once: {partitions:?}");
    partitions.iter().cloned().collect()
}

/// What kafka-protocol reads in a request.
fn read(request: &GroupRequest, known: i16) -> ConsumerGroupHeartbeatRequest {
    let (version, mut frame) = (request.version(), Vec::new());
    assert_eq!(version, known, "what the coordinator speaks");
    request.encode(1, "fuzz", &mut frame).expect("what the machine asks for can be written");
    let mut body = Bytes::copy_from_slice(&frame[4..]);
    let header_version = ApiKey::ConsumerGroupHeartbeat.request_header_version(version);
    RequestHeader::decode(&mut body, header_version).expect("a header");
    let read = ConsumerGroupHeartbeatRequest::decode(&mut body, version).expect("it reads what we write");
    assert!(body.is_empty(), "{} bytes follow", body.len());
    read
}

/// An answer of the right shape with content of the fuzzer's choice.
fn answer(input: &mut Input<'_>) -> Bytes {
    let code = *input.pick(&CODES);
    let code = if code == -1 { input.i16() } else { code };
    let shape = input.byte();
    let epoch = if shape < 250 { i32::from(shape >> 4) + 1 } else { input.i32() };
    let interval_ms = if shape & 1 == 0 { 5_000 } else { input.i32() };
    let mut response = ConsumerGroupHeartbeatResponse::default()
        .with_error_code(code)
        .with_member_epoch(epoch)
        .with_heartbeat_interval_ms(interval_ms);
    if shape & 2 == 2 {
        response = response.with_member_id(Some(StrBytes::from_string(input.text())));
    }
    if code != 0 {
        response = response.with_error_message(Some(StrBytes::from_string(input.text())));
    }
    if shape & 12 != 12 {
        response = response.with_assignment(Some(assignment(input)));
    }
    let mut frame = Vec::new();
    let header_version = ConsumerGroupHeartbeatResponse::header_version(1);
    ResponseHeader::default().encode(&mut frame, header_version).expect("a header can be written");
    response.encode(&mut frame, 1).expect("every field is in every version");
    frame.into()
}

/// Some partitions, perhaps twice, perhaps below 0, perhaps of topics that have no name.
fn assignment(input: &mut Input<'_>) -> Assignment {
    let count = input.below(6);
    let topics = (0..count).map(|_| {
        let choice = input.byte();
        let topic = topic_id(usize::from(choice & 3));
        let partition = if choice > 250 { input.i32() } else { i32::from(choice >> 2 & 3) };
        TopicPartitions::default().with_topic_id(Uuid::from_bytes(topic)).with_partitions(vec![partition])
    });
    Assignment::default().with_topic_partitions(topics.collect())
}

fn topic_id(at: usize) -> [u8; 16] {
    [at as u8 + 1; 16]
}
