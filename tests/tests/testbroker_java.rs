//! Kafka's own Java producer, consumer and command line tools work against the test broker unchanged.

use std::time::Duration;

use millstream_testbroker::{Config, GroupState, TestBroker, Versions};
use millstream_tests::kafka::{Consume, GroupRead, JavaTools, Member, MemberEvent, Produce, Tally};
use millstream_tests::require;

/// Longest wait for something that a Java client is about to do.
const LIMIT: Duration = Duration::from_secs(60);

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

const CONSUMER_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const GET_OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

#[test]
fn java_reads_what_java_wrote_with_every_codec() {
    let java = require!(JavaTools::new());
    let broker = two_brokers(Versions::newest());
    let mut expected = (Tally::default(), 0u64);
    for codec in CODECS {
        broker.handle().create_topic(codec, 3).unwrap();
        let written = rich(codec, 3);
        let produced = java.produce(&broker.bootstrap(), &written).unwrap();
        let (tally, content_checksum) = written.expected();
        assert_eq!(produced.committed.total, tally, "{codec}");
        expected = (expected.0 + tally, expected.1.wrapping_add(content_checksum));
    }
    let topics = CODECS.map(str::to_owned).to_vec();
    let all = Consume { topics, content: true, ..Consume::new("") };
    let consumed = java.consume(&broker.bootstrap(), &all).unwrap();
    assert_eq!((consumed.total, consumed.content_checksum), (expected.0, Some(expected.1)));
    assert_eq!(consumed.partitions.len(), 3 * CODECS.len());
    assert!(consumed.partitions.iter().all(|partition| partition.ordered));
}

#[test]
fn a_java_consumer_under_read_committed_sees_committed_transactions_alone() {
    let java = require!(JavaTools::new());
    transactions_are_kept_apart(&java, &two_brokers(Versions::newest()));
}

#[test]
fn two_java_members_hand_partitions_over_and_their_commits_are_described() {
    let java = require!(JavaTools::new());
    let broker = two_brokers(Versions::newest());
    broker.handle().create_topic("orders", 4).unwrap();
    let bootstrap = broker.bootstrap();
    let mut first = java.member(&bootstrap, "readers", &["orders"], &[]).unwrap();
    wait_for_partitions(&first, 4);
    let mut second = java.member(&bootstrap, "readers", &["orders"], &[]).unwrap();
    wait_for_partitions(&second, 2);
    wait_for_partitions(&first, 2);
    java.produce(&bootstrap, &Produce::new("orders", 4, 1_000)).unwrap();
    assert_eq!(tally_of(&first, 500) + tally_of(&second, 500), Produce::new("orders", 4, 1_000).expected().0);
    second.stop().unwrap();
    second.wait_for(LIMIT, |event| (event == MemberEvent::Stopped).then_some(())).unwrap();
    wait_for_partitions(&first, 4);
    let more = Produce { first_index: 1_000, ..Produce::new("orders", 4, 1_000) };
    java.produce(&bootstrap, &more).unwrap();
    assert_eq!(tally_of(&first, 1_000), more.expected().0, "from where the one that left had committed");
    first.commit().unwrap();
    first.wait_for(LIMIT, |event| (event == MemberEvent::Committed).then_some(())).unwrap();
    let rows = java.describe_group(&bootstrap, "readers").unwrap();
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert_eq!((row.committed, row.log_end, row.lag), (Some(500), Some(500), Some(0)));
        assert!(row.consumer_id.is_some());
    }
    first.stop().unwrap();
    first.wait_for(LIMIT, |event| (event == MemberEvent::Stopped).then_some(())).unwrap();
    assert_eq!(broker.handle().with(|cluster, _| cluster.group("readers").unwrap().state), GroupState::Empty);
}

#[test]
fn kafka_consumer_groups_lists_describes_resets_and_deletes_a_group() {
    let java = require!(JavaTools::new());
    let broker = two_brokers(Versions::newest());
    broker.handle().create_topic("orders", 2).unwrap();
    let bootstrap = broker.bootstrap();
    java.produce(&bootstrap, &Produce::new("orders", 2, 100)).unwrap();
    java.consume(&bootstrap, &as_group("orders", 100)).unwrap();
    let groups = |arguments: &[&str]| tool(&java, &broker, CONSUMER_GROUPS, arguments);
    assert_eq!(groups(&["--list"]).trim(), "readers");
    let state = groups(&["--describe", "--group", "readers", "--state"]);
    assert!(state.contains("Empty"), "{state}");
    let reset =
        ["--reset-offsets", "--group", "readers", "--topic", "orders", "--to-offset", "20", "--execute"];
    groups(&reset);
    let rows = java.describe_group(&bootstrap, "readers").unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.committed, row.lag)).collect::<Vec<_>>(),
        [(Some(20), Some(30)); 2]
    );
    let deleted = groups(&["--delete", "--group", "readers"]);
    assert!(deleted.contains("successful"), "{deleted}");
    assert_eq!(broker.handle().with(|cluster, _| cluster.group("readers")), None);
}

#[test]
fn kafka_topics_creates_lists_describes_grows_and_deletes_a_topic() {
    let java = require!(JavaTools::new());
    let broker = two_brokers(Versions::newest());
    let topics = |arguments: &[&str]| tool(&java, &broker, TOPICS, arguments);
    topics(&["--create", "--topic", "orders", "--partitions", "3"]);
    assert_eq!(topics(&["--list"]).trim(), "orders");
    topics(&["--alter", "--topic", "orders", "--partitions", "4"]);
    let described = topics(&["--describe", "--topic", "orders"]);
    assert!(described.contains("PartitionCount: 4"), "{described}");
    assert_eq!(described.matches("Leader: ").count(), 4, "{described}");
    java.produce(&broker.bootstrap(), &Produce::new("orders", 4, 100)).unwrap();
    let offsets = tool(&java, &broker, GET_OFFSETS, &["--topic", "orders"]);
    assert_eq!(offsets.trim(), "orders:0:25\norders:1:25\norders:2:25\norders:3:25");
    topics(&["--delete", "--topic", "orders"]);
    assert_eq!(topics(&["--list"]).trim(), "");
}

#[test]
fn java_and_its_tools_work_with_the_versions_of_kafka_2_8() {
    let java = require!(JavaTools::new());
    let broker = two_brokers(Versions::kafka_2_8());
    let bootstrap = broker.bootstrap();
    tool(&java, &broker, TOPICS, &["--create", "--topic", "orders", "--partitions", "2"]);
    let described = tool(&java, &broker, TOPICS, &["--describe", "--topic", "orders"]);
    assert!(described.contains("PartitionCount: 2"), "{described}");
    let written = Produce { codec: "zstd".to_owned(), ..rich("orders", 2) };
    java.produce(&bootstrap, &written).unwrap();
    let (tally, content_checksum) = written.expected();
    let consumed = java.consume(&bootstrap, &Consume { content: true, ..Consume::new("orders") }).unwrap();
    assert_eq!((consumed.total, consumed.content_checksum), (tally, Some(content_checksum)));
    assert_eq!(java.consume(&bootstrap, &as_group("orders", written.records)).unwrap().total, tally);
    assert_eq!(tool(&java, &broker, CONSUMER_GROUPS, &["--list"]).trim(), "readers");
    let half = Some((written.records / 2) as i64);
    let rows = java.describe_group(&bootstrap, "readers").unwrap();
    assert_eq!(rows.iter().map(|row| row.committed).collect::<Vec<_>>(), [half; 2]);
    transactions_are_kept_apart(&java, &broker);
}

fn two_brokers(versions: Versions) -> TestBroker {
    let config = Config { brokers: vec![1, 2], versions, ..Config::default() };
    TestBroker::start(config).expect("free ports")
}

/// Records with keys, headers, tombstones, timestamps and values of many sizes.
fn rich(topic: &str, partitions: u32) -> Produce {
    Produce {
        codec: topic.to_owned(),
        value_size: (0, 3_000),
        keys: 7,
        headers: 4,
        tombstone_every: 10,
        timestamp_ms: Some(1_700_000_000_000),
        ..Produce::new(topic, partitions, 2_000)
    }
}

fn as_group(topic: &str, records: u64) -> Consume {
    let group = GroupRead { id: "readers".to_owned(), records, idle_ms: 30_000 };
    Consume { group: Some(group), ..Consume::new(topic) }
}

fn transactions_are_kept_apart(java: &JavaTools, broker: &TestBroker) {
    let (handle, bootstrap) = (broker.handle(), broker.bootstrap());
    handle.create_topic("payments", 2).unwrap();
    let written = Produce {
        transaction_records: 100,
        abort_every: 3,
        leave_open: true,
        ..Produce::new("payments", 2, 950)
    };
    let produced = java.produce(&bootstrap, &written).unwrap();
    let records = [&produced.committed, &produced.aborted, &produced.open].map(|part| part.total.records);
    assert_eq!(records, [600, 300, 50]);
    let all = java.consume(&bootstrap, &Consume::new("payments")).unwrap();
    assert_eq!(all.total, produced.committed.total + produced.aborted.total + produced.open.total);
    let committed = Consume { read_committed: true, ..Consume::new("payments") };
    assert_eq!(java.consume(&bootstrap, &committed).unwrap().total, produced.committed.total);
    for partition in 0..2 {
        // 475 records and a marker for each of nine ended transactions; the open one has 25 of the records.
        let offsets = handle.offsets("payments", partition).unwrap();
        assert_eq!((offsets.last_stable_offset, offsets.high_watermark), (459, 484));
    }
}

/// What one of Kafka's command line tools prints.
fn tool(java: &JavaTools, broker: &TestBroker, main_class: &str, arguments: &[&str]) -> String {
    let mut all = vec!["--bootstrap-server".to_owned(), broker.bootstrap()];
    all.extend(arguments.iter().map(|&argument| argument.to_owned()));
    java.run(main_class, &all).unwrap()
}

fn wait_for_partitions(member: &Member, count: usize) {
    let assigned = |event| match event {
        MemberEvent::Assigned { partitions } => (partitions.len() == count).then_some(()),
        _ => None,
    };
    member.wait_for(LIMIT, assigned).unwrap();
}

/// What a member reads until it has so many records.
fn tally_of(member: &Member, records: u64) -> Tally {
    let mut seen = Tally::default();
    let add = |event| {
        if let MemberEvent::Records { tally, .. } = event {
            seen += tally;
        }
        (seen.records >= records).then_some(())
    };
    member.wait_for(LIMIT, add).unwrap();
    seen
}
