//! The walker over a received Fetch response: any bytes as any version, with kafka-protocol as second opinion.
//!
//! Input: a byte that chooses the version, then the frame without its length.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    self, AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kafka_protocol::messages::{FetchResponse as Owned, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use millstream_protocol::fetch::response::{
    FETCH_VERSION_FLEXIBLE, FETCH_VERSION_MAX, FETCH_VERSION_MIN, FetchResponse, NodeEndpoint, Partition,
    TopicRef, WalkError,
};

use uuid::Uuid;

use crate::memory::measure;

/// No partition takes fewer bytes on the wire, in any version.
const PARTITION_MIN_BYTES: usize = 24;
/// Nor does an aborted transaction.
const ABORTED_MIN_BYTES: usize = 16;

/// Walks a frame: no allocation, no panic, counts that its length justifies, ranges within it that ascend, and the same
/// content as kafka-protocol finds.
pub fn fetch_response(data: &[u8]) {
    let Some((choice, frame)) = data.split_first() else { return };
    let versions = FETCH_VERSION_MAX - FETCH_VERSION_MIN + 1;
    let version = FETCH_VERSION_MIN + i16::from(*choice) % versions;
    let (parsed, taken) = measure(|| {
        FetchResponse::parse_frame(version, frame).map(|(header, response)| {
            walk(frame, &response);
            (header.body_start, response)
        })
    });
    assert_eq!(taken.allocations, 0, "the walk allocates nothing");
    match parsed {
        Ok((body_start, response)) => second_opinion(version, &frame[body_start..], &response),
        Err(error) => is_within(&error, frame),
    }
}

fn walk(frame: &[u8], response: &FetchResponse<'_>) {
    assert!(response.partition_count() <= frame.len() / PARTITION_MIN_BYTES);
    assert_eq!(response.partitions().len(), response.partition_count());
    let (mut end, mut count) = (0, 0);
    for partition in response.partitions() {
        assert!(end <= partition.records_range.start && partition.records_range.end <= frame.len());
        assert_eq!(partition.records, &frame[partition.records_range.clone()]);
        end = partition.records_range.end;
        count += 1;
        let location = partition.aborted_transactions.location();
        assert!(location.count() <= frame.len() / ABORTED_MIN_BYTES);
        assert_eq!(location.in_frame(frame).count(), location.count());
        assert!(location.in_frame(frame).eq(partition.aborted_transactions));
    }
    assert_eq!(count, response.partition_count());
    assert!(response.node_endpoints().count() <= frame.len());
}

/// An error is about a place in the frame.
fn is_within(error: &WalkError, frame: &[u8]) {
    match *error {
        WalkError::Truncated { position, needed, left, .. } => {
            assert!(position <= frame.len() && left <= frame.len() && needed > left, "{error}");
        }
        WalkError::Malformed { position, .. } => assert!(position <= frame.len(), "{error}"),
        WalkError::TrailingBytes { position, count } => assert_eq!(position + count, frame.len(), "{error}"),
        _ => {}
    }
    crate::says_something(error);
}

/// kafka-protocol may refuse what the walker lets pass (null for an array that should be empty), but where both read a
/// response they find the same. It reserves memory for as many elements as are claimed, so it comes second; and it does
/// not hold tagged fields to the size that they claim, so of flexible versions it gets what it wrote itself.
fn second_opinion(version: i16, body: &[u8], ours: &FetchResponse<'_>) {
    if version < FETCH_VERSION_FLEXIBLE {
        let Ok(theirs) = Owned::decode(&mut Bytes::copy_from_slice(body), version) else { return };
        return same(ours, &theirs);
    }
    let owned = owned(ours);
    same(ours, &owned);
    let mut written = Vec::new();
    owned.encode(&mut written, version).expect("what was read in a version can be written in it");
    let again = FetchResponse::parse(version, &written).expect("the walker reads what kafka-protocol writes");
    same(&again, &owned);
    let theirs =
        Owned::decode(&mut Bytes::from(written.clone()), version).expect("and so does kafka-protocol");
    assert_eq!(theirs, owned);
}

/// The response as kafka-protocol keeps it.
fn owned(ours: &FetchResponse<'_>) -> Owned {
    let mut topics: Vec<(TopicRef<'_>, FetchableTopicResponse)> = Vec::new();
    for partition in ours.partitions() {
        if topics.last().is_none_or(|(topic, _)| *topic != partition.topic) {
            let topic = match partition.topic {
                TopicRef::Name(name) => FetchableTopicResponse::default().with_topic(TopicName(text(name))),
                TopicRef::Id(id) => FetchableTopicResponse::default().with_topic_id(Uuid::from_bytes(id)),
            };
            topics.push((partition.topic, topic));
        }
        if let Some((_, topic)) = topics.last_mut() {
            topic.partitions.push(owned_partition(&partition));
        }
    }
    let endpoints = ours.node_endpoints().map(|endpoint| {
        fetch_response::NodeEndpoint::default()
            .with_node_id(endpoint.node_id.into())
            .with_host(text(endpoint.host))
            .with_port(endpoint.port)
            .with_rack(endpoint.rack.map(text))
    });
    Owned::default()
        .with_throttle_time_ms(ours.throttle_time_ms())
        .with_error_code(ours.error_code())
        .with_session_id(ours.session_id())
        .with_responses(topics.into_iter().map(|(_, topic)| topic).collect())
        .with_node_endpoints(endpoints.collect())
}

fn owned_partition(ours: &Partition<'_>) -> PartitionData {
    let aborted = ours.aborted_transactions.map(|found| {
        AbortedTransaction::default()
            .with_producer_id(found.producer_id.into())
            .with_first_offset(found.first_offset)
    });
    let mut partition = PartitionData::default()
        .with_partition_index(ours.index)
        .with_error_code(ours.error_code)
        .with_high_watermark(ours.high_watermark)
        .with_last_stable_offset(ours.last_stable_offset)
        .with_log_start_offset(ours.log_start_offset)
        .with_preferred_read_replica(ours.preferred_read_replica.into())
        .with_aborted_transactions(Some(aborted.collect()))
        .with_records(Some(Bytes::copy_from_slice(ours.records)));
    if let Some(found) = ours.diverging_epoch {
        let diverging = EpochEndOffset::default().with_epoch(found.epoch).with_end_offset(found.end_offset);
        partition = partition.with_diverging_epoch(diverging);
    }
    if let Some(found) = ours.current_leader {
        let leader = LeaderIdAndEpoch::default()
            .with_leader_id(found.leader_id.into())
            .with_leader_epoch(found.leader_epoch);
        partition = partition.with_current_leader(leader);
    }
    partition
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn same(ours: &FetchResponse<'_>, theirs: &Owned) {
    assert_eq!(ours.throttle_time_ms(), theirs.throttle_time_ms);
    assert_eq!((ours.error_code(), ours.session_id()), (theirs.error_code, theirs.session_id));
    let partitions = theirs.responses.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |partition| (topic.topic.as_str(), topic.topic_id, partition))
    });
    let mut count = 0;
    for (ours, (name, id, theirs)) in ours.partitions().zip(partitions) {
        match ours.topic {
            TopicRef::Name(ours) => assert_eq!(ours, name),
            TopicRef::Id(ours) => assert_eq!(&ours, id.as_bytes()),
        }
        same_partition(&ours, theirs);
        count += 1;
    }
    assert_eq!(count, ours.partition_count());
    assert_eq!(count, theirs.responses.iter().map(|topic| topic.partitions.len()).sum::<usize>());
    let endpoints = theirs.node_endpoints.iter().map(|theirs| NodeEndpoint {
        node_id: theirs.node_id.0,
        host: &theirs.host,
        port: theirs.port,
        rack: theirs.rack.as_deref(),
    });
    assert!(ours.node_endpoints().eq(endpoints));
}

fn same_partition(ours: &Partition<'_>, theirs: &PartitionData) {
    assert_eq!((ours.index, ours.error_code), (theirs.partition_index, theirs.error_code));
    assert_eq!(ours.high_watermark, theirs.high_watermark);
    assert_eq!(ours.last_stable_offset, theirs.last_stable_offset);
    assert_eq!(ours.log_start_offset, theirs.log_start_offset);
    assert_eq!(ours.preferred_read_replica, theirs.preferred_read_replica.0);
    let diverging = ours.diverging_epoch.map_or((-1, -1), |found| (found.epoch, found.end_offset));
    assert_eq!(diverging, (theirs.diverging_epoch.epoch, theirs.diverging_epoch.end_offset));
    let leader = ours.current_leader.map_or((-1, -1), |found| (found.leader_id, found.leader_epoch));
    assert_eq!(leader, (theirs.current_leader.leader_id.0, theirs.current_leader.leader_epoch));
    let aborted = theirs.aborted_transactions.iter().flatten();
    let aborted = aborted.map(|found| (found.producer_id.0, found.first_offset));
    assert!(ours.aborted_transactions.map(|found| (found.producer_id, found.first_offset)).eq(aborted));
    assert_eq!(ours.records, theirs.records.as_deref().unwrap_or_default());
}
