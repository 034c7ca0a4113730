//! kcat (librdkafka), an independent client, works against the broker unchanged.
//!
//! Needs `kcat` on the path. Without it the tests say so and pass, except with `CI=true`, where they fail.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use millstream_testbroker::{ApiKey, Cluster, Config, GroupState, TestBroker};

/// Longest wait for something that kcat is about to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether kcat is there; tells why a test is skipped otherwise.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn has_kcat() -> bool {
    if Command::new("kcat").arg("-V").output().is_ok() {
        return true;
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI needs kcat (apt-get install kcat)");
    eprintln!("skipped: kcat is not installed (apt-get install kcat)");
    false
}

fn kcat(broker: &TestBroker, arguments: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.bootstrap()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(mut child: Child, input: &str) -> Output {
    let mut stdin = child.stdin.take().expect("a piped stdin");
    stdin.write_all(input.as_bytes()).expect("kcat reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("kcat ends");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kcat failed: {complaint}");
    output
}

fn run(broker: &TestBroker, arguments: &[&str], input: &str) -> String {
    let child = kcat(broker, arguments).spawn().expect("kcat starts");
    String::from_utf8(finish(child, input).stdout).expect("text")
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

fn two_brokers() -> TestBroker {
    let config = Config { brokers: vec![1, 2], ..Config::default() };
    let broker = TestBroker::start(config).expect("free ports");
    broker.handle().create_topic("orders", 4).expect("a new topic");
    broker
}

#[test]
fn kcat_lists_brokers_topics_and_leaders() {
    if !has_kcat() {
        return;
    }
    let listing = run(&two_brokers(), &["-L"], "");
    for expected in ["2 brokers", "\"orders\" with 4 partitions", "partition 3, leader 2"] {
        assert!(listing.contains(expected), "{expected:?} is missing in {listing}");
    }
}

#[test]
fn kcat_reads_back_what_it_produced_with_every_codec() {
    if !has_kcat() {
        return;
    }
    let broker = two_brokers();
    let mut expected = BTreeSet::new();
    for (round, codec) in (0u32..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let range = round * 1_000..(round + 1) * 1_000;
        expected.extend(range.clone().map(|number| number.to_string()));
        run(&broker, &["-P", "-t", "orders", "-z", codec], &numbers(range));
    }
    let read = run(&broker, &["-C", "-t", "orders", "-o", "beginning", "-e", "-q"], "");
    assert_eq!(read.lines().count(), expected.len());
    assert_eq!(read.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
}

#[test]
fn kcat_produces_idempotently_in_transactions_and_without_acks() {
    if !has_kcat() {
        return;
    }
    let broker = two_brokers();
    let handle = broker.handle();
    run(&broker, &["-P", "-t", "orders", "-p", "0", "-X", "enable.idempotence=true"], &numbers(0..100));
    run(&broker, &["-P", "-t", "orders", "-p", "0", "-X", "acks=0"], &numbers(100..200));
    let unacknowledged =
        |cluster: &Cluster| cluster.offsets("orders", 0).is_ok_and(|offsets| offsets.high_watermark == 200);
    assert!(handle.wait_until(PATIENCE, unacknowledged), "records without acks arrive too");
    run(&broker, &["-P", "-t", "orders", "-p", "0", "-X", "transactional.id=tx"], &numbers(200..300));
    let offsets = handle.offsets("orders", 0).expect("the partition");
    assert_eq!((offsets.high_watermark, offsets.last_stable_offset), (301, 301), "a marker follows");
    let committed = ["-C", "-t", "orders", "-p", "0", "-e", "-q", "-X", "isolation.level=read_committed"];
    assert_eq!(run(&broker, &committed, ""), numbers(0..300));
}

#[test]
fn kcat_waits_at_the_end_for_what_is_produced_later() {
    if !has_kcat() {
        return;
    }
    let broker = two_brokers();
    let reader = [
        "-C",
        "-t",
        "orders",
        "-p",
        "0",
        "-o",
        "beginning",
        "-c",
        "10",
        "-q",
        "-X",
        "fetch.wait.max.ms=60000",
    ];
    let child = kcat(&broker, &reader).spawn().expect("kcat starts");
    let parked = |cluster: &Cluster| cluster.counters().parked_fetches > 0;
    assert!(broker.handle().wait_until(PATIENCE, parked), "kcat's Fetch waits at the broker");
    run(&broker, &["-P", "-t", "orders", "-p", "0"], &numbers(0..10));
    let output = finish(child, "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), numbers(0..10));
    assert_eq!(broker.handle().counters().expired_fetches, 0);
}

#[test]
fn two_kcats_in_a_group_share_the_partitions_and_commit() {
    if !has_kcat() {
        return;
    }
    let broker = two_brokers();
    let handle = broker.handle();
    let member = ["-G", "readers", "-q", "-X", "auto.offset.reset=earliest", "orders"];
    let members: Vec<Child> = (0..2).map(|_| kcat(&broker, &member).spawn().expect("kcat starts")).collect();
    let shared = |cluster: &Cluster| {
        cluster.group("readers").is_some_and(|g| g.state == GroupState::Stable && g.members.len() == 2)
    };
    assert!(handle.wait_until(PATIENCE, shared), "both members get an assignment");
    for partition in 0..4 {
        let number = partition.to_string();
        run(&broker, &["-P", "-t", "orders", "-p", &number], &numbers(0..100));
    }
    let committed = |cluster: &Cluster| {
        (0..4).all(|p| cluster.committed_offset("readers", "orders", p).is_some_and(|c| c.offset == 100))
    };
    assert!(handle.wait_until(PATIENCE, committed), "everything is committed");
    for member in &members {
        // SIGTERM: kcat prints what it has and leaves the group.
        let ended = Command::new("sh").arg("-c").arg(format!("kill {}", member.id())).status();
        assert!(ended.is_ok_and(|status| status.success()), "kcat still runs");
    }
    let outputs: Vec<Output> =
        members.into_iter().map(|member| member.wait_with_output().expect("kcat ends")).collect();
    let left = |cluster: &Cluster| cluster.group("readers").is_some_and(|g| g.state == GroupState::Empty);
    assert!(handle.wait_until(PATIENCE, left), "both members leave");
    let outputs = outputs.into_iter();
    let lines: Vec<usize> = outputs.map(|output| output.stdout.split(|b| *b == b'\n').count() - 1).collect();
    assert_eq!(lines.iter().sum::<usize>(), 400, "each record went to one member: {lines:?}");
    assert_eq!(lines, [200, 200], "two partitions each");
    assert!(handle.counters().requests(ApiKey::JoinGroup) >= 3);
}
