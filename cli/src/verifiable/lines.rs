//! The JSON lines, with the names and fields of Kafka's VerifiableConsumer.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// One thing that happened, as a line names it.
#[derive(Debug, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub(super) enum Happening<'a> {
    /// It is about to subscribe.
    StartupComplete,
    /// Partitions came: under an eager protocol all there are from now on, otherwise those that are new.
    PartitionsAssigned { partitions: Vec<Place<'a>> },
    /// Partitions went.
    PartitionsRevoked { partitions: Vec<Place<'a>> },
    /// Records of one batch were handled.
    RecordsConsumed { count: u64, partitions: [Consumed<'a>; 1] },
    /// One record, before the line of its batch.
    RecordData { key: Option<&'a str>, value: Option<&'a str>, topic: &'a str, partition: i32, offset: i64 },
    /// A commit was answered, with the next offsets to read.
    OffsetsCommitted {
        offsets: Vec<CommittedOffset<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
        success: bool,
    },
    /// It has left its group.
    ShutdownComplete,
}

/// A partition.
#[derive(Debug, Serialize)]
pub(super) struct Place<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
}

/// What was handled of a partition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Consumed<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) count: u64,
    pub(super) min_offset: i64,
    pub(super) max_offset: i64,
}

/// What was committed of a partition.
#[derive(Debug, Serialize)]
pub(super) struct CommittedOffset<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since the epoch.
    timestamp: u64,
    #[serde(flatten)]
    happening: &'a Happening<'a>,
}

impl Happening<'_> {
    /// Appends it as a line, with the present time.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX);
        serde_json::to_writer(&mut *buffer, &Line { timestamp, happening: self })?;
        buffer.push(b'\n');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line without its time, which comes first.
    fn line(happening: &Happening<'_>) -> String {
        let mut buffer = Vec::new();
        happening.write(&mut buffer).unwrap();
        let text = String::from_utf8(buffer).unwrap();
        let (time, rest) = text.strip_prefix("{\"timestamp\":").unwrap().split_once(',').unwrap();
        assert!(time.parse::<u64>().unwrap() > 1_700_000_000_000);
        rest.trim_end_matches("}\n").to_owned()
    }

    #[test]
    fn lines_have_the_fields_that_the_harness_reads() {
        assert_eq!(line(&Happening::StartupComplete), r#""name":"startup_complete""#);
        let partitions = vec![Place { topic: "t", partition: 3 }];
        assert_eq!(
            line(&Happening::PartitionsAssigned { partitions }),
            r#""name":"partitions_assigned","partitions":[{"topic":"t","partition":3}]"#
        );
        let consumed = Consumed { topic: "t", partition: 3, count: 2, min_offset: 8, max_offset: 9 };
        assert_eq!(
            line(&Happening::RecordsConsumed { count: 2, partitions: [consumed] }),
            concat!(
                r#""name":"records_consumed","count":2,"partitions":"#,
                r#"[{"topic":"t","partition":3,"count":2,"minOffset":8,"maxOffset":9}]"#
            )
        );
        let offsets = || vec![CommittedOffset { topic: "t", partition: 3, offset: 10 }];
        assert_eq!(
            line(&Happening::OffsetsCommitted { offsets: offsets(), error: None, success: true }),
            r#""name":"offsets_committed","offsets":[{"topic":"t","partition":3,"offset":10}],"success":true"#
        );
        let failed =
            Happening::OffsetsCommitted { offsets: offsets(), error: Some("fenced"), success: false };
        assert!(line(&failed).ends_with(r#""error":"fenced","success":false"#));
        let record =
            Happening::RecordData { key: None, value: Some("v"), topic: "t", partition: 3, offset: 8 };
        assert_eq!(
            line(&record),
            r#""name":"record_data","key":null,"value":"v","topic":"t","partition":3,"offset":8"#
        );
    }
}
