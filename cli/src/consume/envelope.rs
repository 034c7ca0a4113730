//! The JSON object of `-J`, with the members that kcat gives it, but for `broker`.
//!
//! `topic`, `partition`, `offset`, `tstype` (`create` for the producer's time, `logappend` for the broker's), `ts`
//! (milliseconds since the epoch), `headers` (names and values in turn, only where there are any), `key`, `payload`;
//! null where there is nothing. JSON is UTF-8, so bytes that are not become U+FFFD.

use std::io::Write;

use millstream::TimestampType;

use super::fields::RecordFields;

/// Appends the object and a line feed.
pub(crate) fn write(record: &RecordFields<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topic\":");
    put_string(record.topic.as_bytes(), out);
    let timestamp_type = match record.timestamp_type {
        TimestampType::CreateTime => "create",
        TimestampType::LogAppendTime => "logappend",
    };
    // A Vec takes every write.
    _ = write!(
        out,
        ",\"partition\":{},\"offset\":{},\"tstype\":\"{timestamp_type}\",\"ts\":{}",
        record.partition, record.offset, record.timestamp_ms
    );
    if !record.headers.is_empty() {
        out.extend_from_slice(b",\"headers\":[");
        for (index, header) in record.headers.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            put_string(header.key, out);
            out.push(b',');
            put_nullable(header.value, out);
        }
        out.push(b']');
    }
    out.extend_from_slice(b",\"key\":");
    put_nullable(record.key, out);
    out.extend_from_slice(b",\"payload\":");
    put_nullable(record.value, out);
    out.extend_from_slice(b"}\n");
}

fn put_nullable(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        Some(bytes) => put_string(bytes, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn put_string(bytes: &[u8], out: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(bytes);
    // Strings serialise without fail, and a Vec takes every write.
    _ = serde_json::to_writer(&mut *out, text.as_ref());
}

#[cfg(test)]
mod tests {
    use millstream_protocol::record::{NewRecord, RecordBatchBuilder};

    use super::super::fields::testing::{RECORD, TOMBSTONE, with_fields, with_fields_of};
    use super::*;

    fn written(record: &NewRecord<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        with_fields(record, |fields| write(fields, &mut out));
        assert_eq!(out.pop(), Some(b'\n'));
        assert!(!out.contains(&b'\n'), "one line");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_record_is_written_with_kcats_members() {
        let expected = serde_json::json!({
            "topic": "orders", "partition": 3, "offset": 42, "tstype": "create", "ts": 1700,
            "headers": ["a", "1", "b", null], "key": "k1", "payload": "hello",
        });
        assert_eq!(written(&RECORD), expected);
    }

    #[test]
    fn a_tombstone_has_null_members_and_no_headers() {
        let expected = serde_json::json!({
            "topic": "orders", "partition": 3, "offset": 42, "tstype": "create", "ts": 1700,
            "key": null, "payload": null,
        });
        assert_eq!(written(&TOMBSTONE), expected);
    }

    #[test]
    fn the_time_is_the_brokers_where_the_topic_says_so() {
        let mut out = Vec::new();
        let batch = RecordBatchBuilder::new(42).log_append_time(1900);
        with_fields_of(batch, &RECORD, |fields| write(fields, &mut out));
        let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((object["tstype"].as_str(), object["ts"].as_i64()), (Some("logappend"), Some(1900)));
    }

    #[test]
    fn any_bytes_give_legal_json() {
        let value: Vec<u8> = (0..=255).collect();
        let object = written(&NewRecord { value: Some(&value), ..RECORD });
        assert!(object["payload"].as_str().unwrap().starts_with('\0'));
        assert!(object["payload"].as_str().unwrap().contains('\u{fffd}'));
    }
}
