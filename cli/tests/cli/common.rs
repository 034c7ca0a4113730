//! The binary and a test broker with records for it.

use std::process::{Child, Command, Output, Stdio};

use millstream_protocol::record::{NewRecord, RecordBatchBuilder};
use millstream_testbroker::{Config, TestBroker};

/// A broker with an empty topic `t`.
pub(crate) fn broker(partitions: i32) -> TestBroker {
    let broker = TestBroker::start(Config { auto_create_topics: false, ..Config::default() }).unwrap();
    broker.handle().create_topic("t", partitions).unwrap();
    broker
}

/// Appends records `PARTITION-OFFSET`, in batches of ten, with timestamps 1000 + offset.
pub(crate) fn fill(broker: &TestBroker, partition: i32, offsets: std::ops::Range<i64>) {
    let offsets: Vec<i64> = offsets.collect();
    for batch in offsets.chunks(10) {
        let mut builder = RecordBatchBuilder::new(0);
        for offset in batch {
            let value = format!("{partition}-{offset}");
            let timestamp = 1_000 + offset;
            builder.append(&NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() });
        }
        broker.handle().append("t", partition, builder.finish().unwrap().into()).unwrap();
    }
}

/// The command, without the properties that this environment may hold.
pub(crate) fn millstream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("MILLSTREAM_") {
            command.env_remove(variable);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// `consume` of `broker` with these arguments, to its end.
pub(crate) fn consume(broker: &TestBroker, arguments: &[&str]) -> Output {
    let brokers = broker.bootstrap();
    millstream(&[&["consume", "-b", &brokers], arguments].concat()).output().unwrap()
}

/// Standard output of a command that succeeded.
pub(crate) fn stdout(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Its lines, in order of their text.
pub(crate) fn sorted_lines(output: &Output) -> Vec<String> {
    let mut lines: Vec<String> = stdout(output).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The summary on the last line.
pub(crate) fn summary(output: &Output) -> serde_json::Value {
    serde_json::from_str(stdout(output).lines().last().unwrap()).unwrap()
}

/// Sends SIGTERM.
pub(crate) fn terminate(child: &Child) {
    signal(child, libc::SIGTERM);
}

/// Sends this signal.
pub(crate) fn signal(child: &Child, signal: i32) {
    // SAFETY: a signal to a child of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}
