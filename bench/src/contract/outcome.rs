//! What a peer program prints when it is done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The last line of a peer's stdout, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How many records.
    pub records: u64,
    /// Bytes of keys, values and headers.
    pub bytes: u64,
    /// Bytes of values.
    pub value_bytes: u64,
    /// The sum of each value's first byte, so that every value has been touched.
    pub first_byte_sum: u64,
    /// The wrapping sum of `xxh3_64` of each value, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<u64>,
    /// Seconds from the first to the last record.
    pub wall_s: f64,
    /// CPU seconds of the whole process in that time, user and system.
    pub cpu_s: f64,
    /// CPU seconds that the whole host was busy in that time, by ticks of a hundredth of a second.
    pub host_cpu_s: f64,
    /// Milliseconds from the start of the process to the first record.
    pub first_record_ms: f64,
    /// The largest resident size, in KiB.
    pub max_rss_kb: u64,
    /// Everything that was set, under the client's own names.
    #[serde(default)]
    pub settings: BTreeMap<String, serde_json::Value>,
}

impl Outcome {
    /// Records per second of CPU time.
    pub fn records_per_cpu_s(&self) -> f64 {
        per(self.records, self.cpu_s)
    }

    /// Records per second of wall clock.
    pub fn records_per_s(&self) -> f64 {
        per(self.records, self.wall_s)
    }

    /// What of this depends on the data only, and must be equal for every client.
    pub fn contents(&self) -> Contents {
        Contents {
            records: self.records,
            bytes: self.bytes,
            value_bytes: self.value_bytes,
            first_byte_sum: self.first_byte_sum,
            checksum: self.checksum,
        }
    }
}

/// What identifies the data that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// How many records.
    pub records: u64,
    /// Bytes of keys, values and headers.
    pub bytes: u64,
    /// Bytes of values.
    pub value_bytes: u64,
    /// The sum of each value's first byte.
    pub first_byte_sum: u64,
    /// The wrapping sum of `xxh3_64` of each value, if it was asked for.
    pub checksum: Option<u64>,
}

fn per(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_only_one_client_prints_are_ignored() {
        let line = r#"{"records":10,"bytes":1200,"value_bytes":1000,"first_byte_sum":7,"wall_s":2.0,"cpu_s":0.5,
            "host_cpu_s":0.9,"first_record_ms":80.5,"max_rss_kb":9000,"shards":1,"settings":{"crc":true,"n":5}}"#;
        let outcome: Outcome = serde_json::from_str(line).unwrap();
        let contents = outcome.contents();
        assert_eq!((contents.records, contents.value_bytes, contents.first_byte_sum), (10, 1000, 7));
        assert_eq!(contents.checksum, None);
        assert_eq!(outcome.settings["n"], 5);
        assert_eq!(outcome.records_per_cpu_s(), 20.0);
        assert_eq!(outcome.records_per_s(), 5.0);
    }

    #[test]
    fn a_checksum_uses_all_of_its_64_bits() {
        let checksum = Some(u64::MAX);
        let outcome = Outcome {
            records: 1,
            bytes: 1,
            value_bytes: 1,
            first_byte_sum: 1,
            checksum,
            wall_s: 0.0,
            cpu_s: 0.0,
            host_cpu_s: 0.0,
            first_record_ms: 0.0,
            max_rss_kb: 1,
            settings: BTreeMap::new(),
        };
        let line = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&line).unwrap(), outcome);
        assert_eq!(outcome.records_per_s(), 0.0);
    }
}
