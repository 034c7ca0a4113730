//! The consumer protocol as members see it.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, JoinGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;

use crate::config::Config;
use crate::core::cluster::ConnectionId;
use crate::core::group::GroupState;
use crate::core::metadata::topic_name;
use crate::core::testing::{Bench, Seen};

const HEARTBEAT: i16 = 1;
const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 4;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn group() -> GroupId {
    GroupId(text("g"))
}

/// A member that does what it is told, when the test lets it.
struct TestMember {
    connection: ConnectionId,
    id: &'static str,
    instance: Option<&'static str>,
    epoch: i32,
    owned: BTreeSet<i32>,
    target: BTreeSet<i32>,
}

impl TestMember {
    fn new(bench: &mut Bench, id: &'static str) -> Self {
        let connection = bench.connect(1);
        Self { connection, id, instance: None, epoch: 0, owned: BTreeSet::new(), target: BTreeSet::new() }
    }

    /// A member that has joined a group of topic "t".
    fn joined(bench: &mut Bench, id: &'static str) -> Self {
        let mut member = Self::new(bench, id);
        assert_eq!(member.join(bench), 0);
        member
    }

    fn join(&mut self, bench: &mut Bench) -> i16 {
        self.epoch = 0;
        self.owned.clear();
        let whole = self.whole(bench);
        self.send(bench, whole)
    }

    fn body(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text(self.id))
            .with_instance_id(self.instance.map(text))
            .with_member_epoch(self.epoch)
    }

    /// What says everything.
    fn whole(&self, bench: &Bench) -> ConsumerGroupHeartbeatRequest {
        self.body()
            .with_rebalance_timeout_ms(REBALANCE.as_millis() as i32)
            .with_subscribed_topic_names(Some(vec![topic_name("t")]))
            .with_topic_partitions(Some(self.owned_topics(bench)))
    }

    fn owned_topics(&self, bench: &Bench) -> Vec<TopicPartitions> {
        let id = bench.cluster.topics.named("t").expect("the topic").id;
        let partitions: Vec<i32> = self.owned.iter().copied().collect();
        let topic = TopicPartitions::default().with_topic_id(id).with_partitions(partitions);
        if self.owned.is_empty() { Vec::new() } else { vec![topic] }
    }

    /// A heartbeat that says nothing.
    fn beat(&mut self, bench: &mut Bench) -> i16 {
        let body = self.body();
        self.send(bench, body)
    }

    /// Gives up and takes over what it was told to, and says so.
    fn obey(&mut self, bench: &mut Bench) -> i16 {
        self.owned.clone_from(&self.target);
        let body = self.body().with_topic_partitions(Some(self.owned_topics(bench)));
        self.send(bench, body)
    }

    fn leave(&mut self, bench: &mut Bench, epoch: i32) -> i16 {
        let body = self.body().with_member_epoch(epoch);
        ask(bench, self.connection, body).error_code
    }

    fn send(&mut self, bench: &mut Bench, body: ConsumerGroupHeartbeatRequest) -> i16 {
        let response = ask(bench, self.connection, body);
        if response.error_code == 0 {
            self.epoch = response.member_epoch;
            if let Some(assignment) = response.assignment {
                let topics = assignment.topic_partitions.into_iter();
                self.target = topics.flat_map(|topic| topic.partitions).collect();
            }
        }
        response.error_code
    }

    fn commit(&self, bench: &mut Bench, version: i16, epoch: i32, offset: i64) -> i16 {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
        let topic =
            OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(group())
            .with_member_id(text(self.id))
            .with_generation_id_or_member_epoch(epoch)
            .with_topics(vec![topic]);
        match bench.ask(self.connection, version, request) {
            ResponseKind::OffsetCommit(response) => response.topics[0].partitions[0].error_code,
            other => panic!("expected an OffsetCommit response, got {other:?}"),
        }
    }

    fn fetch_offsets(&self, bench: &mut Bench, epoch: i32) -> i16 {
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group())
            .with_member_id(Some(text(self.id)))
            .with_member_epoch(epoch)
            .with_topics(None);
        match bench.ask(self.connection, 9, OffsetFetchRequest::default().with_groups(vec![asked])) {
            ResponseKind::OffsetFetch(response) => response.groups[0].error_code,
            other => panic!("expected an OffsetFetch response, got {other:?}"),
        }
    }
}

fn ask(
    bench: &mut Bench,
    on: ConnectionId,
    body: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    match bench.ask(on, HEARTBEAT, body) {
        ResponseKind::ConsumerGroupHeartbeat(response) => response,
        other => panic!("expected a ConsumerGroupHeartbeat response, got {other:?}"),
    }
}

fn bench() -> Bench {
    Bench::with_topic(Config::default(), PARTITIONS)
}

fn set(partitions: &[i32]) -> BTreeSet<i32> {
    partitions.iter().copied().collect()
}

fn state(bench: &Bench) -> Option<GroupState> {
    bench.cluster.group("g").map(|group| group.state)
}

/// Two members with half of the partitions each.
fn pair(bench: &mut Bench) -> (TestMember, TestMember) {
    let mut first = TestMember::joined(bench, "first");
    assert_eq!(first.obey(bench), 0);
    let mut second = TestMember::joined(bench, "second");
    assert_eq!(first.beat(bench), 0);
    assert_eq!(first.obey(bench), 0);
    assert_eq!(second.beat(bench), 0);
    assert_eq!(second.obey(bench), 0);
    assert_eq!(state(bench), Some(GroupState::Stable));
    assert_eq!((first.owned.len(), second.owned.len()), (2, 2));
    (first, second)
}

#[test]
fn a_lone_member_is_told_everything_at_once() {
    let mut bench = bench();
    let member = TestMember::joined(&mut bench, "only");
    assert_eq!((member.epoch, member.target), (1, set(&[0, 1, 2, 3])));
    assert_eq!(state(&bench), Some(GroupState::Stable));
}

#[test]
fn a_member_without_an_id_gets_one_in_version_0_and_is_refused_later() {
    let mut bench = bench();
    let nameless = TestMember::new(&mut bench, "");
    let body = nameless.whole(&bench);
    assert_eq!(ask(&mut bench, nameless.connection, body.clone()).error_code, 42, "INVALID_REQUEST");
    match bench.ask(nameless.connection, 0, body) {
        ResponseKind::ConsumerGroupHeartbeat(response) => {
            assert_eq!(response.error_code, 0);
            assert!(response.member_id.is_some_and(|id| !id.is_empty()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_partition_is_given_to_nobody_before_its_owner_has_given_it_up() {
    let mut bench = bench();
    let mut first = TestMember::joined(&mut bench, "first");
    first.obey(&mut bench);
    let mut second = TestMember::joined(&mut bench, "second");
    assert_eq!(second.target, set(&[]), "everything has an owner");
    assert_eq!(state(&bench), Some(GroupState::PreparingRebalance));
    first.beat(&mut bench);
    assert_eq!((first.epoch, first.target.len()), (1, 2), "it is to give two up before it goes on");
    second.beat(&mut bench);
    assert_eq!(second.target, set(&[]), "told to give up is not given up");
    first.obey(&mut bench);
    assert_eq!(first.epoch, 2);
    second.beat(&mut bench);
    let both: BTreeSet<i32> = first.target.union(&second.target).copied().collect();
    assert_eq!((second.epoch, second.target.len(), both), (2, 2, set(&[0, 1, 2, 3])));
    assert_eq!(state(&bench), Some(GroupState::Stable));
}

#[test]
fn what_a_member_leaves_goes_to_the_others_and_what_they_have_stays() {
    let mut bench = bench();
    let (mut first, mut second) = pair(&mut bench);
    assert_eq!(second.leave(&mut bench, super::LEAVE_EPOCH), 0);
    let kept = first.owned.clone();
    first.beat(&mut bench);
    assert!(first.target.is_superset(&kept));
    assert_eq!(first.target, set(&[0, 1, 2, 3]));
    assert_eq!(second.beat(&mut bench), ResponseError::UnknownMemberId.code());
}

#[test]
fn a_silent_member_is_put_out_at_the_end_of_its_session() {
    let mut bench = bench();
    let (mut first, mut second) = pair(&mut bench);
    bench.now += SESSION - Duration::from_millis(1);
    assert_eq!(first.beat(&mut bench), 0);
    bench.now += Duration::from_millis(1);
    bench.cluster.poll(bench.now);
    assert_eq!(second.beat(&mut bench), ResponseError::UnknownMemberId.code());
    assert_eq!(second.commit(&mut bench, 9, second.epoch, 3), ResponseError::UnknownMemberId.code());
    first.beat(&mut bench);
    assert_eq!(first.target, set(&[0, 1, 2, 3]));
}

#[test]
fn a_member_that_does_not_give_up_in_time_is_put_out() {
    let mut bench = bench();
    let mut first = TestMember::joined(&mut bench, "first");
    first.obey(&mut bench);
    let mut second = TestMember::joined(&mut bench, "second");
    first.beat(&mut bench);
    for _ in 0..4 {
        bench.now += REBALANCE / 4 - Duration::from_millis(1);
        assert_eq!(first.beat(&mut bench), 0, "heartbeats alone keep it in");
        second.beat(&mut bench);
    }
    bench.now += Duration::from_millis(4);
    bench.cluster.poll(bench.now);
    assert_eq!(first.obey(&mut bench), ResponseError::UnknownMemberId.code());
    second.beat(&mut bench);
    assert_eq!(second.target, set(&[0, 1, 2, 3]));
}

#[test]
fn the_epoch_before_is_taken_only_with_partitions_that_are_the_members_own() {
    let mut bench = bench();
    let (mut first, mut second) = pair(&mut bench);
    second.leave(&mut bench, super::LEAVE_EPOCH);
    // The answer with the newer epoch gets lost.
    let (epoch, owned) = (first.epoch, first.owned.clone());
    first.beat(&mut bench);
    assert_eq!(first.epoch, epoch + 1);
    first.epoch = epoch;
    assert_eq!(
        first.beat(&mut bench),
        ResponseError::FencedMemberEpoch.code(),
        "it does not say what it owns"
    );
    first.owned = owned;
    let whole = first.whole(&bench);
    assert_eq!(first.send(&mut bench, whole), 0);
    assert_eq!((first.epoch, first.target.len()), (epoch + 1, 4), "everything is told again");
    first.epoch += 1;
    assert_eq!(first.beat(&mut bench), ResponseError::FencedMemberEpoch.code(), "an epoch that never was");
}

#[test]
fn offsets_are_committed_and_asked_for_under_the_newest_epoch_only() {
    let mut bench = bench();
    let member = TestMember::joined(&mut bench, "only");
    assert_eq!(member.commit(&mut bench, 9, 1, 5), 0);
    assert_eq!(member.commit(&mut bench, 9, 0, 6), ResponseError::StaleMemberEpoch.code());
    assert_eq!(member.commit(&mut bench, 8, 1, 6), ResponseError::UnsupportedVersion.code());
    assert_eq!(member.fetch_offsets(&mut bench, 1), 0);
    assert_eq!(member.fetch_offsets(&mut bench, 0), ResponseError::StaleMemberEpoch.code());
    assert_eq!(member.fetch_offsets(&mut bench, -1), 0, "from somebody who is no member");
    let stranger = TestMember::new(&mut bench, "stranger");
    assert_eq!(stranger.commit(&mut bench, 9, 1, 6), ResponseError::UnknownMemberId.code());
    assert_eq!(stranger.fetch_offsets(&mut bench, 1), ResponseError::UnknownMemberId.code());
    assert_eq!(bench.cluster.committed_offset("g", "t", 0).map(|committed| committed.offset), Some(5));
}

#[test]
fn a_static_member_that_will_be_back_keeps_its_place_until_it_is() {
    let mut bench = bench();
    let mut stays = TestMember::joined(&mut bench, "stays");
    stays.obey(&mut bench);
    let mut goes = TestMember { instance: Some("one"), ..TestMember::new(&mut bench, "goes") };
    goes.join(&mut bench);
    stays.beat(&mut bench);
    stays.obey(&mut bench);
    goes.beat(&mut bench);
    goes.obey(&mut bench);

    let mut twin = TestMember { instance: Some("one"), ..TestMember::new(&mut bench, "twin") };
    assert_eq!(twin.join(&mut bench), ResponseError::UnreleasedInstanceId.code());
    assert_eq!(goes.leave(&mut bench, super::RETURN_EPOCH), 0);
    stays.beat(&mut bench);
    assert_eq!(stays.target, stays.owned, "nobody gets what is its own");
    let mut back = TestMember { instance: Some("one"), ..TestMember::new(&mut bench, "back") };
    assert_eq!(back.join(&mut bench), 0);
    assert_eq!(back.target, goes.owned);
    assert_eq!(goes.beat(&mut bench), ResponseError::FencedInstanceId.code());
}

#[test]
fn a_static_member_that_does_not_come_back_is_put_out_at_the_end_of_its_session() {
    let mut bench = bench();
    let mut goes = TestMember { instance: Some("one"), ..TestMember::new(&mut bench, "goes") };
    goes.join(&mut bench);
    goes.leave(&mut bench, super::RETURN_EPOCH);
    bench.now += SESSION;
    bench.cluster.poll(bench.now);
    assert_eq!(state(&bench), Some(GroupState::Empty));
    let mut heir = TestMember::joined(&mut bench, "heir");
    heir.obey(&mut bench);
    assert_eq!(heir.owned, set(&[0, 1, 2, 3]));
}

#[test]
fn range_gives_runs_and_unknown_assignors_are_refused() {
    let mut bench = bench();
    let mut first = TestMember::new(&mut bench, "first");
    let wanting =
        |member: &TestMember, bench: &Bench, name| member.whole(bench).with_server_assignor(Some(text(name)));
    let body = wanting(&first, &bench, "sticky");
    assert_eq!(first.send(&mut bench, body), ResponseError::UnsupportedAssignor.code());
    let body = wanting(&first, &bench, "range");
    assert_eq!(first.send(&mut bench, body), 0);
    first.obey(&mut bench);
    let mut second = TestMember::new(&mut bench, "second");
    let body = wanting(&second, &bench, "range");
    assert_eq!(second.send(&mut bench, body), 0);
    first.beat(&mut bench);
    first.obey(&mut bench);
    second.beat(&mut bench);
    assert_eq!((first.target, second.target), (set(&[0, 1]), set(&[2, 3])));
}

#[test]
fn new_partitions_are_assigned_with_the_next_heartbeat() {
    let mut bench = bench();
    let mut member = TestMember::joined(&mut bench, "only");
    bench.cluster.add_partitions("t", PARTITIONS + 1).expect("one more");
    member.beat(&mut bench);
    assert_eq!((member.epoch, member.target), (2, set(&[0, 1, 2, 3, 4])));
}

#[test]
fn members_of_the_other_protocol_are_refused() {
    let mut bench = bench();
    let member = TestMember::joined(&mut bench, "new");
    let join = JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![Default::default()]);
    match bench.call(member.connection, 9, join) {
        Seen::Answer(answer) => match *answer {
            ResponseKind::JoinGroup(response) => {
                assert_eq!(response.error_code, ResponseError::InconsistentGroupProtocol.code());
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
