//! The line of CRC and codec alone: a program of this crate that is no client and talks to no broker.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::build::{Builder, Program};
use super::comparison::Row;
use super::contender::{CODEC_ALONE, Kind};
use crate::codec_alone::CodecAlone;
use crate::contract::Outcome;
use crate::workload::Workload;

/// Measures a compressed workload's CRC and codec, once per round; otherwise says why that cannot be.
pub(super) fn row(
    builder: &Builder,
    workload: &Workload,
    core: Option<usize>,
    rounds: usize,
) -> Result<Row, String> {
    let program = builder.command(Program::Cargo { bin: "codec_alone", is_peer: false })?;
    let pinned = core.map(|core| ["taskset".to_owned(), "-c".to_owned(), core.to_string()]);
    let asked = [workload.name.clone(), "--passes".to_owned(), rounds.to_string()];
    let words: Vec<String> = pinned.into_iter().flatten().chain(program).chain(asked).collect();
    let shown = words.iter().map(|word| builder.shown(Path::new(word))).collect::<Vec<_>>().join(" ");
    let output = Command::new(&words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("{shown} cannot be started: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{shown} failed ({}): {}", output.status, stderr.trim()));
    }
    let found: CodecAlone = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{shown} did not print what it found: {error}"))?;
    Ok(Row {
        name: CODEC_ALONE.to_owned(),
        title: "CRC and codec alone, out of memory".to_owned(),
        kind: Kind::Limit,
        version: format!("millstream-protocol {}", env!("CARGO_PKG_VERSION")),
        command: shown,
        settings: BTreeMap::from([
            ("codec".to_owned(), found.codec.clone().into()),
            ("batches".to_owned(), found.batches.into()),
            ("bytes as sent".to_owned(), found.sent_bytes.into()),
            ("bytes after decompression".to_owned(), found.decompressed_bytes.into()),
            ("median CPU s of CRC".to_owned(), found.median.crc_cpu_s.into()),
            ("median CPU s of codec".to_owned(), found.median.codec_cpu_s.into()),
        ]),
        figures: BTreeMap::new(),
        millstream_against_it: None,
        against_librdkafka: None,
        of_the_drain: None,
        of_the_limit: None,
        runs: runs(&found, workload.records()),
    })
}

/// Its passes but the first as runs over so many records; it always decodes the workload's own number of them.
fn runs(found: &CodecAlone, records: u64) -> Vec<Outcome> {
    let share = records as f64 / found.records.max(1) as f64;
    let of_passes = found.passes.iter().skip(1).map(|pass| (pass.crc_cpu_s + pass.codec_cpu_s) * share);
    of_passes
        .map(|cpu_s| Outcome {
            records,
            bytes: 0,
            value_bytes: 0,
            first_byte_sum: 0,
            checksum: None,
            wall_s: 0.0,
            cpu_s,
            host_cpu_s: 0.0,
            first_record_ms: 0.0,
            max_rss_kb: 0,
            settings: BTreeMap::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec_alone::Pass;

    #[test]
    fn the_first_pass_is_left_out_and_time_is_scaled_to_the_records_that_clients_read() {
        let passes = [9.0, 1.0, 2.0].map(|time| Pass { crc_cpu_s: time, codec_cpu_s: time });
        let found = CodecAlone {
            workload: "w".to_owned(),
            codec: "lz4".to_owned(),
            records: 100,
            batches: 1,
            sent_bytes: 1,
            decompressed_bytes: 1,
            median: passes[1],
            passes: passes.to_vec(),
        };
        let runs = runs(&found, 50);
        assert_eq!(runs.iter().map(|run| run.cpu_s).collect::<Vec<_>>(), [1.0, 2.0]);
        assert!(runs.iter().all(|run| run.records == 50));
    }
}
