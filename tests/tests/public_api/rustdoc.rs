//! What rustdoc knows of the engine's crate, as JSON.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

/// What rustdoc 1.95 writes.
pub(crate) const FORMAT_VERSION: u32 = 57;

/// Rustdoc writes JSON behind a switch that a stable toolchain refuses. The variable that opens it would have Cargo
/// build every dependency again, so it is given to rustdoc alone.
const WRAPPER: &str = "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n";

/// The descriptions of our crates with their features for users.
pub(crate) fn describe(crates: &[&str]) -> Vec<Value> {
    let wrapper = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rustdoc-json");
    fs::write(&wrapper, WRAPPER).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    crates.iter().map(|name| json(name, &wrapper)).collect()
}

fn json(name: &str, wrapper: &Path) -> Value {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(super::root())
        .env("RUSTDOC", wrapper)
        .env_remove("RUSTDOCFLAGS")
        .args(["rustdoc", "--package", name, "--lib"])
        .args(if name == "millstream" { &["--features", "test-broker,tokio"][..] } else { &[] })
        .arg("--target-dir")
        .arg(target())
        .args(["--", "-Zunstable-options", "--output-format=json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read(target().join(format!("doc/{}.json", name.replace('-', "_")))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The folder that this test was built in, whose dependencies are there already.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}
