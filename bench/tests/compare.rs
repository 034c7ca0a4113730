//! `compare` from its command line to its files, with what needs nothing but this crate.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use millstream_bench::brokers::{Kind, Source};
use millstream_bench::compare::{Error, Launch, Pass, Turn, take_turns};
use millstream_bench::contract::{Contents, Request};
use millstream_bench::workload;
use serde_json::Value;

fn compare(folder: &str, arguments: &[&str]) -> (PathBuf, Output) {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream-bench"));
    command.args(["compare", "--no-build", "--core", "0", "--out"]).arg(&out).args(arguments);
    (out, command.output().unwrap())
}

#[test]
fn millstream_and_the_drain_are_compared_and_written_down() {
    let (out, output) = compare(
        "compared",
        &["--workload", "100b", "--records", "20000", "--rounds", "2", "--peers", "millstream-caller"],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let json: Value = serde_json::from_str(&read("100b-replay.json")).unwrap();
    assert_eq!(json["contents"]["records"], 20_000);
    let rows = json["rows"].as_array().unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["millstream", "millstream-caller", "drain"]);
    for row in rows {
        assert_eq!(row["runs"].as_array().unwrap().len(), 2, "{row}");
        assert!(row["figures"]["records_per_cpu_s"]["median"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["settings"].as_object().is_some_and(|settings| !settings.is_empty()), "{row}");
    }
    let page = read("100b-replay.md");
    assert!(page.contains("--records 20000 --rounds 2 --peers millstream-caller"), "{page}");
    assert!(page.contains("- librdkafka-batch: not asked to take part"), "{page}");
    assert!(read("100b-replay.svg").contains("</svg>"));
}

#[test]
fn a_group_a_handler_and_several_workloads_come_through_to_the_overview() {
    let (out, output) = compare(
        "several",
        &["--workload", "group,handler-1us", "--records", "5000", "--rounds", "1", "--peers", "millstream"],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = fs::read_to_string(out.join("group+handler-1us-replay.md")).unwrap();
    assert!(page.contains("(group-replay.md)") && page.contains("(handler-1us-replay.md)"), "{page}");
}

#[test]
fn one_that_is_not_built_is_listed_as_absent_with_the_reason() {
    let arguments = [
        "--workload",
        "100b",
        "--records",
        "1000",
        "--rounds",
        "1",
        "--peers",
        "millstream,krafka-of-another-name",
    ];
    let (_, output) = compare("unknown", &arguments);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("krafka-of-another-name"));
}

/// Somebody who reads with the drain and then says something else. Its own words go to the script first.
fn liar(edit: &str) -> Launch {
    let script = format!("\"$0\" \"$@\" | sed 's/{edit}/'");
    let program = ["sh", "-c", &script, env!("CARGO_BIN_EXE_drain")].map(str::to_owned);
    Launch::new(program.to_vec(), &[], None).unwrap()
}

#[test]
fn one_that_lies_about_checksum_or_count_ends_the_comparison() {
    let workload = workload::by_name("100b").unwrap().with_preloaded(1_000);
    let source = Source::start(Kind::Replay, &workload, None).unwrap();
    let truth = source.truth();
    let truth = Contents {
        records: truth.records,
        bytes: truth.bytes,
        value_bytes: truth.value_bytes,
        first_byte_sum: truth.first_byte_sum,
        checksum: Some(truth.checksum),
    };
    let turns = ["honest", "other"].map(|name| Turn { name: name.to_owned(), looks_at_values: false });
    let compared = |edit: &str| {
        let launches = [liar("^/"), liar(edit)];
        take_turns(&turns, 1, &truth, &mut |index, pass| {
            let plain = Request::new(source.bootstrap(), source.topic(), workload.partitions, truth.records);
            launches[index].run(&Request { checksum: pass == Pass::Check, ..plain })
        })
    };
    assert_eq!(compared("^/").unwrap().counted.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    for lie in ["\"checksum\":[0-9]*/\"checksum\":7", "\"records\":1000/\"records\":999"] {
        let error = compared(lie).unwrap_err();
        assert!(matches!(&error, Error::Different { name, .. } if name == "other"), "{error}");
    }
}
