//! The Rust clients of the comparison, each against the test broker: all of them read the same, and what one cannot do
//! it refuses.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_bench::contract::{Contents, Group, Measured, Outcome, Request, Stamp, Tally};
use millstream_protocol::record::{Codec, NewRecord, RecordBatchBuilder};
use millstream_testbroker::{Config, TestBroker};

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 3;
const RECORDS: u64 = 3_000;
const RECORDS_PER_BATCH: u64 = 25;

/// Each client, in each way that it is used: program and own options.
const PEERS: &[(&str, &[&str])] = &[
    (env!("CARGO_BIN_EXE_peer_rdkafka"), &["--mode", "batch"]),
    (env!("CARGO_BIN_EXE_peer_rdkafka"), &["--mode", "single"]),
    (env!("CARGO_BIN_EXE_peer_rust_rdkafka"), &["--mode", "base"]),
    (env!("CARGO_BIN_EXE_peer_rust_rdkafka"), &["--mode", "stream"]),
    (env!("CARGO_BIN_EXE_peer_krafka"), &[]),
    (env!("CARGO_BIN_EXE_peer_rskafka"), &[]),
    (env!("CARGO_BIN_EXE_peer_confluent"), &[]),
];

#[test]
fn every_peer_reads_the_same_whatever_the_codec() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let (broker, expected) = filled(codec);
        for &(program, own) in PEERS {
            let request = Request { checksum: true, ..request(&broker) };
            let outcome = read(program, own, &request);
            assert_eq!(outcome.contents(), expected, "{program} {own:?} {codec:?}");
            assert!(!outcome.settings.is_empty(), "{program} lists no settings");
        }
    }
}

#[test]
fn members_of_a_group_read_everything_and_commit_it() {
    for (program, own) in PEERS.iter().filter(|(program, _)| speaks_the_classic_group_protocol(program)) {
        let (broker, expected) = filled(Codec::None);
        let group = Group { name: "readers".to_owned(), commit_interval: Duration::from_millis(100) };
        let request = Request { checksum: true, group: Some(group), ..request(&broker) };
        assert_eq!(read(program, own, &request).contents(), expected, "{program} {own:?}");
        for partition in 0..PARTITIONS as i32 {
            let committed = broker
                .handle()
                .with(|cluster, _| cluster.committed_offset("readers", TOPIC, partition).map(|at| at.offset));
            assert_eq!(
                committed,
                Some((RECORDS / u64::from(PARTITIONS)) as i64),
                "{program} {own:?} {partition}"
            );
        }
    }
}

#[test]
fn clients_with_a_switch_for_it_read_without_checking_crcs() {
    let (broker, expected) = filled(Codec::None);
    for (program, own) in PEERS.iter().filter(|(program, _)| !always_checks_crcs(program)) {
        let request = Request { checksum: true, crc: false, ..request(&broker) };
        assert_eq!(read(program, own, &request).contents(), expected, "{program} {own:?}");
    }
}

#[test]
fn what_a_client_cannot_do_is_refused_by_its_option() {
    let asked = Request::new("127.0.0.1:1", TOPIC, 1, 1);
    let unchecked = Request { crc: false, ..asked.clone() };
    let twice = Request { passes: 2, ..asked.clone() };
    let group = Group { name: "readers".to_owned(), commit_interval: Duration::from_secs(1) };
    let grouped = Request { group: Some(group), ..asked };
    for &(program, own) in PEERS {
        if !reads_several_times(program) {
            assert_refused(program, own, &twice, "--passes 2");
        }
        if always_checks_crcs(program) {
            assert_refused(program, own, &unchecked, "--crc false");
        }
    }
    assert_refused(env!("CARGO_BIN_EXE_peer_rskafka"), &[], &grouped, "--group");
}

#[test]
fn a_peer_that_waits_in_vain_says_how_far_it_came() {
    let (broker, _) = filled(Codec::None);
    for &(program, own) in PEERS {
        let more = RECORDS + 1;
        let request = Request { records: more, idle_timeout: Duration::from_secs(1), ..request(&broker) };
        assert_refused(program, own, &request, &format!("{RECORDS} of {more} were read"));
    }
}

#[test]
fn every_peer_says_its_version() {
    for &(program, _) in PEERS {
        let output = Command::new(program).arg("--version").output().unwrap();
        let version = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && version.lines().count() == 1, "{program}: {version:?}");
        assert!(version.contains(|character: char| character.is_ascii_digit()), "{program}: {version:?}");
        assert!(!version.contains("unknown"), "{program}: {version:?}");
    }
}

fn speaks_the_classic_group_protocol(program: &str) -> bool {
    ["peer_rdkafka", "peer_rust_rdkafka", "peer_krafka"].iter().any(|name| program.ends_with(name))
}

fn reads_several_times(program: &str) -> bool {
    program.ends_with("peer_rdkafka")
}

fn always_checks_crcs(program: &str) -> bool {
    ["peer_krafka", "peer_rskafka"].iter().any(|name| program.ends_with(name))
}

fn request(broker: &TestBroker) -> Request {
    Request::new(&broker.bootstrap(), TOPIC, PARTITIONS, RECORDS)
}

fn read(program: &str, own: &[&str], request: &Request) -> Outcome {
    let output = peer(program, own, request);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {own:?}: {stderr}");
    let line = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{program} {own:?}: {error}: {line}"))
}

fn assert_refused(program: &str, own: &[&str], request: &Request, named: &str) {
    let output = peer(program, own, request);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{program} {own:?} accepts {named}");
    assert!(stderr.contains(named), "{program} {own:?}: {stderr}");
}

fn peer(program: &str, own: &[&str], request: &Request) -> Output {
    Command::new(program).args(own).args(request.arguments()).output().unwrap()
}

/// A broker with records that have a key and headers, and what is to be read of it. Some values are none.
fn filled(codec: Codec) -> (TestBroker, Contents) {
    let broker = TestBroker::start(Config::default()).unwrap();
    broker.handle().create_topic(TOPIC, PARTITIONS as i32).unwrap();
    let counted = Request { checksum: true, ..request(&broker) };
    let mut tally = Tally::new(&counted);
    for partition in 0..PARTITIONS {
        let end = RECORDS / u64::from(PARTITIONS);
        for from in (0..end).step_by(RECORDS_PER_BATCH as usize) {
            let mut batch = RecordBatchBuilder::new(from as i64).codec(codec);
            for index in from..end.min(from + RECORDS_PER_BATCH) {
                append(&mut batch, &mut tally, &format!("{partition}/{index}"), index % 10 != 9);
            }
            let batch = Bytes::from(batch.finish().unwrap());
            broker.handle().append(TOPIC, partition as i32, batch).unwrap();
        }
    }
    (broker, contents(&tally))
}

fn append(batch: &mut RecordBatchBuilder, tally: &mut Tally, name: &str, has_value: bool) {
    let value = format!("value of {name}");
    let value = has_value.then_some(value.as_bytes());
    let headers: [(&[u8], Option<&[u8]>); 2] = [(b"source", Some(b"test")), (b"name", Some(name.as_bytes()))];
    batch.append(&NewRecord { timestamp: 1_000, key: Some(name.as_bytes()), value, headers: &headers });
    tally.record(Some(name.as_bytes()), value, headers.into_iter());
}

fn contents(tally: &Tally) -> Contents {
    let at = Stamp::begin();
    let measured = Measured { started: Instant::now(), first: at, first_of_pass: at, last: at };
    tally.outcome(&measured, BTreeMap::new()).contents()
}
