//! The line of CRC and codec alone: a program of this crate that is no client and talks to no broker.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::build::{Builder, Program};
use super::comparison::Row;
use super::contender::{CODEC_ALONE, Kind};
use crate::codec_alone::Pass;
use crate::contract::Outcome;
use crate::workload::Workload;

/// The program, waiting for its next turn. It ends with this value.
#[derive(Debug)]
pub(super) struct CodecTurns {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    command: String,
    counted: Vec<Pass>,
}

impl CodecTurns {
    /// Starts it for a workload; otherwise says why that cannot be.
    pub(super) fn start(builder: &Builder, workload: &Workload, core: Option<usize>) -> Result<Self, String> {
        let program = builder.command(Program::Cargo { bin: "codec_alone", is_peer: false })?;
        let pinned = core.map(|core| ["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
        let words: Vec<String> =
            pinned.into_iter().flatten().chain(program).chain([workload.name.clone()]).collect();
        let shown = words.iter().map(|word| builder.shown(Path::new(word))).collect::<Vec<_>>().join(" ");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{shown} cannot be started: {error}"))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => {
                Ok(Self { child, stdin, stdout: BufReader::new(stdout), command: shown, counted: Vec::new() })
            }
            _ => Err(format!("{shown} has no stdin or no stdout")),
        }
    }

    /// Has it decode everything once.
    pub(super) fn take(&mut self, counts: bool) -> Result<(), String> {
        let failed = |what: String| format!("{} {what}", self.command);
        self.stdin.write_all(b"\n").map_err(|error| failed(format!("takes no turn: {error}")))?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(|error| failed(format!("does not answer: {error}")))?;
        let pass: Pass = serde_json::from_str(&line)
            .map_err(|error| failed(format!("did not print what it found but {line:?}: {error}")))?;
        if counts {
            self.counted.push(pass);
        }
        Ok(())
    }

    /// What came of its turns that counted.
    pub(super) fn row(&self, workload: &Workload) -> Result<Row, String> {
        let last = self.counted.last().ok_or_else(|| format!("{} had no turn", self.command))?;
        Ok(Row {
            name: CODEC_ALONE.to_owned(),
            title: "CRC and codec alone, out of memory".to_owned(),
            kind: Kind::Limit,
            version: format!("millstream-protocol {}", env!("CARGO_PKG_VERSION")),
            command: self.command.clone(),
            settings: BTreeMap::from([
                ("codec".to_owned(), last.codec.clone().into()),
                ("batches".to_owned(), last.batches.into()),
                ("bytes as sent".to_owned(), last.sent_bytes.into()),
                ("bytes after decompression".to_owned(), last.decompressed_bytes.into()),
                ("CPU s of CRC, last round".to_owned(), last.crc_cpu_s.into()),
                ("CPU s of codec, last round".to_owned(), last.codec_cpu_s.into()),
            ]),
            figures: BTreeMap::new(),
            millstream_against_it: None,
            against_librdkafka: None,
            of_the_drain: None,
            of_the_limit: None,
            runs: self.counted.iter().map(|pass| run(pass, workload.records())).collect(),
        })
    }
}

impl Drop for CodecTurns {
    fn drop(&mut self) {
        // It has nothing to finish, and a child that is not waited for stays in the table of processes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pass as a run over so many records; it always decodes the workload's own number of them.
fn run(pass: &Pass, records: u64) -> Outcome {
    let share = records as f64 / pass.records.max(1) as f64;
    Outcome {
        records,
        bytes: 0,
        value_bytes: 0,
        first_byte_sum: 0,
        checksum: None,
        wall_s: 0.0,
        cpu_s: (pass.crc_cpu_s + pass.codec_cpu_s) * share,
        host_cpu_s: 0.0,
        first_record_ms: 0.0,
        max_rss_kb: 0,
        settings: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_scaled_to_the_records_that_clients_read() {
        let pass = Pass {
            codec: "lz4".to_owned(),
            records: 100,
            batches: 1,
            sent_bytes: 1,
            decompressed_bytes: 1,
            crc_cpu_s: 1.0,
            codec_cpu_s: 3.0,
        };
        let run = run(&pass, 50);
        assert_eq!((run.records, run.cpu_s), (50, 2.0));
    }
}
