//! Batches that are not what they should be: what comes before them is handled, and the watermark stops there.

use bytes::Bytes;
use millstream::{Error, LaneErrorCause};
use millstream_protocol::record::{Codec, RecordBatch};
use millstream_testbroker::Config;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, batch, committed, end_of, engine};

use super::broker_with;

/// Offset of the CRC in a batch, and of what it covers.
const CRC_AT: usize = 17;
const CRC_CONTENT_AT: usize = 21;

/// Appends the batch behind twenty good records, and good ones behind it; consumes until the lane fails.
fn consume(bad: Vec<u8>, fails_at: i64) -> LaneErrorCause {
    let broker = broker_with(Config::default(), 1, 20);
    broker.handle().append(TOPIC, 0, Bytes::from(bad)).unwrap();
    broker.handle().append(TOPIC, 0, Bytes::from(batch(0, 30..40, Codec::None))).unwrap();
    let journal = Journal::default();
    let running =
        engine(&broker).group(GROUP).topics([TOPIC]).build().unwrap().start(journal.factory()).unwrap();
    let handle = running.handle();
    let outcome = end_of(running);
    let Err(Error::Lane(error)) = outcome else { panic!("a failed lane is expected: {outcome:?}") };
    assert_eq!((error.topic(), error.partition(), error.offset()), (TOPIC, 0, fails_at));
    journal.entries().assert_exactly([(0, 0..fails_at)]);
    assert_eq!(committed(&broker.handle(), 0), Some(fails_at));
    // Only a wrong CRC is worth other tries, and not for ever.
    let is_corrupt = matches!(error.cause(), LaneErrorCause::Corrupt(_));
    assert_eq!(handle.stats().unwrap().shards[0].crc_failures, if is_corrupt { 4 } else { 0 });
    error.cause().clone()
}

#[test]
fn a_batch_whose_crc_is_wrong_is_fetched_again_three_times_and_then_fails_its_partition() {
    for codec in [Codec::None, Codec::Lz4] {
        let mut bad = batch(0, 20..30, codec);
        *bad.last_mut().unwrap() ^= 1;
        let cause = consume(bad, 20);
        assert!(
            matches!(&cause, LaneErrorCause::Corrupt(text) if text.contains("3 more fetches")),
            "{cause:?}"
        );
    }
}

#[test]
fn records_before_a_malformed_one_are_handled_and_the_partition_fails_at_it() {
    let mut bad = batch(0, 20..30, Codec::None);
    // The fifth record's value claims to be longer than its record.
    let value_at = {
        let parsed = RecordBatch::parse(&bad).unwrap().unwrap();
        let record = parsed.records().unwrap().iter().nth(4).unwrap().unwrap();
        record.value.unwrap().as_ptr().addr() - bad.as_ptr().addr()
    };
    bad[value_at - 1] = 126;
    let crc = crc32c::crc32c(&bad[CRC_CONTENT_AT..]);
    bad[CRC_AT..CRC_CONTENT_AT].copy_from_slice(&crc.to_be_bytes());
    let cause = consume(bad, 24);
    assert!(matches!(cause, LaneErrorCause::Malformed(_)), "{cause:?}");
}

#[test]
fn a_compressed_batch_of_garbage_with_a_right_crc_fails_its_partition() {
    let mut bad = batch(0, 20..30, Codec::Zstd);
    let payload_at = bad.len() - RecordBatch::parse(&bad).unwrap().unwrap().payload().len();
    bad[payload_at..].fill(0xa5);
    let crc = crc32c::crc32c(&bad[CRC_CONTENT_AT..]);
    bad[CRC_AT..CRC_CONTENT_AT].copy_from_slice(&crc.to_be_bytes());
    let cause = consume(bad, 20);
    assert!(matches!(cause, LaneErrorCause::Malformed(_)), "{cause:?}");
}
