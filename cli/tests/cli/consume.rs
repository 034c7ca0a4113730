//! `millstream consume` against a test broker.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::common::{
    broker, consume, fill, millstream, signal, sorted_lines, stderr, stdout, summary, terminate,
};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use xxhash_rust::xxh3::xxh3_64;

#[test]
fn every_record_up_to_the_end_is_written_in_the_order_of_its_partition() {
    let broker = broker(2);
    fill(&broker, 0, 0..250);
    fill(&broker, 1, 0..30);
    let output = consume(&broker, &["-t", "t", "-e"]);
    let text = stdout(&output);
    for (partition, count) in [(0, 250), (1, 30)] {
        let prefix = format!("{partition}-");
        let seen: Vec<&str> = text.lines().filter(|line| line.starts_with(&prefix)).collect();
        let sent: Vec<String> = (0..count).map(|offset| format!("{partition}-{offset}")).collect();
        assert_eq!(seen, sent);
    }
    assert!(stderr(&output).contains("280 records"), "{}", stderr(&output));
}

#[test]
fn an_empty_topic_ends_at_once() {
    let output = consume(&broker(3), &["-t", "t", "-e", "-q", "--json"]);
    let summary = summary(&output);
    assert_eq!((&summary["records"], &summary["first_record_ms"]), (&0.into(), &serde_json::Value::Null));
}

#[test]
fn every_start_offset_means_what_it_means_in_kcat() {
    let broker = broker(1);
    fill(&broker, 0, 0..100);
    for (offset, first, count) in [
        ("beginning", "0-0", 100),
        ("42", "0-42", 58),
        ("-7", "0-93", 7),
        ("-1000", "0-0", 100),
        ("s@1090", "0-90", 10),
        ("s@5000", "", 0),
        ("end", "", 0),
    ] {
        let output = consume(&broker, &["-t", "t", "-e", "-o", offset]);
        let text = stdout(&output);
        assert_eq!((text.lines().next().unwrap_or(""), text.lines().count()), (first, count), "-o {offset}");
    }
}

#[test]
fn consuming_stops_at_a_time() {
    let broker = broker(2);
    fill(&broker, 0, 0..100);
    fill(&broker, 1, 0..20);
    let output = consume(&broker, &["-t", "t", "-o", "s@1010", "-o", "e@1030"]);
    let lines = sorted_lines(&output);
    assert_eq!(lines.len(), 20 + 10);
    assert!(lines.contains(&"0-29".to_owned()) && !lines.contains(&"0-30".to_owned()), "{lines:?}");
}

#[test]
fn a_count_is_kept_exactly_over_partitions_and_batches() {
    let broker = broker(3);
    (0..3).for_each(|partition| fill(&broker, partition, 0..100));
    for count in ["1", "15", "250"] {
        let output = consume(&broker, &["-t", "t", "-c", count]);
        assert_eq!(stdout(&output).lines().count().to_string(), count);
    }
}

#[test]
fn only_the_partitions_asked_for_are_read() {
    let broker = broker(3);
    (0..3).for_each(|partition| fill(&broker, partition, 0..5));
    let lines = sorted_lines(&consume(&broker, &["-t", "t", "-e", "-p", "0,2"]));
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| !line.starts_with("1-")), "{lines:?}");
}

#[test]
fn formats_and_envelopes_show_the_fields() {
    let broker = broker(1);
    fill(&broker, 0, 0..2);
    let text = stdout(&consume(&broker, &["-t", "t", "-e", "-f", "%t[%p]@%o %T %K %S %s\\n"]));
    assert_eq!(text, "t[0]@0 1000 -1 3 0-0\nt[0]@1 1001 -1 3 0-1\n");
    let text = stdout(&consume(&broker, &["-t", "t", "-c", "1", "-J"]));
    assert_eq!(
        text,
        "{\"topic\":\"t\",\"partition\":0,\"offset\":0,\"tstype\":\"create\",\"ts\":1000,\"key\":null,\"payload\":\"0-0\"}\n"
    );
}

#[test]
fn the_summary_is_the_last_line_and_has_every_member() {
    let broker = broker(2);
    fill(&broker, 0, 0..20);
    let output = consume(&broker, &["-t", "t", "-e", "-f", "%s", "--json", "--checksum"]);
    let summary = summary(&output);
    let values = (0..20).map(|offset| format!("0-{offset}"));
    let checksum = values.clone().fold(0_u64, |sum, value| sum.wrapping_add(xxh3_64(value.as_bytes())));
    assert_eq!(summary["records"], 20);
    assert_eq!(summary["value_bytes"], values.map(|value| value.len()).sum::<usize>());
    assert_eq!(summary["first_byte_sum"], 20 * u64::from(b'0'));
    assert_eq!(summary["checksum"], checksum);
    for member in ["bytes", "wall_s", "cpu_s", "first_record_ms", "max_rss_kb", "shards"] {
        assert!(summary[member].as_f64().is_some_and(|number| number > 0.0), "{member}: {summary}");
    }
    assert_eq!(
        summary["shard_cpu_s"].as_array().map(Vec::len),
        summary["shards"].as_u64().map(|n| n as usize)
    );
    for stage in ["broker_wait", "receive", "decode", "queue", "handle", "end_to_end", "loop_lag"] {
        let stage = &summary["stages"][stage];
        assert!(stage["count"].as_u64().is_some_and(|count| count > 0), "{summary}");
        for quantile in ["p50_us", "p99_us", "p999_us", "max_us"] {
            assert!(stage[quantile].is_number(), "{summary}");
        }
    }
}

#[test]
fn a_group_goes_on_after_what_it_wrote_and_without_one_nothing_is_committed() {
    let broker = broker(2);
    fill(&broker, 0, 0..100);
    let group = ["-G", "g", "-o", "beginning", "t"];
    let first = stdout(&consume(&broker, &[&group[..], &["-c", "37"]].concat()));
    assert_eq!(first.lines().count(), 37);
    let stored = ["-t", "t", "-o", "stored", "-X", "group.id=g", "-X", "auto.offset.reset=earliest", "-e"];
    for _ in 0..2 {
        let rest = stdout(&consume(&broker, &stored));
        assert_eq!((rest.lines().next(), rest.lines().count()), (Some("0-37"), 63));
    }
    let second = consume(&broker, &[&group[..], &["-e"]].concat());
    let hint =
        "t-0 starts at offset 37: -o beginning is for partitions that group g has committed nothing of";
    assert!(String::from_utf8_lossy(&second.stderr).contains(hint), "{second:?}");
    let second = stdout(&second);
    assert_eq!((second.lines().next(), second.lines().count()), (Some("0-37"), 63));
    let third = stdout(&consume(&broker, &[&group[..], &["-e"]].concat()));
    assert_eq!(third, "");
}

#[test]
fn a_pattern_is_about_all_topics_in_whose_names_it_is_found() {
    let broker = broker(1);
    fill(&broker, 0, 0..10);
    for topic in ["t-eu", "old-t"] {
        broker.handle().create_topic(topic, 1).unwrap();
        let mut batch = RecordBatchBuilder::new(0);
        batch.append(&NewRecord { value: Some(b"0-0"), ..NewRecord::default() });
        broker.handle().append(topic, 0, batch.finish().unwrap().into()).unwrap();
    }
    let arguments = ["-G", "g", "-o", "beginning", "^t", "-e", "-f", "%t@%o\\n"];
    let mut expected: Vec<String> = (0..10).map(|offset| format!("t@{offset}")).collect();
    expected.push("t-eu@0".to_owned());
    expected.sort();
    assert_eq!(sorted_lines(&consume(&broker, &arguments)), expected);
}

#[test]
fn a_pattern_that_is_in_no_name_is_told_and_waited_for() {
    let broker = broker(1);
    let brokers = broker.bootstrap();
    let mut child = millstream(&["consume", "-b", &brokers, "-G", "g", "^orders"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "^orders is in no topic's name: waiting for one\n");
    terminate(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly_with_success() {
    let broker = broker(1);
    fill(&broker, 0, 0..10_000);
    let brokers = broker.bootstrap();
    let mut child =
        millstream(&["consume", "-b", &brokers, "-t", "t", "-f", "%s %s %s %s %s %s %s %s %s %s\\n"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    drop(reader);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_signal_ends_it_in_order_with_its_summary() {
    let broker = broker(1);
    fill(&broker, 0, 0..10);
    let brokers = broker.bootstrap();
    let mut child = millstream(&["consume", "-b", &brokers, "-G", "g", "-o", "beginning", "t", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut lines = (&mut reader).lines().map(Result::unwrap);
    assert_eq!(lines.by_ref().take(10).last().as_deref(), Some("0-9"));
    terminate(&child);
    let summary: serde_json::Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(summary["records"], 10);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(stdout(&consume(&broker, &["-G", "g", "t", "-e"])), "");
}

#[test]
fn a_second_signal_ends_it_at_once_although_a_handler_is_stuck() {
    let broker = broker(1);
    fill(&broker, 0, 0..500);
    let brokers = broker.bootstrap();
    // What a batch writes is more than a pipe holds, and nobody reads beyond the first line.
    let format = format!("{}\\n", "x".repeat(10_000));
    let mut child = millstream(&["consume", "-b", &brokers, "-t", "t", "-o", "beginning", "-f", &format])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    // Two of one kind might be delivered as one.
    signal(&child, libc::SIGTERM);
    signal(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(reader);
}

#[test]
fn a_list_and_a_dry_run_show_the_cluster_and_consume_nothing() {
    let broker = broker(3);
    fill(&broker, 0, 0..5);
    let list = stdout(&consume(&broker, &["-L"]));
    assert!(
        list.contains("  topic \"t\" with 3 partitions\n    partition 0, leader 1, replicas 1"),
        "{list}"
    );
    let page = stdout(&consume(&broker, &["-t", "t", "-p", "1-2", "--dry-run", "-X", "fetch.min.bytes=5"]));
    for part in
        ["broker 1 at 127.0.0.1:", "  Fetch ", "  shard 0 on core ", "  t/1 -> shard 0\n", "  t/2 -> shard "]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("fetch.min.bytes = 5 bytes  [-X]\n"), "{page}");
    assert!(page.contains(&format!("bootstrap.servers = {}  [-b]\n", broker.bootstrap())), "{page}");
    assert!(page.contains("\n1 broker:\n") && page.contains("a broker sees at most "), "{page}");
    assert!(!page.contains("t/0") && !page.contains("0-0"), "{page}");
}
