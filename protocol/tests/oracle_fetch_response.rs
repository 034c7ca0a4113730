//! Generated Fetch responses of every version: the walker and kafka-protocol's decoder find the same in them.

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse as Owned, FetchableTopicResponse, LeaderIdAndEpoch,
    NodeEndpoint, PartitionData, SnapshotId,
};
use kafka_protocol::messages::{BrokerId, ResponseHeader as OwnedHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, Message, StrBytes};
use millstream_protocol::fetch::response::{
    FETCH_VERSION_MAX, FETCH_VERSION_MIN, FetchResponse, Partition, TopicRef, WalkError,
};
use uuid::Uuid;

const RESPONSES_PER_VERSION: u64 = 150;

fn maybe<T>(random: &mut Rng, value: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    random.bool().then(|| value(random))
}

fn text(random: &mut Rng) -> StrBytes {
    let length = random.usize(0..200);
    StrBytes::from_string((0..length).map(|_| random.alphanumeric()).chain(['é']).collect())
}

fn bytes(random: &mut Rng, most: usize) -> Bytes {
    (0..random.usize(0..most)).map(|_| random.u8(..)).collect()
}

fn partition(random: &mut Rng, version: i16) -> PartitionData {
    let aborted = |random: &mut Rng| {
        let mut one = || {
            AbortedTransaction::default()
                .with_producer_id(random.i64(..).into())
                .with_first_offset(random.i64(..))
        };
        (0..3).map(|_| one()).collect()
    };
    let mut partition = PartitionData::default()
        .with_partition_index(random.i32(..))
        .with_error_code(random.i16(..))
        .with_high_watermark(random.i64(..))
        .with_last_stable_offset(random.i64(..))
        .with_aborted_transactions(maybe(random, aborted))
        .with_records(maybe(random, |random| bytes(random, 400)));
    if version >= 5 {
        partition.log_start_offset = random.i64(..);
    }
    if version >= 11 {
        partition.preferred_read_replica = BrokerId(random.i32(..));
    }
    if version >= 12 {
        if random.bool() {
            partition.diverging_epoch =
                EpochEndOffset::default().with_epoch(random.i32(..)).with_end_offset(random.i64(..));
        }
        if random.bool() {
            partition.current_leader = LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(random.i32(..)))
                .with_leader_epoch(random.i32(..));
        }
        if random.bool() {
            partition.snapshot_id = SnapshotId::default().with_epoch(random.i32(..));
        }
        if random.bool() {
            partition.unknown_tagged_fields.insert(random.i32(100..1_000_000), bytes(random, 300));
        }
    }
    partition
}

fn topic(random: &mut Rng, version: i16) -> FetchableTopicResponse {
    let partitions = (0..random.usize(0..5)).map(|_| partition(random, version)).collect();
    let mut topic = FetchableTopicResponse::default().with_partitions(partitions);
    if version >= 13 {
        topic.topic_id = Uuid::from_u128(random.u128(..));
    } else {
        topic.topic = TopicName(text(random));
    }
    if version >= 12 && random.bool() {
        topic.unknown_tagged_fields.insert(9, bytes(random, 20));
    }
    topic
}

fn response(random: &mut Rng, version: i16) -> Owned {
    let topics = (0..random.usize(0..4)).map(|_| topic(random, version)).collect();
    let mut response = Owned::default().with_throttle_time_ms(random.i32(..)).with_responses(topics);
    if version >= 7 {
        response.error_code = random.i16(..);
        response.session_id = random.i32(..);
    }
    if version >= 12 && random.bool() {
        response.unknown_tagged_fields.insert(77, bytes(random, 200));
    }
    if version >= 16 {
        let endpoint = |random: &mut Rng| {
            NodeEndpoint::default()
                .with_node_id(BrokerId(random.i32(..)))
                .with_host(text(random))
                .with_port(random.i32(..))
                .with_rack(maybe(random, text))
        };
        response.node_endpoints = (0..random.usize(0..4)).map(|_| endpoint(random)).collect();
    }
    response
}

fn frame(random: &mut Rng, version: i16) -> (i32, Bytes) {
    let correlation_id = random.i32(..);
    let mut frame = BytesMut::new();
    let mut header = OwnedHeader::default().with_correlation_id(correlation_id);
    let header_version = i16::from(version >= 12);
    if header_version == 1 && random.bool() {
        header.unknown_tagged_fields.insert(3, bytes(random, 50));
    }
    header.encode(&mut frame, header_version).unwrap();
    response(random, version).encode(&mut frame, version).unwrap();
    (correlation_id, frame.freeze())
}

/// A response with several partitions, small enough to change each of its bytes.
fn rich_frame(version: i16) -> Bytes {
    let frames = (0..).map(|seed| frame(&mut Rng::with_seed(seed), version).1);
    let mut rich = frames.filter(|frame| {
        let (_, response) = FetchResponse::parse_frame(version, frame).unwrap();
        (3..8).contains(&response.partition_count())
            && (version < 16 || response.node_endpoints().count() > 1)
    });
    rich.next().unwrap()
}

fn assert_same_partition(ours: &Partition<'_>, theirs: &PartitionData, frame: &[u8]) {
    assert_eq!(ours.index, theirs.partition_index);
    assert_eq!(ours.error_code, theirs.error_code);
    assert_eq!(ours.high_watermark, theirs.high_watermark);
    assert_eq!(ours.last_stable_offset, theirs.last_stable_offset);
    assert_eq!(ours.log_start_offset, theirs.log_start_offset);
    assert_eq!(ours.preferred_read_replica, theirs.preferred_read_replica.0);
    let diverging = ours.diverging_epoch.map_or((-1, -1), |d| (d.epoch, d.end_offset));
    assert_eq!(diverging, (theirs.diverging_epoch.epoch, theirs.diverging_epoch.end_offset));
    let leader = ours.current_leader.map_or((-1, -1), |l| (l.leader_id, l.leader_epoch));
    assert_eq!(leader, (theirs.current_leader.leader_id.0, theirs.current_leader.leader_epoch));
    let expected: Vec<_> = theirs
        .aborted_transactions
        .iter()
        .flatten()
        .map(|aborted| (aborted.producer_id.0, aborted.first_offset))
        .collect();
    let location = ours.aborted_transactions.location();
    assert_eq!(location.count(), expected.len());
    for aborted in [ours.aborted_transactions, location.in_frame(frame)] {
        assert_eq!(aborted.map(|a| (a.producer_id, a.first_offset)).collect::<Vec<_>>(), expected);
    }
    assert_eq!(ours.records, theirs.records.as_deref().unwrap_or_default());
    assert_eq!(ours.records, &frame[ours.records_range.clone()]);
}

fn assert_same(version: i16, frame: &Bytes, correlation_id: i32) {
    let (header, ours) = FetchResponse::parse_frame(version, frame).unwrap();
    assert_eq!(header.correlation_id, correlation_id);
    let mut body = frame.slice(header.body_start..);
    let theirs = Owned::decode(&mut body, version).unwrap();

    assert_eq!(ours.throttle_time_ms(), theirs.throttle_time_ms);
    assert_eq!((ours.error_code(), ours.session_id()), (theirs.error_code, theirs.session_id));
    let endpoints: Vec<_> = ours.node_endpoints().map(|e| (e.node_id, e.host, e.port, e.rack)).collect();
    let expected: Vec<_> = theirs
        .node_endpoints
        .iter()
        .map(|e| (e.node_id.0, e.host.as_str(), e.port, e.rack.as_ref().map(|rack| rack.as_str())))
        .collect();
    assert_eq!(endpoints, expected);

    let expected = theirs.responses.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)));
    let expected: Vec<_> = expected.collect();
    assert_eq!((ours.partition_count(), ours.partitions().len()), (expected.len(), expected.len()));
    for (ours, (topic, theirs)) in ours.partitions().zip(expected) {
        match ours.topic {
            TopicRef::Name(name) => assert_eq!(name, topic.topic.as_str()),
            TopicRef::Id(id) => assert_eq!(&id, topic.topic_id.as_bytes()),
        }
        assert_same_partition(&ours, theirs, frame);
    }
}

#[test]
fn the_versions_are_all_that_the_oracle_knows() {
    assert_eq!((FETCH_VERSION_MIN, FETCH_VERSION_MAX), (Owned::VERSIONS.min, Owned::VERSIONS.max));
}

#[test]
fn responses_of_every_version_are_read_as_the_oracle_reads_them() {
    for version in FETCH_VERSION_MIN..=FETCH_VERSION_MAX {
        for seed in 0..RESPONSES_PER_VERSION {
            let (correlation_id, frame) = frame(&mut Rng::with_seed(seed), version);
            assert_same(version, &frame, correlation_id);
        }
    }
}

#[test]
fn every_cut_of_a_response_is_an_error_with_a_position_within_it() {
    for version in FETCH_VERSION_MIN..=FETCH_VERSION_MAX {
        let frame = rich_frame(version);
        for cut in 0..frame.len() {
            match FetchResponse::parse_frame(version, &frame[..cut]) {
                Err(WalkError::Truncated { position, needed, left, .. }) => {
                    assert!(position <= cut && needed > left, "version {version} cut at {cut}");
                }
                other => panic!("version {version} cut at {cut}: {other:?}"),
            }
        }
    }
}

#[test]
fn every_byte_changed_in_a_response_gives_an_error_or_a_response_that_can_be_read_to_its_end() {
    for version in FETCH_VERSION_MIN..=FETCH_VERSION_MAX {
        let frame = rich_frame(version);
        for at in 0..frame.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut changed = frame.to_vec();
                changed[at] ^= flip;
                let Ok((_, response)) = FetchResponse::parse_frame(version, &changed) else { continue };
                let mut partitions = 0;
                for partition in response.partitions() {
                    partitions += 1;
                    assert_eq!(partition.records, &changed[partition.records_range.clone()]);
                    assert_eq!(
                        partition.aborted_transactions.count(),
                        partition.aborted_transactions.location().count()
                    );
                }
                assert_eq!(partitions, response.partition_count());
                assert!(response.node_endpoints().count() < changed.len());
            }
        }
    }
}
