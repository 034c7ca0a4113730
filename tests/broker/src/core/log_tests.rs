//! What a log keeps, forgets and tells.

use millstream_protocol::record::RecordBatch;

use super::log::Log;
use super::testing::{batch_from_producer, batch_of};

/// Ten appends of two records each, the first five under epoch 0 and the others under epoch 3.
fn log() -> Log {
    let mut log = Log::default();
    for index in 0..10 {
        let epoch = if index < 5 { 0 } else { 3 };
        log.append(batch_of(&[b"a", b"b"]), epoch, true).expect("a good batch");
    }
    log
}

#[test]
fn offsets_are_assigned_and_the_checksum_stays_good() {
    let log = log();
    assert_eq!((log.log_start_offset(), log.high_watermark()), (0, 20));
    let batch = &log.read(10, 20, usize::MAX, true)[0];
    let batch = RecordBatch::parse(batch).expect("a good header").expect("a whole batch");
    assert_eq!((batch.base_offset(), batch.partition_leader_epoch()), (10, 3));
    assert_eq!(batch.verify_crc(), Ok(()));
}

#[test]
fn several_batches_of_one_append_leave_in_one_slice() {
    let mut log = Log::default();
    let batch = batch_of(&[b"a", b"b"]);
    let both = [&batch[..], &batch[..]].concat();
    let appended = log.append(both.clone().into(), 0, true).expect("good batches");
    assert_eq!((appended.base_offset, appended.last_offset), (0, 3));
    let slices = log.read(0, 4, usize::MAX, true);
    assert_eq!(slices.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [both.len()]);
    assert_eq!(log.read(2, 4, usize::MAX, true)[0].len(), batch.len(), "the second alone");
}

#[test]
fn nothing_is_appended_when_one_batch_is_bad() {
    let mut log = Log::default();
    let batch = batch_of(&[b"a"]);
    let mut both = [&batch[..], &batch[..]].concat();
    let last = both.len() - 1;
    both[last] ^= 1;
    let error = log.append(both.into(), 0, true).expect_err("a bad checksum");
    assert_eq!(error.0, 1, "the second batch is the bad one");
    assert_eq!(log.high_watermark(), 0);
}

#[test]
fn retention_drops_the_oldest_appends_and_keeps_the_newest() {
    let mut log = log();
    let one = batch_of(&[b"a", b"b"]).len() as u64;
    log.retain(3 * one);
    assert_eq!((log.log_start_offset(), log.high_watermark(), log.size_bytes()), (14, 20, 3 * one));
    log.retain(0);
    assert_eq!((log.log_start_offset(), log.size_bytes()), (18, one));
    assert_eq!(log.epoch_of(18), 3);
}

#[test]
fn deleted_records_move_the_start_even_inside_a_batch() {
    let mut log = log();
    log.delete_before(7);
    assert_eq!(log.log_start_offset(), 7);
    assert_eq!(log.read(7, 20, usize::MAX, true)[0][..8], 6i64.to_be_bytes(), "its batch comes whole");
    log.delete_before(100);
    assert_eq!((log.log_start_offset(), log.high_watermark()), (20, 20));
}

#[test]
fn truncation_removes_whole_batches_and_newer_epochs() {
    let mut log = log();
    log.truncate_to(9);
    assert_eq!(log.high_watermark(), 8);
    assert_eq!(log.end_offset_for_epoch(3, 4), Some((0, 8)), "epoch 3 is gone");
    log.truncate_to(0);
    assert_eq!((log.high_watermark(), log.size_bytes()), (0, 0));
}

#[test]
fn an_epoch_ends_where_the_next_one_starts() {
    let log = log();
    assert_eq!(log.end_offset_for_epoch(0, 3), Some((0, 10)));
    assert_eq!(log.end_offset_for_epoch(2, 3), Some((0, 10)), "the largest epoch below");
    assert_eq!(log.end_offset_for_epoch(3, 3), Some((3, 20)));
    assert_eq!(log.end_offset_for_epoch(4, 3), None);
    assert_eq!((log.epoch_of(9), log.epoch_of(10)), (0, 3));
}

#[test]
fn an_abort_marker_lists_its_transaction_and_frees_the_last_stable_offset() {
    let mut log = Log::default();
    log.append(batch_from_producer(&[b"a"], 1, 0, 0, true), 0, true).expect("a good batch");
    log.append(batch_from_producer(&[b"b"], 2, 0, 0, true), 0, true).expect("a good batch");
    assert_eq!(log.last_stable_offset(), 0);
    let marker =
        |producer, committed| super::batch::control_batch(producer, 0, committed, 5).expect("a marker");
    log.append(marker(1, false), 0, true).expect("a good marker");
    assert_eq!(log.last_stable_offset(), 1, "the other one is open");
    log.append(marker(2, true), 0, true).expect("a good marker");
    assert_eq!(log.last_stable_offset(), 4);
    let aborted = log.aborted_between(0, 4);
    let told: Vec<_> = aborted.iter().map(|a| (a.producer_id, a.first_offset, a.last_offset)).collect();
    assert_eq!(told, [(1, 0, 2)]);
    assert_eq!(log.aborted_between(3, 4), [], "past its marker it matters to nobody");
}
