//! What a consumer under comparison prints when it is done.

use serde::{Deserialize, Serialize};

/// The last line of a consumer's stdout, as JSON. `millstream consume --json` has further keys, which are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// How many records.
    pub records: u64,
    /// Bytes of keys and values (other clients may count what they received instead).
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
    /// CPU seconds of the whole process in that time.
    pub cpu_s: f64,
    /// Milliseconds from the start of the process to the first record.
    pub first_record_ms: f64,
    /// The largest resident size, in KiB.
    pub max_rss_kb: u64,
}

impl Summary {
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
            "shard_cpu_s":[0.4],"first_record_ms":80.5,"max_rss_kb":9000,"shards":1,"stages":{}}"#;
        let summary: Summary = serde_json::from_str(line).unwrap();
        let contents = summary.contents();
        assert_eq!((contents.records, contents.value_bytes, contents.first_byte_sum), (10, 1000, 7));
        assert_eq!(contents.checksum, None);
        assert_eq!(summary.records_per_cpu_s(), 20.0);
        assert_eq!(summary.records_per_s(), 5.0);
    }
}
