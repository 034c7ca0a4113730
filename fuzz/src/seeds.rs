//! The seeds: small inputs of each target's own format from which a fuzzer starts, made the same on every machine.

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, FetchResponse, HeartbeatResponse, JoinGroupResponse, MetadataResponse,
    ResponseHeader, SyncGroupResponse, TopicName, api_versions_response,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use millstream_protocol::group::TopicPartition;
use millstream_protocol::group::consumer_protocol::{Assignment, Subscription};
use millstream_protocol::record::{Codec, ControlType, NewRecord, RecordBatchBuilder};
use uuid::Uuid;

/// The seeds of a target: the name of each, and its bytes.
pub fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "fetch_response" => fetch_responses(),
        "record_batches" => record_batches(),
        "responses" => responses(),
        "fetch_session" => walks(2, 160),
        "classic_group" => classic_groups(),
        "consumer_group" => consumer_groups(),
        "assignors" => assignors(),
        "configuration" => configurations(),
        "host" => hosts(),
        _ => Vec::new(),
    }
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn encoded<M: Encodable + HeaderVersion>(choices: &[u8], version: i16, body: &M) -> Vec<u8> {
    let mut input = choices.to_vec();
    let header = ResponseHeader::default().with_correlation_id(7);
    header.encode(&mut input, M::header_version(version)).expect("a header can be written");
    body.encode(&mut input, version).expect("a seed is within its version");
    input
}

fn batch(codec: Codec) -> Vec<u8> {
    let mut builder = RecordBatchBuilder::new(40).codec(codec).producer(1, 0, 0);
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"1")), (b"\xff", None)];
    builder.append(&NewRecord { timestamp: 9, key: Some(b"k"), value: Some(&[b'v'; 60]), headers: &headers });
    builder.append_at(44, &NewRecord { timestamp: 7, ..NewRecord::default() });
    builder.finish().expect("offsets grow")
}

fn marker(outcome: ControlType) -> Vec<u8> {
    let marker = RecordBatchBuilder::end_transaction(50, 1, 0, outcome, 3);
    marker.finish().expect("one record fits")
}

fn fetch_responses() -> Vec<(String, Vec<u8>)> {
    let response = |version: i16| {
        let mut partition = PartitionData::default()
            .with_partition_index(1)
            .with_high_watermark(90)
            .with_last_stable_offset(80)
            .with_aborted_transactions(Some(vec![
                AbortedTransaction::default().with_producer_id(1.into()).with_first_offset(44),
            ]))
            .with_records(Some(batch(Codec::None).into()));
        if version >= 12 {
            partition = partition
                .with_diverging_epoch(EpochEndOffset::default().with_epoch(2).with_end_offset(70))
                .with_current_leader(
                    LeaderIdAndEpoch::default().with_leader_id(BrokerId(2)).with_leader_epoch(5),
                );
        }
        let mut topic = FetchableTopicResponse::default()
            .with_partitions(vec![partition, PartitionData::default().with_records(Some(Bytes::new()))]);
        if version >= 13 {
            topic = topic.with_topic_id(Uuid::from_u128(77));
        } else {
            topic = topic.with_topic(TopicName(text("orders")));
        }
        let mut response = FetchResponse::default().with_responses(vec![topic]);
        if version >= 7 {
            response = response.with_session_id(5);
        }
        if version >= 16 {
            response = response.with_node_endpoints(vec![
                NodeEndpoint::default().with_node_id(BrokerId(2)).with_host(text("b2")).with_port(9092),
            ]);
        }
        response
    };
    let named = |version: i16| {
        (format!("v{version:02}"), encoded(&[(version - 4) as u8], version, &response(version)))
    };
    [4, 5, 7, 11, 12, 13, 16, 18].map(named).to_vec()
}

fn record_batches() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (at, codec) in Codec::ALL.into_iter().enumerate() {
        let batch = batch(codec);
        let payload = [&[2, at as u8], &batch[61..]].concat();
        seeds.push((format!("batch-{codec}"), [&[1], &batch[..]].concat()));
        seeds.push((format!("payload-{codec}"), payload));
        // Base offset, then two records: with key and value, and with a header.
        let built =
            [3, at as u8, 0, 0, 0, 9, 0x06, 5, 1, b'k', 3, b'a', b'b', b'c', 0x48, 5, 1, b'h', 1, b'x'];
        seeds.push((format!("built-{codec}"), built.to_vec()));
    }
    let transaction = [batch(Codec::None), marker(ControlType::Abort), marker(ControlType::Commit)].concat();
    seeds.push(("transaction".to_owned(), [&[0], &transaction[..]].concat()));
    seeds.push(("cut".to_owned(), [&[0], &transaction[..transaction.len() - 9]].concat()));
    seeds
}

fn responses() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    // Places of the requests in the target's table, and of their versions in their range.
    for (version, place) in [(4, 0), (8, 4), (9, 5), (13, 9)] {
        let partition = MetadataResponsePartition::default()
            .with_replica_nodes(vec![1.into(), 2.into()])
            .with_isr_nodes(vec![1.into()]);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(text("orders"))))
            .with_partitions(vec![partition.clone(), partition]);
        let broker = MetadataResponseBroker::default().with_host(text("b1")).with_port(9092);
        let body = MetadataResponse::default().with_brokers(vec![broker]).with_topics(vec![topic]);
        seeds.push((format!("metadata-v{version:02}"), encoded(&[2, place], version, &body)));
    }
    for (version, place) in [(2, 0), (5, 3), (9, 7)] {
        let member = JoinGroupResponseMember::default()
            .with_member_id(text("m"))
            .with_metadata(subscription(3).into());
        let body = JoinGroupResponse::default()
            .with_protocol_name(Some(text("range")))
            .with_leader(text("m"))
            .with_member_id(text("m"))
            .with_members(vec![member.clone(), member]);
        seeds.push((format!("join-v{version}"), encoded(&[6, place], version, &body)));
    }
    for (version, place) in [(0, 0), (4, 4)] {
        let body = HeartbeatResponse::default();
        seeds.push((format!("heartbeat-v{version}"), encoded(&[7, place], version, &body)));
    }
    for (version, place) in [(0, 0), (5, 5)] {
        let body = SyncGroupResponse::default().with_assignment(assignment().into());
        seeds.push((format!("sync-v{version}"), encoded(&[9, place], version, &body)));
    }
    for version in [0, 3, 4] {
        let api = |key| api_versions_response::ApiVersion::default().with_api_key(key).with_max_version(9);
        let body = ApiVersionsResponse::default().with_api_keys(vec![api(1), api(18), api(3)]);
        // 175 is 10 among 15, and has the target read it as an answer to ApiVersions, too.
        seeds.push((format!("api-versions-v{version}"), encoded(&[175, version as u8], version, &body)));
        seeds.push((format!("api-versions-only-v{version}"), encoded(&[10, version as u8], version, &body)));
    }
    seeds
}

fn subscription(version: i16) -> Vec<u8> {
    let owned = vec![TopicPartition::new("a", 0), TopicPartition::new("b", 1)];
    let topics = vec!["a".into(), "b".into()];
    let subscription = Subscription {
        topics,
        user_data: Some(vec![0, 0, 0, 5]),
        owned,
        generation: 5,
        rack: Some("r".into()),
    };
    subscription.encode(version)
}

fn assignment() -> Vec<u8> {
    let partitions =
        vec![TopicPartition::new("a", 0), TopicPartition::new("a", 1), TopicPartition::new("b", 1)];
    Assignment { partitions, user_data: None }.encode(1)
}

/// A coordinator is found, the member joins, syncs and beats, and then anything happens.
fn classic_groups() -> Vec<(String, Vec<u8>)> {
    let joined = |shape: u8| {
        let mut input = vec![shape, 1];
        input.push(10);
        // The answer to the join: no error, me, not leading, good generation, the assignor's name, its type, no skip.
        let name = match shape >> 1 {
            0 => 0,
            2 => 2,
            _ => 1,
        };
        input.extend([3, 0, 0, 0, 0, 5, name, 5, 5]);
        // The answer to the sync: no error, an assignment of three partitions.
        input.extend([3, 0, 0, 200, 3, 0x00, 0x10, 0x01]);
        // The answer to the heartbeat: no error, and later that the group is rebalancing.
        input.extend([3, 0, 0, 1, 3, 0, 9, 14]);
        input
    };
    let mut seeds: Vec<_> = (0..6).map(|shape| (format!("joined-{shape}"), joined(shape))).collect();
    for shape in [0, 2] {
        let mut busy = joined(shape);
        busy.extend(noise(shape.into(), 120));
        seeds.push((format!("busy-{shape}"), busy));
    }
    seeds.extend(walks(2, 120));
    seeds
}

/// A coordinator is found, the member joins, is assigned partitions and takes them, and then anything happens.
fn consumer_groups() -> Vec<(String, Vec<u8>)> {
    let joined = |shape: u8| {
        let mut input = vec![shape, shape >> 1];
        input.extend([10, 0]);
        // The answer to the join: no error, epoch 2, partitions 0 and 1 of one topic and 0 of the next. Their names.
        input.extend([3, 0, 0x10, 3, 0x00, 0x04, 0x01, 18, 0]);
        // The answer to the acknowledgement: no error, nothing new.
        input.extend([3, 0, 0x1c]);
        // A heartbeat later: one partition fewer, which is given up, and one more.
        input.extend([1, 3, 0, 0x20, 3, 0x00, 0x01, 0x05, 13]);
        input
    };
    let mut seeds: Vec<_> = (0..4).map(|shape| (format!("joined-{shape}"), joined(shape))).collect();
    let fenced = [joined(2), vec![3, 7, 0x1c, 0], joined(2)[2..].to_vec()].concat();
    seeds.push(("fenced".to_owned(), fenced));
    let mut busy = joined(2);
    busy.extend(noise(3, 120));
    seeds.push(("busy".to_owned(), busy));
    seeds.extend(walks(2, 120));
    seeds
}

fn assignors() -> Vec<(String, Vec<u8>)> {
    let versions = 0..=3;
    let mut seeds: Vec<_> = versions
        .map(|version| (format!("subscription-v{version}"), [&[0], &*subscription(version)].concat()))
        .collect();
    seeds.push(("assignment".to_owned(), [&[0], &*assignment()].concat()));
    seeds.push(("sticky-data".to_owned(), [&[0], &*subscription(3), &*assignment()].concat()));
    seeds.extend((0..4).map(|seed| (format!("group-{seed}"), [vec![1], noise(seed, 60)].concat())));
    seeds
}

fn configurations() -> Vec<(String, Vec<u8>)> {
    let file = "# a comment\ngroup.id = checks\nfetch.min.bytes: 1\nfetch.wait.max.ms 10\n\
        client.rack=\\u00e9\\\n  b\nbootstrap.servers=[::1]:9092,b:1\ncores=0-3,6\n";
    let wrong = "fetch.min.bytes=ten\ngruop.id=g\n";
    let aliased =
        "queued.max.messages.kbytes=65536\npartition.assignment.strategy=range,cooperative-sticky\n";
    let mut seeds: Vec<_> = [("file", file), ("wrong", wrong), ("aliased", aliased)]
        .map(|(name, text)| (name.to_owned(), [&[0], text.as_bytes()].concat()))
        .to_vec();
    seeds.extend(
        (1..3).map(|mode| (format!("settings-{mode}"), [vec![mode], noise(mode.into(), 80)].concat())),
    );
    seeds
}

fn hosts() -> Vec<(String, Vec<u8>)> {
    let files = [
        "0::/a/b\n4:cpu,cpuacct:/c",
        "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw",
        "Seccomp:\t2\nCapEff:\t0000000000004000\n",
        "77 (a name) S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1",
        "MemTotal:       16384 kB\n",
        "flags\t: fpu hypervisor\nmodel name\t: A\n",
        "6.1.0-13-amd64",
        "0",
        "0-3",
        "150000 100000",
        "1073741824",
        "1-2",
    ];
    let mut seeds: Vec<_> = ["0-3,6", "65535", "3-1", "6.1.0-13-amd64", "auto"]
        .into_iter()
        .enumerate()
        .map(|(at, text)| (format!("text-{at}"), [&[0], text.as_bytes()].concat()))
        .collect();
    seeds.push(("host".to_owned(), [&[1], files.join("\0").as_bytes()].concat()));
    seeds
}

fn walks(count: u8, bytes: usize) -> Vec<(String, Vec<u8>)> {
    let honest = |seed: u8| [vec![seed], noise(u64::from(seed) + 100, bytes)].concat();
    (0..count).map(|seed| (format!("walk-{seed}"), honest(seed))).collect()
}

/// Bytes without a pattern.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let step = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(step).take(bytes).collect()
}
