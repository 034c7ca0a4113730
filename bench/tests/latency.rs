//! The latency harness from end to end, on the test broker: every record is counted, and everything is written.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use millstream_bench::latency::Latencies;
use serde_json::Value;

fn latency(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millstream-bench")).arg("latency").args(options).output().unwrap()
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("millstream-latency-{name}-{}", std::process::id()))
}

#[test]
fn a_run_counts_every_record_behind_the_warm_up_and_writes_log_tables_and_drawings() {
    let folder = folder("run");
    let out = folder.to_string_lossy().into_owned();
    // Debug builds on whatever cores there are: nobody looks at the times.
    let cores = ["--broker-core", "any", "--client-core", "any"];
    let options = ["--rates", "500", "--clients", "parked,spinning", "--seconds", "1", "--rounds", "1"];
    let output = latency(&[&options[..], &cores, &["--no-build", "--out", &out]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for client in ["parked", "spinning"] {
        let latencies = Latencies::load(&folder.join(format!("{client}-500.hlog"))).unwrap();
        // What is due within half a second of the first does not count; the last is due after one and a half.
        assert_eq!((latencies.sent.len(), latencies.intended.len()), (501, 501), "{client}");
        assert!(latencies.intended.min() > 0);
    }
    let page = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(page.contains("| parked |") && page.contains("| spinning |"), "{page}");
    let json: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("results.json")).unwrap()).unwrap();
    for client in [0, 1] {
        let round = &json["rates"][0]["clients"][client]["rounds"][0];
        assert_eq!((&round["outcome"]["records"], &round["source"]["records"]), (&751.into(), &751.into()));
        assert_eq!(json["idle"]["clients"][client]["records"], 1);
    }
    for drawing in ["percentiles-500.svg", "cost-500.svg"] {
        assert!(fs::read_to_string(folder.join(drawing)).unwrap().contains("<polyline"));
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_share_of_what_clients_can_do_is_found_by_measuring() {
    let folder = folder("share");
    let out = folder.to_string_lossy().into_owned();
    let cores = ["--broker-core", "any", "--client-core", "any"];
    let options = ["--rates", "1%", "--clients", "parked", "--seconds", "1", "--rounds", "1"];
    let output = latency(&[&options[..], &cores, &["--no-build", "--out", &out]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value =
        serde_json::from_str(&fs::read_to_string(folder.join("results.json")).unwrap()).unwrap();
    let (rate, share) = (&json["rates"][0], &json["rates"][0]["share"]);
    let rate = rate["records_per_s"].as_f64().unwrap();
    let hundredth = share["of_records_per_s"].as_f64().unwrap() / 100.0;
    assert!(rate <= hundredth && rate > 0.9 * hundredth, "{rate} of {hundredth}");
    assert_eq!(share["slowest"], "parked");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_cannot_be_run_is_refused_with_what_can() {
    let cases = [
        (["--clients", "parked,resting"], "resting", "spinning"),
        (["--rates", "1000,fast"], "fast", "70%"),
        (["--value-bytes", "3"], "3 B", "16"),
        (["--rounds", "0"], "--rounds", "100"),
        (["--client-core", "first"], "first", "any"),
    ];
    for (options, wrong, right) in cases {
        let output = latency(&options);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(wrong) && said.contains(right),
            "{options:?}: {said}"
        );
    }
}
