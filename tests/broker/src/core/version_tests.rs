//! Every API in every version that is offered: requests are taken and answers can be read.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;

use super::metadata::topic_name;
use super::testing::{Bench, Seen, batch_of, decode, encode, fetch_of};
use crate::config::Config;
use crate::versions::Versions;

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

fn group() -> GroupId {
    GroupId(text("g"))
}

/// A request that has something in each array, in the fields of the given version.
fn request(api_key: ApiKey, version: i16, topic: &'static str) -> RequestKind {
    let name = || topic_name(topic);
    let transactional_id = || TransactionalId(text("tx"));
    match api_key {
        ApiKey::ApiVersions => ApiVersionsRequest::default().into(),
        ApiKey::Metadata => MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name()))]))
            .with_allow_auto_topic_creation(true)
            .into(),
        ApiKey::Fetch => {
            let by_id = version >= 13;
            let mut request = fetch_of(&[(0, 0)]);
            request.topics[0].topic = if by_id { TopicName::default() } else { name() };
            request.into()
        }
        ApiKey::Produce => {
            let data = PartitionProduceData::default().with_records(Some(batch_of(&[b"a"])));
            let name = if version >= 13 { TopicName::default() } else { name() };
            let topic = TopicProduceData::default().with_name(name).with_partition_data(vec![data]);
            ProduceRequest::default().with_acks(-1).with_topic_data(vec![topic]).into()
        }
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
            ListOffsetsRequest::default().with_topics(vec![topic]).into()
        }
        ApiKey::OffsetForLeaderEpoch => {
            let topic = OffsetForLeaderTopic::default()
                .with_topic(name())
                .with_partitions(vec![OffsetForLeaderPartition::default()]);
            OffsetForLeaderEpochRequest::default().with_topics(vec![topic]).into()
        }
        ApiKey::FindCoordinator if version >= 4 => {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]).into()
        }
        ApiKey::FindCoordinator => FindCoordinatorRequest::default().with_key(text("g")).into(),
        ApiKey::JoinGroup => JoinGroupRequest::default()
            .with_group_id(group())
            .with_session_timeout_ms(10_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![JoinGroupRequestProtocol::default().with_name(text("range"))])
            .into(),
        ApiKey::SyncGroup => SyncGroupRequest::default().with_group_id(group()).into(),
        ApiKey::Heartbeat => HeartbeatRequest::default().with_group_id(group()).into(),
        ApiKey::ConsumerGroupHeartbeat => ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group())
            .with_member_id(text("m"))
            .with_rebalance_timeout_ms(1_000)
            .with_subscribed_topic_names(Some(vec![name()]))
            .with_topic_partitions(Some(Vec::new()))
            .into(),
        ApiKey::LeaveGroup if version >= 3 => LeaveGroupRequest::default()
            .with_group_id(group())
            .with_members(vec![MemberIdentity::default().with_member_id(text("m"))])
            .into(),
        ApiKey::LeaveGroup => LeaveGroupRequest::default().with_group_id(group()).into(),
        ApiKey::OffsetCommit => {
            let partition = OffsetCommitRequestPartition::default().with_committed_offset(1);
            let topic =
                OffsetCommitRequestTopic::default().with_name(name()).with_partitions(vec![partition]);
            OffsetCommitRequest::default()
                .with_group_id(group())
                .with_generation_id_or_member_epoch(-1)
                .with_topics(vec![topic])
                .into()
        }
        ApiKey::OffsetFetch if version >= 8 => {
            let topic = OffsetFetchRequestTopics::default().with_name(name()).with_partition_indexes(vec![0]);
            let group =
                OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
            OffsetFetchRequest::default().with_groups(vec![group]).into()
        }
        ApiKey::OffsetFetch => {
            let topic = OffsetFetchRequestTopic::default().with_name(name()).with_partition_indexes(vec![0]);
            OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic])).into()
        }
        ApiKey::ListGroups => ListGroupsRequest::default().into(),
        ApiKey::DescribeGroups => DescribeGroupsRequest::default().with_groups(vec![group()]).into(),
        ApiKey::DeleteGroups => DeleteGroupsRequest::default().with_groups_names(vec![group()]).into(),
        ApiKey::CreateTopics => {
            let topic =
                CreatableTopic::default().with_name(name()).with_num_partitions(1).with_replication_factor(1);
            CreateTopicsRequest::default().with_topics(vec![topic]).into()
        }
        ApiKey::CreatePartitions => {
            let topic =
                CreatePartitionsTopic::default().with_name(name()).with_count(3).with_assignments(None);
            CreatePartitionsRequest::default().with_topics(vec![topic]).into()
        }
        ApiKey::DeleteTopics if version >= 6 => {
            let topic = DeleteTopicState::default().with_name(Some(name()));
            DeleteTopicsRequest::default().with_topics(vec![topic]).into()
        }
        ApiKey::DeleteTopics => DeleteTopicsRequest::default().with_topic_names(vec![name()]).into(),
        ApiKey::DeleteRecords => {
            let topic = DeleteRecordsTopic::default()
                .with_name(name())
                .with_partitions(vec![DeleteRecordsPartition::default()]);
            DeleteRecordsRequest::default().with_topics(vec![topic]).into()
        }
        ApiKey::InitProducerId => InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional_id()))
            .with_transaction_timeout_ms(1_000)
            .into(),
        ApiKey::AddPartitionsToTxn => {
            let topic = AddPartitionsToTxnTopic::default().with_name(name()).with_partitions(vec![0]);
            AddPartitionsToTxnRequest::default()
                .with_v3_and_below_transactional_id(transactional_id())
                .with_v3_and_below_topics(vec![topic])
                .into()
        }
        ApiKey::AddOffsetsToTxn => AddOffsetsToTxnRequest::default()
            .with_transactional_id(transactional_id())
            .with_group_id(group())
            .into(),
        ApiKey::EndTxn => EndTxnRequest::default().with_transactional_id(transactional_id()).into(),
        ApiKey::TxnOffsetCommit => {
            let topic = TxnOffsetCommitRequestTopic::default()
                .with_name(name())
                .with_partitions(vec![TxnOffsetCommitRequestPartition::default()]);
            TxnOffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic]).into()
        }
        ApiKey::DescribeConfigs => {
            let resource =
                DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(topic));
            DescribeConfigsRequest::default().with_resources(vec![resource]).into()
        }
        ApiKey::DescribeCluster => DescribeClusterRequest::default().into(),
        other => panic!("no request for {other:?}: an API was added to the table and not to this test"),
    }
}

fn answers(bench: &mut Bench, api_key: ApiKey, version: i16, topic: &'static str) {
    let connection = bench.connect(1);
    let bytes = encode(api_key, version, &request(api_key, version, topic));
    bench.cluster.handle_request(connection, bytes, bench.now);
    let seen = bench.look(connection, api_key, version);
    let last_refusal = &bench.cluster.counters().last_refusal;
    assert!(
        matches!(seen, Seen::Answer(_)),
        "{api_key:?} version {version} of {topic:?} was not answered: {seen:?}, {last_refusal:?}"
    );
    bench.cluster.disconnect(connection);
}

#[test]
fn every_offered_version_of_every_api_is_answered() {
    for (key, range) in Versions::newest().advertised() {
        let api_key = ApiKey::try_from(key).expect("a listed key");
        let min = if api_key == ApiKey::Produce { 3 } else { range.min };
        for version in min..=range.max {
            for topic in ["t", "unknown"] {
                let config = Config { auto_create_topics: false, ..Config::default() };
                answers(&mut Bench::with_topic(config, 2), api_key, version, topic);
            }
        }
    }
}

#[test]
fn every_offered_version_of_every_api_can_tell_an_injected_error() {
    for (key, range) in Versions::newest().advertised() {
        let api_key = ApiKey::try_from(key).expect("a listed key");
        let min = if api_key == ApiKey::Produce { 3 } else { range.min };
        for version in min..=range.max {
            let mut bench = Bench::with_topic(Config::default(), 2);
            let fault = super::faults::Fault::error(api_key, ResponseError::NetworkException);
            bench.cluster.inject(fault, bench.now);
            let connection = bench.connect(1);
            let bytes = encode(api_key, version, &request(api_key, version, "t"));
            bench.cluster.handle_request(connection, bytes, bench.now);
            let Seen::Answer(answer) = bench.look(connection, api_key, version) else {
                panic!("{api_key:?} version {version}: {:?}", bench.cluster.counters().last_refusal)
            };
            assert!(
                format!("{answer:?}").contains("error_code: 13"),
                "{api_key:?} version {version} does not tell the error: {answer:?}"
            );
        }
    }
}

#[test]
fn an_unknown_api_versions_version_is_answered_in_version_0_with_the_range() {
    let mut bench = Bench::new(Config::default());
    let connection = bench.connect(1);
    let bytes = encode(ApiKey::ApiVersions, 3, &ApiVersionsRequest::default().into());
    let mut bytes = bytes.to_vec();
    bytes[2..4].copy_from_slice(&99i16.to_be_bytes());
    bench.cluster.handle_request(connection, Bytes::from(bytes), bench.now);
    let Seen::Answer(answer) = bench.look(connection, ApiKey::ApiVersions, 0) else { panic!("no answer") };
    let ResponseKind::ApiVersions(response) = *answer else { panic!("no ApiVersions response") };
    assert_eq!(response.error_code, ResponseError::UnsupportedVersion.code());
    assert_eq!(response.api_keys.iter().map(|key| key.api_key).collect::<Vec<_>>(), [18]);
}

#[test]
fn a_version_that_is_not_offered_closes_the_connection() {
    let config = Config { versions: Versions::kafka_2_8(), ..Config::default() };
    let mut bench = Bench::with_topic(config, 1);
    let connection = bench.connect(1);
    assert!(matches!(bench.call(connection, 12, fetch_of(&[(0, 0)])), Seen::Answer(_)));
    assert!(matches!(bench.call(connection, 13, request(ApiKey::Fetch, 13, "t")), Seen::Closed));
    assert_eq!(bench.cluster.counters().refused_requests, 1);
}

#[test]
fn bytes_that_are_no_request_close_the_connection_and_nothing_else() {
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\n", &[0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff], &[0xff; 64]] {
        let mut bench = Bench::new(Config::default());
        let connection = bench.connect(1);
        bench.cluster.handle_request(connection, Bytes::copy_from_slice(bytes), bench.now);
        assert!(matches!(bench.look(connection, ApiKey::Metadata, 0), Seen::Closed), "{bytes:?}");
    }
}

#[test]
fn every_request_cut_short_closes_the_connection_or_is_answered() {
    let mut bench = Bench::with_topic(Config::default(), 1);
    for (key, range) in Versions::newest().advertised() {
        let api_key = ApiKey::try_from(key).expect("a listed key");
        let whole = encode(api_key, range.max, &request(api_key, range.max, "t"));
        for length in 0..whole.len() {
            let connection = bench.connect(1);
            bench.cluster.handle_request(connection, whole.slice(..length), bench.now);
            for output in bench.cluster.poll(bench.now) {
                if let super::cluster::Output::Respond { response, .. } = output {
                    decode(api_key, range.max, response.into_bytes());
                }
            }
            bench.cluster.disconnect(connection);
        }
    }
}
