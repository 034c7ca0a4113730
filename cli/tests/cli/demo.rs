//! `millstream demo`, as a person runs it first.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::common::{millstream, stderr, stdout, summary, terminate};

#[test]
fn every_record_is_verified_and_every_stage_filled() {
    let output = millstream(&["demo", "--records", "200000", "--json"]).output().unwrap();
    let summary = summary(&output);
    for (member, value) in [("records", 200_000), ("sent", 200_000), ("handled", 200_000)] {
        assert_eq!(summary[member], value, "{member}");
    }
    for member in ["lost", "twice", "reordered"] {
        assert_eq!(summary[member], 0, "{member}");
    }
    assert_eq!(summary["checksum_ok"], true);
    assert_eq!(summary["value_bytes"], 200_000 * 100);
    assert!(summary["commits"].as_u64().is_some_and(|commits| commits > 0), "{summary}");
    let stages = ["broker_wait", "receive", "decode", "queue", "handle", "commit", "end_to_end", "loop_lag"];
    for stage in stages {
        assert!(
            summary["stages"][stage]["count"].as_u64().is_some_and(|count| count > 0),
            "{stage}: {summary}"
        );
    }
    for stage in ["decode", "queue", "handle", "commit", "end_to_end"] {
        let place = summary["stages"][stage]["slowest"].as_str();
        assert!(
            place.is_some_and(|place| place.starts_with("demo/") && place.contains('@')),
            "{stage}: {summary}"
        );
    }
    assert!(stderr(&output).contains("this is no benchmark"), "{}", stderr(&output));
}

#[test]
fn a_duration_ends_it_and_what_was_sent_by_then_is_handled() {
    let options =
        ["demo", "--duration", "500ms", "--rate", "max", "--record-size", "1000", "--handler-us", "5"];
    let text = stdout(&millstream(&options).output().unwrap());
    assert!(text.contains(" 0 lost, 0 twice, 0 reordered, checksum equal\n"), "{text}");
}

#[test]
fn a_signal_ends_it_once_what_was_sent_is_handled() {
    let mut child =
        millstream(&["demo", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    // The first line of progress: records flow.
    assert!(lines.any(|line| line.contains(" sent, ")));
    terminate(&child);
    // Read to its end, so that nothing it says finds nobody listening.
    lines.for_each(drop);
    let output = child.wait_with_output().unwrap();
    assert!(summary(&output)["handled"].as_u64().is_some_and(|handled| handled > 0));
}
