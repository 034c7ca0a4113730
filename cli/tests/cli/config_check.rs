//! `config check` of a file: exit codes and what goes where.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::common::{millstream, stderr, stdout};

fn check(name: &str, text: &str, options: &[&str]) -> Output {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    millstream(&[&["config", "check"], options, &[path]].concat()).output().unwrap()
}

#[test]
fn a_file_whose_properties_all_have_a_meaning_ends_with_0() {
    let output = check("good.properties", "group.id=g\nkey.deserializer=x.Y\n", &[]);
    assert_eq!(
        stdout(&output),
        "used:\n  line 1: group.id = g\n\
         no effect:\n  line 2: key.deserializer: handlers are Rust code and get bytes\n"
    );
}

#[test]
fn a_file_with_properties_that_would_be_refused_ends_with_1_and_all_of_it_is_sorted() {
    let output = check("bad.properties", "group.id=g\nsasl.mechanism=PLAIN\ngruop.id=g\n", &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).ends_with("bad.properties: 2 would be refused\n"), "{}", stderr(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let groups: Vec<_> = json["properties"].as_array().unwrap().iter().map(|line| &line["group"]).collect();
    assert_eq!(groups, ["used", "not_yet", "unknown"]);
}

#[test]
fn a_file_that_is_missing_or_broken_ends_with_2() {
    let missing = millstream(&["config", "check", "no-such.properties"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("no-such.properties"), "{}", stderr(&missing));
    let broken = check("broken.properties", "a=1\nb=\\uXYZW\n", &[]);
    assert_eq!(broken.status.code(), Some(2));
    assert!(stderr(&broken).contains("broken.properties:2: "), "{}", stderr(&broken));
    assert_eq!(millstream(&["config", "check"]).output().unwrap().status.code(), Some(2));
}
