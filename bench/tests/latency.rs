//! The latency harness from end to end, on the test broker: every record is counted, and everything is written.

use std::fs;
use std::process::Command;

use millstream_bench::latency::Latencies;

#[test]
fn a_run_counts_every_record_behind_the_warm_up_and_writes_log_table_and_curves() {
    let folder = std::env::temp_dir().join(format!("millstream-latency-{}", std::process::id()));
    let out = folder.to_string_lossy().into_owned();
    let options = ["--rates", "500", "--clients", "parked,spinning", "--seconds", "1", "--rounds", "1"];
    let output = Command::new(env!("CARGO_BIN_EXE_millstream-bench"))
        .arg("latency")
        .args(options)
        // Debug builds on whatever cores there are: nobody looks at the times.
        .args(["--broker-core", "0", "--client-core", "0", "--out", &out])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for client in ["parked", "spinning"] {
        let latencies = Latencies::load(&folder.join(format!("{client}-500.hlog"))).unwrap();
        // Of a second and a half at 500/s, what is due within half a second of the first does not count.
        assert_eq!((latencies.sent.len(), latencies.intended.len()), (500, 500), "{client}");
        assert!(latencies.intended.min() > 0);
    }
    let page = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(page.contains("| parked |") && page.contains("| spinning |"), "{page}");
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("results.json")).unwrap()).unwrap();
    assert_eq!(json["rates"][0]["clients"][1]["runs"][0]["records"], 750);
    assert!(fs::read_to_string(folder.join("percentiles-500.svg")).unwrap().contains("<polyline"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_client_that_nobody_knows_is_refused_with_those_there_are() {
    let output = Command::new(env!("CARGO_BIN_EXE_millstream-bench"))
        .args(["latency", "--clients", "parked,resting"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("resting") && said.contains("spinning"), "{said}");
}
