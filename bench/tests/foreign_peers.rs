//! The peers in other languages see what was written, with every codec, on the test broker.

use std::env;
use std::io::Write;
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;

use millstream_bench::contract::{Contents, Outcome};
use millstream_bench::peers::foreign::{BuildError, Foreign};
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::kafka::{JavaTools, Produce, available_or_explain};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: u32 = 4;
const RECORDS: u64 = 2_000;

#[test]
fn franz_go_reads_every_codec_alone_again_and_in_a_group() {
    reads_every_codec_alone_again_and_in_a_group(Foreign::Franz);
}

#[test]
fn sarama_reads_every_codec_alone_again_and_in_a_group() {
    reads_every_codec_alone_again_and_in_a_group(Foreign::Sarama);
}

#[test]
fn kafka_clients_reads_every_codec_alone_again_and_in_a_group() {
    reads_every_codec_alone_again_and_in_a_group(Foreign::Java);
}

#[test]
fn a_peer_that_gets_too_few_records_fails_and_says_how_many_came() {
    let Some(topics) = topics() else { return };
    let fails = |command: Vec<String>, peer: Foreign| {
        let (partitions, too_many) = (PARTITIONS.to_string(), (RECORDS + 1).to_string());
        let mut arguments = vec!["--topic", "none", "--partitions", &partitions, "--records", &too_many];
        // Long enough for the slowest start of a JVM.
        arguments.extend(["--idle-timeout-s", "10"]);
        let output = started(&command, &topics.bootstrap(), &arguments);
        assert_eq!(output.status.code(), Some(1), "{}", peer.name());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("{RECORDS} records")), "{}: {said}", peer.name());
    };
    // At once, as each waits for a record that does not come.
    thread::scope(|scope| {
        for peer in Foreign::ALL {
            let Some(command) = built(peer) else { continue };
            scope.spawn(move || fails(command, peer));
        }
    });
}

fn reads_every_codec_alone_again_and_in_a_group(peer: Foreign) {
    let (Some(topics), Some(command)) = (topics(), built(peer)) else { return };
    for codec in CODECS {
        let expected = contents(codec);
        let read = |more: &[&str]| {
            let (partitions, records) = (PARTITIONS.to_string(), RECORDS.to_string());
            let mut arguments = vec!["--topic", codec, "--partitions", &partitions, "--records", &records];
            arguments.extend_from_slice(more);
            outcome(peer, &command, &topics.bootstrap(), &arguments)
        };
        assert_eq!(read(&["--checksum"]).contents(), expected, "{} {codec}", peer.name());
        if codec == "lz4" {
            let again = read(&["--checksum", "--passes", "2"]);
            assert_eq!(again.contents(), expected, "{} {codec}, the second pass", peer.name());
            let group = read(&["--group", peer.name(), "--commit-interval-ms", "100"]);
            assert_eq!(
                group.contents(),
                Contents { checksum: None, ..expected },
                "{} in a group",
                peer.name()
            );
            assert_eq!(committed(topics, peer.name(), codec), RECORDS as i64, "{}", peer.name());
        }
    }
}

/// A broker with a topic for each codec; the topics were written once for all tests. `None` where Kafka's own producer
/// cannot run.
fn topics() -> Option<&'static TestBroker> {
    static TOPICS: LazyLock<Option<TestBroker>> = LazyLock::new(|| {
        let java = available_or_explain(JavaTools::new())?;
        let broker = TestBroker::start(Config { brokers: vec![1, 2], ..Config::default() }).unwrap();
        for codec in CODECS {
            broker.handle().create_topic(codec, PARTITIONS as i32).unwrap();
            java.produce(&broker.bootstrap(), &written(codec)).unwrap();
        }
        Some(broker)
    });
    TOPICS.as_ref()
}

fn written(codec: &str) -> Produce {
    Produce {
        codec: codec.to_owned(),
        value_size: (0, 3_000),
        keys: 7,
        headers: 4,
        tombstone_every: 10,
        ..Produce::new(codec, PARTITIONS, RECORDS)
    }
}

fn contents(codec: &str) -> Contents {
    let (tally, _) = written(codec).expected();
    Contents {
        records: tally.records,
        bytes: bytes(codec),
        value_bytes: tally.value_bytes,
        first_byte_sum: tally.first_byte_sum,
        checksum: Some(tally.checksum),
    }
}

/// Keys, values and headers.
fn bytes(codec: &str) -> u64 {
    let what = written(codec);
    let bytes = |index| {
        let headers = what.headers(index);
        let headers = headers.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len));
        let [key, value] = [what.key(index), what.value(index)].map(|part| part.map_or(0, |part| part.len()));
        (key + value + headers.sum::<usize>()) as u64
    };
    (0..RECORDS).map(bytes).sum()
}

fn committed(topics: &TestBroker, group: &str, topic: &str) -> i64 {
    topics.handle().with(|cluster, _| {
        let offset =
            |partition| cluster.committed_offset(group, topic, partition).map_or(0, |found| found.offset);
        (0..PARTITIONS as i32).map(offset).sum()
    })
}

/// The command line of a peer. `None` where its tools are missing, which is a failure where `CI` is set.
fn built(peer: Foreign) -> Option<Vec<String>> {
    // Two builds of one peer must not run at once.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    match peer.build() {
        Ok(()) => Some(peer.command()),
        Err(error @ BuildError::ToolMissing { .. }) if env::var("CI").as_deref() != Ok("true") => {
            // Straight to the file: a skipped test passes, and the test harness hides what passing tests print.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {}: {error}", peer.name());
            None
        }
        Err(error) => panic!("{}: {error}", peer.name()),
    }
}

fn outcome(peer: Foreign, command: &[String], bootstrap: &str, arguments: &[&str]) -> Outcome {
    let output = started(command, bootstrap, arguments);
    let [said, complained] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{} {arguments:?}: {complained}", peer.name());
    let line = said.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("{} {arguments:?}: {error}: {said}", peer.name()))
}

fn started(command: &[String], bootstrap: &str, arguments: &[&str]) -> Output {
    let [program, flags @ ..] = command else { panic!("an empty command line") };
    let contract = ["--bootstrap", bootstrap].into_iter().chain(arguments.iter().copied());
    Command::new(program).args(flags).args(contract).output().unwrap()
}
