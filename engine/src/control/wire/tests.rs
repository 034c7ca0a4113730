//! Every question in every version that may be sent, with kafka-protocol as second opinion: it reads what was asked,
//! and what it answers is read as it was meant.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    FindCoordinatorResponse, GroupId, ListOffsetsResponse, MetadataResponse, OffsetCommitResponse,
    OffsetFetchResponse, OffsetForLeaderEpochResponse, RequestHeader, ResponseHeader, TopicName,
    find_coordinator_response,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use millstream_protocol::request::Api;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use super::super::topic_partition::by_topic;
use super::*;

const CLIENT: &str = "client";
const CORRELATION_ID: i32 = 7;
const GROUP: &str = "group";

/// What kafka-protocol reads of a question in each version.
fn asked<R: Api>(ask: &Ask) -> Vec<(i16, R)> {
    assert_eq!(ask.api(), R::API);
    let read = |version| {
        let mut frame = Vec::new();
        ask.encode(version, CORRELATION_ID, CLIENT, &mut frame)
            .unwrap_or_else(|error| panic!("{ask:?} v{version}: {error}"));
        let mut body = Bytes::from(frame);
        let size = body.split_to(4);
        assert_eq!(*size, i32::try_from(body.len()).unwrap().to_be_bytes());
        let header = RequestHeader::decode(&mut body, R::header_version(version)).unwrap();
        assert_eq!((header.request_api_key, header.request_api_version), (R::KEY, version));
        assert_eq!((header.correlation_id, header.client_id), (CORRELATION_ID, Some(text(CLIENT))));
        let request = R::decode(&mut body, version).unwrap();
        assert!(body.is_empty(), "v{version}: {} bytes are left", body.len());
        (version, request)
    };
    (R::SUPPORTED.min..=R::SUPPORTED.max).map(read).collect()
}

/// What is read of kafka-protocol's answer in each version.
fn answered<R: Api>(ask: &Ask, response: impl Fn(i16) -> R::Response) -> Vec<(i16, Answer)> {
    let read = |version| {
        let mut frame = Vec::new();
        let header = ResponseHeader::default().with_correlation_id(CORRELATION_ID);
        header.encode(&mut frame, R::Response::header_version(version)).unwrap();
        response(version).encode(&mut frame, version).unwrap_or_else(|error| panic!("v{version}: {error}"));
        (version, ask.read(version, &frame.into()).unwrap_or_else(|error| panic!("v{version}: {error}")))
    };
    (R::SUPPORTED.min..=R::SUPPORTED.max).map(read).collect()
}

/// What there is of a field, -1 before the first version that has it.
fn since(version: i16, first: i16, value: i32) -> i32 {
    if version >= first { value } else { -1 }
}

fn topic() -> impl Strategy<Value = Arc<str>> {
    "[a-cé]{1,3}".prop_map(Arc::from)
}

/// Some partitions, with something of each.
fn places<T: Strategy>(of: T) -> impl Strategy<Value = BTreeMap<TopicPartition, T::Value>> {
    btree_map((topic(), 0..9).prop_map(|(topic, partition)| TopicPartition::new(topic, partition)), of, 0..7)
}

/// The partitions of a topic out of what `places` has found.
fn grouped<T>(places: &BTreeMap<TopicPartition, T>) -> BTreeMap<&Arc<str>, Vec<(i32, &T)>> {
    by_topic(places)
}

fn member() -> impl Strategy<Value = CommitMember> {
    let member = ("[a-z]{1,8}", 0..1_000, option::of("[a-z]{1,8}"));
    member.prop_map(|(id, generation, instance)| CommitMember { generation, id, instance })
}

/// The leaders of some partitions with their epochs; -1 is none.
fn leaders() -> impl Strategy<Value = BTreeMap<i32, (i32, i32)>> {
    btree_map(0..9_i32, (-1..5_i32, 0..9_i32), 0..4)
}

/// An error now and then.
fn code() -> impl Strategy<Value = i16> {
    prop_oneof![3 => Just(0_i16), 1 => -1..120_i16]
}

proptest! {
    #[test]
    fn topics_are_asked_for_by_their_names_and_where_that_can_be_by_their_ids(
        topics in option::of(vec(topic(), 0..4)), ids in vec(any::<[u8; 16]>(), 0..3), create in any::<bool>(),
    ) {
        let ask = Ask::Metadata { topics: topics.clone(), ids: ids.clone(), create };
        for (version, request) in asked::<MetadataRequest>(&ask) {
            let found = request.topics.map(|list| {
                list.into_iter().map(|at| (at.name.map(|name| name.0), at.topic_id.into_bytes())).collect::<Vec<_>>()
            });
            let wanted = topics.as_ref().map(|names| {
                let by_name = names.iter().map(|name| (Some(text(name)), [0; 16]));
                let by_id = ids.iter().filter(|_| version >= 12).map(|id| (None, *id));
                by_name.chain(by_id).collect::<Vec<_>>()
            });
            prop_assert_eq!(found, wanted, "v{}", version);
            prop_assert_eq!(request.allow_auto_topic_creation, create && topics.is_some());
        }
    }

    #[test]
    fn a_cluster_is_read_as_it_was_told(
        brokers in btree_map(0..99_i32, ("[a-z]{1,9}", 1..=u16::MAX, option::of("[a-z]{1,3}")), 0..5),
        topics in btree_map(topic(), (any::<[u8; 16]>(), any::<bool>(), leaders()), 0..4),
    ) {
        let ask = Ask::Metadata { topics: None, ids: Vec::new(), create: false };
        let told = |version: i16| {
            let brokers = brokers.iter().map(|(id, (host, port, rack))| {
                MetadataResponseBroker::default()
                    .with_node_id((*id).into())
                    .with_host(text(host))
                    .with_port(i32::from(*port))
                    .with_rack(rack.as_deref().map(text))
            });
            let topics = topics.iter().map(|(name, (id, is_internal, partitions))| {
                let partitions = partitions.iter().map(|(partition, (leader, epoch))| {
                    MetadataResponsePartition::default()
                        .with_partition_index(*partition)
                        .with_leader_id((*leader).into())
                        .with_leader_epoch(since(version, 7, *epoch))
                        .with_replica_nodes(vec![1.into(), 2.into()])
                });
                let id = if version >= 10 { *id } else { [0; 16] };
                MetadataResponseTopic::default()
                    .with_name(Some(TopicName(text(name))))
                    .with_topic_id(Uuid::from_bytes(id))
                    .with_is_internal(*is_internal)
                    .with_partitions(partitions.collect())
            });
            MetadataResponse::default().with_brokers(brokers.collect()).with_topics(topics.collect())
        };
        for (version, answer) in answered::<MetadataRequest>(&ask, told) {
            let Answer::Metadata(answer) = answer else { panic!("another answer") };
            prop_assert!(answer.error.is_ok());
            let found = answer.brokers.iter().map(|at| (at.id, at.host.to_string(), at.port));
            prop_assert!(found.eq(brokers.iter().map(|(id, (host, port, _))| (*id, host.clone(), *port))));
            let racks = answer.racks.iter().map(|(id, rack)| (*id, rack.to_string()));
            prop_assert!(racks.eq(brokers.iter().filter_map(|(id, (_, _, rack))| Some((*id, rack.clone()?)))));
            prop_assert_eq!(answer.topics.len(), topics.len());
            for (found, (name, (id, is_internal, partitions))) in answer.topics.iter().zip(&topics) {
                let id = if version >= 10 { *id } else { [0; 16] };
                prop_assert_eq!((&found.name, found.id, found.is_internal), (name, id, *is_internal));
                let led = found.partitions.iter().map(|at| (at.partition, at.leader));
                let leader = |broker: i32, epoch: i32| {
                    (broker >= 0).then(|| crate::link::Leader { broker, epoch: since(version, 7, epoch) })
                };
                prop_assert!(led.eq(partitions.iter().map(|(at, (broker, epoch))| (*at, leader(*broker, *epoch)))));
                prop_assert_eq!(&found.replicas, &vec![vec![1, 2]; partitions.len()]);
            }
        }
    }

    #[test]
    fn a_coordinator_is_asked_for_and_found_alone_or_among_others(
        id in 0..99_i32, host in "[a-z]{1,9}", port in 1..=u16::MAX, code in code(),
    ) {
        let ask = Ask::FindCoordinator { group: GROUP.into() };
        for (version, request) in asked::<FindCoordinatorRequest>(&ask) {
            let keys = if version >= 4 { request.coordinator_keys } else { vec![request.key] };
            prop_assert_eq!((keys, request.key_type), (vec![text(GROUP)], 0), "v{}", version);
        }
        let told = |version: i16| {
            let answer = FindCoordinatorResponse::default();
            if version < 4 {
                return answer
                    .with_error_code(code)
                    .with_node_id(id.into())
                    .with_host(text(&host))
                    .with_port(port.into());
            }
            let found = find_coordinator_response::Coordinator::default()
                .with_key(text(GROUP))
                .with_error_code(code)
                .with_node_id(id.into())
                .with_host(text(&host))
                .with_port(port.into());
            answer.with_coordinators(vec![found.clone().with_key(text("another")).with_port(1), found])
        };
        for (version, answer) in answered::<FindCoordinatorRequest>(&ask, told) {
            let Answer::Coordinator(found) = answer else { panic!("another answer") };
            let found = found.map(|at| (at.id, at.host.to_string(), at.port));
            let meant = ErrorCode(code).ok().map(|()| (id, host.clone(), port));
            prop_assert_eq!(found, meant, "v{}", version);
        }
    }

    #[test]
    fn offsets_are_asked_for_by_time_and_read(
        partitions in places((-2..i64::MAX, -1..9_i32, code())), read_committed in any::<bool>(),
    ) {
        let asks = partitions.iter().map(|(at, (timestamp, leader_epoch, _))| {
            OffsetAsk { at: at.clone(), leader_epoch: *leader_epoch, timestamp: *timestamp }
        });
        let ask = Ask::ListOffsets { read_committed, partitions: asks.collect(), timeout_ms: 30_000 };
        for (version, request) in asked::<ListOffsetsRequest>(&ask) {
            prop_assert_eq!(request.replica_id.0, -1);
            prop_assert_eq!(request.isolation_level, i8::from(read_committed && version >= 2));
            prop_assert_eq!(request.timeout_ms, if version >= 10 { 30_000 } else { 0 });
            let found = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |at| {
                let place = TopicPartition::new(topic.name.0.as_str(), at.partition_index);
                (place, (at.timestamp, at.current_leader_epoch))
            }));
            let wanted = partitions.iter().map(|(at, (timestamp, epoch, _))| {
                (at.clone(), (*timestamp, since(version, 4, *epoch)))
            });
            prop_assert!(found.eq(wanted), "v{}", version);
        }
        let told = |version: i16| {
            let topics = grouped(&partitions).into_iter().map(|(topic, list)| {
                let list = list.into_iter().map(|(partition, (timestamp, epoch, code))| {
                    ListOffsetsPartitionResponse::default()
                        .with_partition_index(partition)
                        .with_error_code(*code)
                        .with_timestamp(*timestamp)
                        .with_offset(timestamp / 2)
                        .with_leader_epoch(since(version, 4, *epoch))
                });
                ListOffsetsTopicResponse::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(list.collect())
            });
            ListOffsetsResponse::default().with_topics(topics.collect())
        };
        for (version, answer) in answered::<ListOffsetsRequest>(&ask, told) {
            let Answer::Offsets(found) = answer else { panic!("another answer") };
            let found = found.into_iter().map(|at| {
                (at.at, (at.error.0, at.timestamp_ms, at.offset, at.leader_epoch))
            });
            let meant = partitions.iter().map(|(at, (timestamp, epoch, code))| {
                (at.clone(), (*code, *timestamp, timestamp / 2, since(version, 4, *epoch)))
            });
            prop_assert!(found.eq(meant), "v{}", version);
        }
    }

    #[test]
    fn ends_of_leader_epochs_are_asked_for_and_read(
        partitions in places((-1..9_i32, -1..9_i32, any::<i64>(), code())),
    ) {
        let asks = partitions.iter().map(|(at, (current_epoch, epoch, _, _))| {
            EpochEndAsk { at: at.clone(), current_epoch: *current_epoch, epoch: *epoch }
        });
        let ask = Ask::EpochEnds { partitions: asks.collect() };
        for (version, request) in asked::<OffsetForLeaderEpochRequest>(&ask) {
            prop_assert!(version < 3 || request.replica_id.0 == -1);
            let found = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |at| {
                let place = TopicPartition::new(topic.topic.0.as_str(), at.partition);
                (place, (at.current_leader_epoch, at.leader_epoch))
            }));
            let wanted = partitions.iter().map(|(at, (current, epoch, _, _))| (at.clone(), (*current, *epoch)));
            prop_assert!(found.eq(wanted), "v{}", version);
        }
        let told = |_| {
            let topics = grouped(&partitions).into_iter().map(|(topic, list)| {
                let list = list.into_iter().map(|(partition, (_, epoch, end_offset, code))| {
                    EpochEndOffset::default()
                        .with_partition(partition)
                        .with_error_code(*code)
                        .with_leader_epoch(*epoch)
                        .with_end_offset(*end_offset)
                });
                OffsetForLeaderTopicResult::default()
                    .with_topic(TopicName(text(topic)))
                    .with_partitions(list.collect())
            });
            OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
        };
        for (version, answer) in answered::<OffsetForLeaderEpochRequest>(&ask, told) {
            let Answer::EpochEnds(found) = answer else { panic!("another answer") };
            let found = found.into_iter().map(|at| (at.at, (at.error.0, at.epoch, at.end_offset)));
            let meant = partitions.iter().map(|(at, (_, epoch, end, code))| (at.clone(), (*code, *epoch, *end)));
            prop_assert!(found.eq(meant), "v{}", version);
        }
    }

    #[test]
    fn committed_offsets_are_asked_for_and_read(
        partitions in places((any::<i64>(), -1..9_i32, "[a-z]{0,4}", code())),
        require_stable in any::<bool>(), member in option::of(member()), code in code(),
    ) {
        let list = partitions.keys().cloned().collect();
        let ask =
            Ask::OffsetFetch { group: GROUP.into(), require_stable, partitions: list, member: member.clone() };
        for (version, request) in asked::<OffsetFetchRequest>(&ask) {
            prop_assert_eq!(request.require_stable, require_stable && version >= 7);
            let found: BTreeSet<TopicPartition> = match version {
                ..8 => {
                    prop_assert_eq!(request.group_id.0.as_str(), GROUP);
                    let topics = request.topics.iter().flatten();
                    topics.flat_map(|topic| topic.partition_indexes.iter().map(move |partition| {
                        TopicPartition::new(topic.name.0.as_str(), *partition)
                    })).collect()
                }
                8.. => {
                    let [group] = &request.groups[..] else { panic!("one group") };
                    prop_assert_eq!(group.group_id.0.as_str(), GROUP);
                    let named = member.as_ref().filter(|_| version >= 9);
                    prop_assert_eq!(group.member_id.clone(), named.map(|member| text(&member.id)));
                    prop_assert_eq!(group.member_epoch, named.map_or(-1, |member| member.generation));
                    let topics = group.topics.iter().flatten();
                    topics.flat_map(|topic| topic.partition_indexes.iter().map(move |partition| {
                        TopicPartition::new(topic.name.0.as_str(), *partition)
                    })).collect()
                }
            };
            prop_assert!(found.iter().eq(partitions.keys()), "v{}", version);
        }
        let told = |version: i16| match version {
            ..8 => {
                let topics = grouped(&partitions).into_iter().map(|(topic, list)| {
                    let list = list.into_iter().map(|(partition, (offset, epoch, metadata, code))| {
                        OffsetFetchResponsePartition::default()
                            .with_partition_index(partition)
                            .with_committed_offset(*offset)
                            .with_committed_leader_epoch(since(version, 5, *epoch))
                            .with_metadata(Some(text(metadata)))
                            .with_error_code(*code)
                    });
                    OffsetFetchResponseTopic::default()
                        .with_name(TopicName(text(topic)))
                        .with_partitions(list.collect())
                });
                let answer = OffsetFetchResponse::default().with_topics(topics.collect());
                if version >= 2 { answer.with_error_code(code) } else { answer }
            }
            8.. => {
                let topics = grouped(&partitions).into_iter().map(|(topic, list)| {
                    let list = list.into_iter().map(|(partition, (offset, epoch, metadata, code))| {
                        OffsetFetchResponsePartitions::default()
                            .with_partition_index(partition)
                            .with_committed_offset(*offset)
                            .with_committed_leader_epoch(*epoch)
                            .with_metadata(Some(text(metadata)))
                            .with_error_code(*code)
                    });
                    OffsetFetchResponseTopics::default()
                        .with_name(TopicName(text(topic)))
                        .with_partitions(list.collect())
                });
                let group = OffsetFetchResponseGroup::default()
                    .with_group_id(GroupId(text(GROUP)))
                    .with_error_code(code)
                    .with_topics(topics.collect());
                OffsetFetchResponse::default().with_groups(vec![
                    OffsetFetchResponseGroup::default().with_group_id(GroupId(text("another"))),
                    group,
                ])
            }
        };
        for (version, answer) in answered::<OffsetFetchRequest>(&ask, told) {
            let Answer::Committed(answer) = answer else { panic!("another answer") };
            prop_assert_eq!(answer.error.0, if version >= 2 { code } else { 0 });
            let found = answer.partitions.into_iter().map(|at| {
                (at.at, (at.offset, at.leader_epoch, at.metadata, at.error.0))
            });
            let meant = partitions.iter().map(|(at, (offset, epoch, metadata, code))| {
                (at.clone(), (*offset, since(version, 5, *epoch), metadata.clone(), *code))
            });
            prop_assert!(found.eq(meant), "v{}", version);
        }
    }

    #[test]
    fn offsets_are_committed_in_the_member_s_name_and_the_answer_is_read(
        partitions in places((any::<i64>(), -1..9_i32, "[a-z]{0,4}", code())), member in member(),
    ) {
        let offsets = partitions.iter().map(|(at, (offset, leader_epoch, metadata, _))| CommitOffset {
            at: at.clone(), offset: *offset, leader_epoch: *leader_epoch, metadata: metadata.clone(),
        });
        let commit = CommitAsk { group: GROUP.into(), member: member.clone(), offsets: offsets.collect() };
        let ask = Ask::OffsetCommit(commit);
        for (version, request) in asked::<OffsetCommitRequest>(&ask) {
            prop_assert_eq!(request.group_id.0.as_str(), GROUP);
            prop_assert_eq!(request.member_id.as_str(), &member.id);
            prop_assert_eq!(request.generation_id_or_member_epoch, member.generation);
            let instance = member.instance.as_deref().filter(|_| version >= 7);
            prop_assert_eq!(request.group_instance_id, instance.map(text), "v{}", version);
            let found = request.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |at| {
                let place = TopicPartition::new(topic.name.0.as_str(), at.partition_index);
                (place, (at.committed_offset, at.committed_leader_epoch, at.committed_metadata.clone()))
            }));
            let wanted = partitions.iter().map(|(at, (offset, epoch, metadata, _))| {
                (at.clone(), (*offset, since(version, 6, *epoch), Some(text(metadata))))
            });
            prop_assert!(found.eq(wanted), "v{}", version);
        }
        let told = |_| {
            let topics = grouped(&partitions).into_iter().map(|(topic, list)| {
                let list = list.into_iter().map(|(partition, (_, _, _, code))| {
                    OffsetCommitResponsePartition::default().with_partition_index(partition).with_error_code(*code)
                });
                OffsetCommitResponseTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_partitions(list.collect())
            });
            OffsetCommitResponse::default().with_topics(topics.collect())
        };
        for (version, answer) in answered::<OffsetCommitRequest>(&ask, told) {
            let Answer::CommitDone(found) = answer else { panic!("another answer") };
            let found = found.into_iter().map(|(at, code)| (at, code.0));
            let meant = partitions.iter().map(|(at, (_, _, _, code))| (at.clone(), *code));
            prop_assert!(found.eq(meant), "v{}", version);
        }
    }
}
