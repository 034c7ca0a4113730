//! The fields of every response that we decode with kafka-protocol, for [`Schema::check`].
//!
//! Taken from the message definitions of Apache Kafka 4.1; the tests hold each table against
//! kafka-protocol's own encoder in every version.

use super::schema::{Field, Kind, Schema};

const NEWEST: i16 = i16::MAX;
const BOOL: Kind = Kind::Fixed(1);
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);

const fn always(kind: Kind) -> Field {
    since(0, kind)
}

const fn since(first: i16, kind: Kind) -> Field {
    between(first, NEWEST, kind)
}

const fn between(first: i16, last: i16, kind: Kind) -> Field {
    Field { kind, versions: (first, last), tag: None }
}

const fn tagged(tag: u32, first: i16, kind: Kind) -> Field {
    Field { kind, versions: (first, NEWEST), tag: Some(tag) }
}

pub(super) static API_VERSIONS: Schema = Schema {
    flexible_from: 3,
    fields: &[
        always(INT16),
        always(Kind::Array(&[always(INT16), always(INT16), always(INT16)])),
        since(1, INT32),
        tagged(0, 3, Kind::Array(&[always(Kind::String), always(INT16), always(INT16)])),
        tagged(1, 3, INT64),
        tagged(2, 3, Kind::Array(&[always(Kind::String), always(INT16), always(INT16)])),
        tagged(3, 3, BOOL),
    ],
};

pub(super) static METADATA: Schema = Schema {
    flexible_from: 9,
    fields: &[
        since(3, INT32),
        always(Kind::Array(&[always(INT32), always(Kind::String), always(INT32), since(1, Kind::String)])),
        since(2, Kind::String),
        since(1, INT32),
        always(Kind::Array(&[
            always(INT16),
            always(Kind::String),
            since(10, UUID),
            since(1, BOOL),
            always(Kind::Array(&[
                always(INT16),
                always(INT32),
                always(INT32),
                since(7, INT32),
                always(Kind::FixedArray(4)),
                always(Kind::FixedArray(4)),
                since(5, Kind::FixedArray(4)),
            ])),
            since(8, INT32),
        ])),
        between(8, 10, INT32),
        since(13, INT16),
    ],
};

pub(super) static FIND_COORDINATOR: Schema = Schema {
    flexible_from: 3,
    fields: &[
        since(1, INT32),
        between(0, 3, INT16),
        between(1, 3, Kind::String),
        between(0, 3, INT32),
        between(0, 3, Kind::String),
        between(0, 3, INT32),
        since(
            4,
            Kind::Array(&[
                always(Kind::String),
                always(INT32),
                always(Kind::String),
                always(INT32),
                always(INT16),
                always(Kind::String),
            ]),
        ),
    ],
};

pub(super) static LIST_OFFSETS: Schema = Schema {
    flexible_from: 6,
    fields: &[
        since(2, INT32),
        always(Kind::Array(&[
            always(Kind::String),
            always(Kind::Array(&[
                always(INT32),
                always(INT16),
                always(INT64),
                always(INT64),
                since(4, INT32),
            ])),
        ])),
    ],
};

pub(super) static OFFSET_FOR_LEADER_EPOCH: Schema = Schema {
    flexible_from: 4,
    fields: &[
        always(INT32),
        always(Kind::Array(&[
            always(Kind::String),
            always(Kind::Array(&[always(INT16), always(INT32), always(INT32), always(INT64)])),
        ])),
    ],
};

pub(super) static JOIN_GROUP: Schema = Schema {
    flexible_from: 6,
    fields: &[
        since(2, INT32),
        always(INT16),
        always(INT32),
        since(7, Kind::String),
        always(Kind::String),
        always(Kind::String),
        since(9, BOOL),
        always(Kind::String),
        always(Kind::Array(&[always(Kind::String), since(5, Kind::String), always(Kind::Bytes)])),
    ],
};

pub(super) static SYNC_GROUP: Schema = Schema {
    flexible_from: 4,
    fields: &[
        since(1, INT32),
        always(INT16),
        since(5, Kind::String),
        since(5, Kind::String),
        always(Kind::Bytes),
    ],
};

pub(super) static HEARTBEAT: Schema = Schema { flexible_from: 4, fields: &[since(1, INT32), always(INT16)] };

pub(super) static LEAVE_GROUP: Schema = Schema {
    flexible_from: 4,
    fields: &[
        since(1, INT32),
        always(INT16),
        since(3, Kind::Array(&[always(Kind::String), always(Kind::String), always(INT16)])),
    ],
};

pub(super) static CONSUMER_GROUP_HEARTBEAT: Schema = Schema {
    flexible_from: 0,
    fields: &[
        always(INT32),
        always(INT16),
        always(Kind::String),
        always(Kind::String),
        always(INT32),
        always(INT32),
        always(Kind::NullableStruct(&[always(Kind::Array(&[always(UUID), always(Kind::FixedArray(4))]))])),
    ],
};

pub(super) static OFFSET_COMMIT: Schema = Schema {
    flexible_from: 8,
    fields: &[
        since(3, INT32),
        always(Kind::Array(&[
            between(0, 9, Kind::String),
            since(10, UUID),
            always(Kind::Array(&[always(INT32), always(INT16)])),
        ])),
    ],
};

/// One partition's committed offset: the same fields before and since the version with many groups.
const COMMITTED: Kind =
    Kind::Array(&[always(INT32), always(INT64), since(5, INT32), always(Kind::String), always(INT16)]);

pub(super) static OFFSET_FETCH: Schema = Schema {
    flexible_from: 6,
    fields: &[
        since(3, INT32),
        between(0, 7, Kind::Array(&[always(Kind::String), always(COMMITTED)])),
        between(2, 7, INT16),
        since(
            8,
            Kind::Array(&[
                always(Kind::String),
                always(Kind::Array(&[between(8, 9, Kind::String), since(10, UUID), always(COMMITTED)])),
                always(INT16),
            ]),
        ),
    ],
};

pub(super) static PRODUCE: Schema = Schema {
    flexible_from: 9,
    fields: &[
        always(Kind::Array(&[
            between(0, 12, Kind::String),
            since(13, UUID),
            always(Kind::Array(&[
                always(INT32),
                always(INT16),
                always(INT64),
                always(INT64),
                since(5, INT64),
                since(8, Kind::Array(&[always(INT32), always(Kind::String)])),
                since(8, Kind::String),
                tagged(0, 10, Kind::Struct(&[always(INT32), always(INT32)])),
            ])),
        ])),
        always(INT32),
        tagged(
            0,
            10,
            Kind::Array(&[always(INT32), always(Kind::String), always(INT32), always(Kind::String)]),
        ),
    ],
};

pub(super) static CREATE_TOPICS: Schema = Schema {
    flexible_from: 5,
    fields: &[
        always(INT32),
        always(Kind::Array(&[
            always(Kind::String),
            since(7, UUID),
            always(INT16),
            always(Kind::String),
            since(5, INT32),
            since(5, INT16),
            since(
                5,
                Kind::Array(&[
                    always(Kind::String),
                    always(Kind::String),
                    always(BOOL),
                    always(INT8),
                    always(BOOL),
                ]),
            ),
            tagged(0, 5, INT16),
        ])),
    ],
};

pub(super) static INIT_PRODUCER_ID: Schema = Schema {
    flexible_from: 2,
    fields: &[always(INT32), always(INT16), always(INT64), always(INT16), since(6, INT64), since(6, INT16)],
};

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::{self, TopicName};
    use kafka_protocol::protocol::{Encodable, Message, StrBytes};

    use super::super::schema::{ELEMENTS_MAX, SchemaError};
    use super::*;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    /// In every version where the encoder accepts the message: the table accepts what the encoder writes,
    /// and no prefix of it.
    fn agrees<M: Encodable + Message>(schema: &Schema, message: impl Fn(i16) -> M) {
        for version in M::VERSIONS.min..=M::VERSIONS.max {
            let mut body = Vec::new();
            message(version).encode(&mut body, version).unwrap_or_else(|e| panic!("v{version}: {e}"));
            assert_eq!(schema.check(version, &body), Ok(()), "v{version}");
            for end in 0..body.len() {
                assert!(schema.check(version, &body[..end]).is_err(), "v{version} cut at {end}");
            }
        }
    }

    #[test]
    fn api_versions_agrees_with_the_encoder() {
        use messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
        agrees(&API_VERSIONS, |version| {
            let mut message = messages::ApiVersionsResponse::default()
                .with_api_keys(vec![ApiVersion::default().with_api_key(1), ApiVersion::default()]);
            if version >= 3 {
                message = message
                    .with_supported_features(vec![SupportedFeatureKey::default().with_name(text("a"))])
                    .with_finalized_features_epoch(7)
                    .with_finalized_features(vec![FinalizedFeatureKey::default().with_name(text("bc"))])
                    .with_zk_migration_ready(true)
                    .with_unknown_tagged_field(9, Bytes::from_static(b"later"));
            }
            message
        });
    }

    #[test]
    fn metadata_agrees_with_the_encoder() {
        use messages::metadata_response::*;
        agrees(&METADATA, |version| {
            let mut partition = MetadataResponsePartition::default()
                .with_replica_nodes(vec![1.into(), 2.into()])
                .with_isr_nodes(vec![1.into()]);
            if version >= 5 {
                partition = partition.with_offline_replicas(vec![3.into()]);
            }
            let mut broker = MetadataResponseBroker::default().with_host(text("broker")).with_port(9092);
            if version >= 1 {
                broker = broker.with_rack(Some(text("r")));
            }
            let topic = MetadataResponseTopic::default()
                .with_name(Some(TopicName(text("orders"))))
                .with_partitions(vec![partition.clone(), partition]);
            let mut message =
                messages::MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
            if version >= 2 {
                message = message.with_cluster_id(Some(text("cluster")));
            }
            message
        });
    }

    #[test]
    fn find_coordinator_agrees_with_the_encoder() {
        use messages::find_coordinator_response::Coordinator;
        agrees(&FIND_COORDINATOR, |version| match version {
            4.. => messages::FindCoordinatorResponse::default().with_coordinators(vec![
                Coordinator::default()
                    .with_key(text("group"))
                    .with_host(text("h"))
                    .with_error_message(Some(text("m"))),
            ]),
            _ => messages::FindCoordinatorResponse::default().with_host(text("host")).with_port(1),
        });
    }

    #[test]
    fn list_offsets_and_leader_epochs_agree_with_the_encoder() {
        use messages::list_offsets_response::*;
        use messages::offset_for_leader_epoch_response::*;
        agrees(&LIST_OFFSETS, |_| {
            messages::ListOffsetsResponse::default().with_topics(vec![
                ListOffsetsTopicResponse::default()
                    .with_name(TopicName(text("t")))
                    .with_partitions(vec![ListOffsetsPartitionResponse::default(); 3]),
            ])
        });
        agrees(&OFFSET_FOR_LEADER_EPOCH, |_| {
            messages::OffsetForLeaderEpochResponse::default().with_topics(vec![
                OffsetForLeaderTopicResult::default()
                    .with_topic(TopicName(text("t")))
                    .with_partitions(vec![EpochEndOffset::default(); 2]),
            ])
        });
    }

    #[test]
    fn group_responses_agree_with_the_encoder() {
        use messages::join_group_response::JoinGroupResponseMember;
        use messages::leave_group_response::MemberResponse;
        agrees(&JOIN_GROUP, |version| {
            let mut member = JoinGroupResponseMember::default()
                .with_member_id(text("m-1"))
                .with_metadata(Bytes::from_static(&[1, 2, 3]));
            if version >= 5 {
                member = member.with_group_instance_id(Some(text("i")));
            }
            messages::JoinGroupResponse::default()
                .with_protocol_name(Some(text("range")))
                .with_leader(text("m-1"))
                .with_member_id(text("m-1"))
                .with_members(vec![member.clone(), member])
        });
        agrees(&SYNC_GROUP, |_| {
            messages::SyncGroupResponse::default().with_assignment(Bytes::from_static(b"assigned"))
        });
        agrees(&HEARTBEAT, |_| messages::HeartbeatResponse::default());
        agrees(&LEAVE_GROUP, |version| match version {
            3.. => messages::LeaveGroupResponse::default()
                .with_members(vec![MemberResponse::default().with_member_id(text("m"))]),
            _ => messages::LeaveGroupResponse::default(),
        });
    }

    #[test]
    fn consumer_group_heartbeats_agree_with_the_encoder() {
        use messages::consumer_group_heartbeat_response::*;
        let answer = || {
            messages::ConsumerGroupHeartbeatResponse::default()
                .with_member_id(Some(text("m")))
                .with_error_message(Some(text("why")))
        };
        agrees(&CONSUMER_GROUP_HEARTBEAT, |_| answer());
        agrees(&CONSUMER_GROUP_HEARTBEAT, |_| {
            let topic = TopicPartitions::default().with_partitions(vec![1, 2, 3]);
            let assignment = Assignment::default().with_topic_partitions(vec![topic.clone(), topic]);
            answer().with_assignment(Some(assignment))
        });
    }

    #[test]
    fn offset_responses_agree_with_the_encoder() {
        use messages::offset_commit_response::*;
        use messages::offset_fetch_response::*;
        agrees(&OFFSET_COMMIT, |_| {
            messages::OffsetCommitResponse::default().with_topics(vec![
                OffsetCommitResponseTopic::default()
                    .with_name(TopicName(text("t")))
                    .with_partitions(vec![OffsetCommitResponsePartition::default(); 2]),
            ])
        });
        agrees(&OFFSET_FETCH, |version| match version {
            8.. => messages::OffsetFetchResponse::default().with_groups(vec![
                OffsetFetchResponseGroup::default().with_topics(vec![
                    OffsetFetchResponseTopics::default()
                        .with_name(TopicName(text("t")))
                        .with_partitions(vec![OffsetFetchResponsePartitions::default(); 2]),
                ]),
            ]),
            _ => messages::OffsetFetchResponse::default().with_topics(vec![
                OffsetFetchResponseTopic::default()
                    .with_name(TopicName(text("t")))
                    .with_partitions(vec![OffsetFetchResponsePartition::default(); 2]),
            ]),
        });
    }

    #[test]
    fn producer_and_topic_responses_agree_with_the_encoder() {
        use messages::create_topics_response::*;
        use messages::produce_response::*;
        agrees(&PRODUCE, |version| {
            let mut partition = PartitionProduceResponse::default();
            if version >= 8 {
                partition = partition
                    .with_record_errors(vec![BatchIndexAndErrorMessage::default()])
                    .with_error_message(Some(text("no")));
            }
            let mut message = messages::ProduceResponse::default();
            if version >= 10 {
                partition =
                    partition.with_current_leader(LeaderIdAndEpoch::default().with_leader_id(1.into()));
                message =
                    message.with_node_endpoints(vec![NodeEndpoint::default().with_host(text("elsewhere"))]);
            }
            let topic = TopicProduceResponse::default()
                .with_name(TopicName(text("t")))
                .with_partition_responses(vec![partition]);
            message.with_responses(vec![topic])
        });
        agrees(&CREATE_TOPICS, |version| {
            let mut topic = CreatableTopicResult::default().with_name(TopicName(text("t")));
            if version >= 5 {
                topic = topic
                    .with_configs(Some(vec![
                        CreatableTopicConfigs::default().with_name(text("retention.ms")),
                    ]))
                    .with_topic_config_error_code(29);
            }
            messages::CreateTopicsResponse::default().with_topics(vec![topic])
        });
        agrees(&INIT_PRODUCER_ID, |_| messages::InitProducerIdResponse::default());
    }

    #[test]
    fn a_claimed_array_that_is_not_there_is_refused_without_being_believed() {
        let mut body = vec![0, 0];
        body.extend_from_slice(&i32::MAX.to_be_bytes());
        assert!(matches!(API_VERSIONS.check(0, &body), Err(SchemaError::Truncated { at: 6, .. })));
        // Compact: the largest count that a varint can hold.
        let body = [0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(API_VERSIONS.check(3, &body), Err(SchemaError::Truncated { at: 7, .. })));
        let body = [0, 0, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(API_VERSIONS.check(3, &body), Err(SchemaError::LongVarint { at: 2 }));
        let mut body = vec![0, 0];
        body.extend_from_slice(&(-2i32).to_be_bytes());
        assert_eq!(API_VERSIONS.check(0, &body), Err(SchemaError::NegativeLength { at: 2, length: -2 }));
    }

    #[test]
    fn more_elements_than_any_answer_has_are_refused_before_they_are_decoded() {
        let with_tags = |count: usize| {
            // Throttle time, error code, the count as a varint of four bytes, tags with nothing in them.
            let varint = [0, 7, 14].map(|shift| (count >> shift) as u8 | 0x80);
            let tags = [78, 0].repeat(count);
            [&[0; 6][..], &varint, &[(count >> 21) as u8], &tags].concat()
        };
        assert_eq!(HEARTBEAT.check(4, &with_tags(ELEMENTS_MAX)), Ok(()));
        let refused = HEARTBEAT.check(4, &with_tags(ELEMENTS_MAX + 1));
        assert_eq!(refused, Err(SchemaError::TooMany { at: 10 + 2 * (ELEMENTS_MAX + 1) }));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("more than 2097152 elements"), "{message}");
    }

    #[test]
    fn a_known_tag_must_have_the_size_that_it_claims() {
        // error code, no api keys, throttle time, one tag: number 3 (one byte) claiming two.
        let body = [0, 0, 1, 0, 0, 0, 0, 1, 3, 2, 1, 0];
        let expected = SchemaError::TagSize { at: 10, tag: 3, claimed: 2, found: 1 };
        assert_eq!(API_VERSIONS.check(3, &body), Err(expected));
    }
}
