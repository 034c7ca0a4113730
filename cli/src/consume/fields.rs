//! The fields of a record that can be written, apart from the engine's types so that writing is tested alone.

use millstream::{Headers, Record, TimestampType};

/// One record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordFields<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Headers<'a>,
}

impl<'a> From<&Record<'a>> for RecordFields<'a> {
    #[inline]
    fn from(record: &Record<'a>) -> Self {
        Self {
            topic: record.topic(),
            partition: record.partition(),
            offset: record.offset(),
            timestamp_ms: record.timestamp_ms(),
            timestamp_type: record.timestamp_type(),
            key: record.key(),
            value: record.value(),
            headers: record.headers(),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use millstream_protocol::record::{NewRecord, RecordBatch, RecordBatchBuilder};

    use super::RecordFields;

    /// Key `k1`, value `hello`, headers `a=1` and `b` without value.
    pub(crate) const RECORD: NewRecord<'static> = NewRecord {
        timestamp: 1700,
        key: Some(b"k1"),
        value: Some(b"hello"),
        headers: &[(b"a", Some(b"1")), (b"b", None)],
    };

    /// Neither key nor value nor headers.
    pub(crate) const TOMBSTONE: NewRecord<'static> =
        NewRecord { timestamp: 1700, key: None, value: None, headers: &[] };

    /// Shows a record of topic `orders`, partition 3, offset 42 to `look`, as it comes out of an encoded batch.
    pub(crate) fn with_fields<R>(record: &NewRecord<'_>, look: impl FnOnce(&RecordFields<'_>) -> R) -> R {
        with_fields_of(RecordBatchBuilder::new(42), record, look)
    }

    /// The same, with the record in the batch that `builder` makes.
    pub(crate) fn with_fields_of<R>(
        mut builder: RecordBatchBuilder,
        record: &NewRecord<'_>,
        look: impl FnOnce(&RecordFields<'_>) -> R,
    ) -> R {
        builder.append(record);
        let bytes = builder.finish().unwrap();
        let batch = RecordBatch::parse(&bytes).unwrap().unwrap();
        let view = batch.records().unwrap().iter().next().unwrap().unwrap();
        look(&RecordFields {
            topic: "orders",
            partition: 3,
            offset: view.offset,
            timestamp_ms: view.timestamp,
            timestamp_type: batch.timestamp_type(),
            key: view.key,
            value: view.value,
            headers: view.headers,
        })
    }
}
