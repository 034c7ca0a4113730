//! What handlers are given, and what their outcome means.

use millstream_protocol::record::{Codec, ControlType, RecordBatchBuilder};

use super::brokers::Answer;
use super::rig::{Rig, SECOND, batch, filled, lane};
use crate::link::{CloseReason, Command, Event};

fn rig(records_max: u32) -> Rig {
    let mut rig = Rig::new(|settings| settings.poll_records_max = records_max);
    rig.open(0, 1);
    rig.settle();
    rig
}

#[test]
fn a_batch_larger_than_a_dispatch_is_handed_out_in_parts_and_marked_by_part() {
    let mut rig = rig(4);
    let first = rig.fetch();
    let packed = filled(RecordBatchBuilder::new(0).codec(Codec::Gzip), 10, 8);
    rig.answer(&first, &[Answer::records(0, 10, &[packed])]);
    let mut marks = Vec::new();
    for _ in 0..3 {
        assert!(rig.shard.dispatch(&super::rig::Stopped(rig.now)));
        marks.extend(rig.marks().into_iter().map(|mark| mark.next_offset));
    }
    assert_eq!(marks, [4, 8, 10]);
    assert_eq!(rig.handled(0), (0..10).collect::<Vec<_>>());
}

#[test]
fn what_a_batch_holds_below_the_position_fills_no_dispatch() {
    let mut rig = Rig::new(|settings| settings.poll_records_max = 2);
    rig.open_with(0, 1, |open| open.start_offset = 7);
    rig.settle();
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    let mut handled = Vec::new();
    while rig.shard.dispatch(&super::rig::Stopped(rig.now)) {
        handled.push(rig.handled(0));
    }
    assert_eq!(handled, [vec![7, 8], vec![7, 8, 9]]);
    assert_eq!(rig.marks().last().map(|mark| mark.next_offset), Some(10));
}

#[test]
fn batches_without_records_move_the_watermark() {
    let mut rig = rig(500);
    let first = rig.fetch();
    let control = RecordBatchBuilder::end_transaction(5, 1, 0, ControlType::Commit, 1);
    let empty = RecordBatchBuilder::new(6).last_offset(9).finish().unwrap();
    let batches = [batch(0, 5, 8), control.finish().unwrap(), empty];
    rig.answer(&first, &[Answer::records(0, 10, &batches)]);
    rig.run();
    assert_eq!(rig.handled(0), (0..5).collect::<Vec<_>>());
    assert_eq!(rig.marks().last().map(|mark| mark.next_offset), Some(10));
    let events = rig.events();
    assert!(events.iter().any(|event| matches!(event, Event::EndReached { offset: 10, .. })), "{events:?}");
}

#[test]
fn a_handler_that_fails_commits_what_it_named_and_nothing_beyond() {
    for (done, committed) in
        [(i64::MIN, None), (-1, None), (2, Some(3)), (99, Some(10)), (i64::MAX, Some(10))]
    {
        let mut rig = rig(500);
        rig.user().fails_after_done = Some(done);
        let first = rig.fetch();
        rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
        rig.run();
        let failed = rig.events().into_iter().find_map(|event| match event {
            Event::Failed { error, .. } => Some(error.offset()),
            _ => None,
        });
        assert_eq!(failed, Some(committed.unwrap_or(0)), "{done}");
        assert_eq!(rig.marks().last().map(|mark| mark.next_offset), committed, "{done}");
        let deadline = rig.now;
        rig.command(Command::Close { lane: lane(0), reason: CloseReason::Revoked, deadline });
        let closed = rig.events().into_iter().find_map(|event| match event {
            Event::Closed { mark, .. } => Some(mark.map(|mark| mark.next_offset)),
            _ => None,
        });
        assert_eq!(closed, Some(committed), "{done}");
    }
}

#[test]
fn progress_within_a_dispatch_is_marked_under_the_epoch_of_the_last_record_that_is_done() {
    for (done, epoch) in [(3, 7), (4, 7), (5, 8), (9, 8)] {
        let mut rig = rig(500);
        rig.user().fails_after_done = Some(done);
        let first = rig.fetch();
        let batches = [under_epoch(7, batch(0, 5, 8)), under_epoch(8, batch(5, 5, 8))];
        rig.answer(&first, &[Answer::records(0, 10, &batches)]);
        rig.run();
        let mark = rig.marks().pop().unwrap();
        assert_eq!((mark.next_offset, mark.leader_epoch), (done + 1, epoch));
    }
}

#[test]
fn a_malformed_record_is_marked_under_the_epoch_of_the_record_before_it() {
    let mut rig = Rig::new(|settings| settings.check_crcs = false);
    rig.open(0, 1);
    rig.settle();
    let first = rig.fetch();
    let batches = [under_epoch(7, batch(0, 5, 8)), under_epoch(8, malformed_at_its_end(batch(5, 5, 8)))];
    rig.answer(&first, &[Answer::records(0, 10, &batches)]);
    rig.run();
    let mark = rig.marks().pop().unwrap();
    assert_eq!((mark.next_offset, mark.leader_epoch), (9, 8));
}

/// The same batch as a leader of this epoch has written it; the CRC does not cover the epoch.
fn under_epoch(epoch: i32, mut batch: Vec<u8>) -> Vec<u8> {
    batch[12..16].copy_from_slice(&epoch.to_be_bytes());
    batch
}

/// The same batch, whose last record, of a value of 8 bytes, claims to be longer than what is left.
fn malformed_at_its_end(mut batch: Vec<u8>) -> Vec<u8> {
    const LAST_RECORD_BYTES: usize = 15;
    let length_at = batch.len() - LAST_RECORD_BYTES;
    batch[length_at] = 0x7e;
    batch
}

#[test]
fn a_handler_that_fails_in_the_middle_of_a_batch_commits_nothing_that_it_was_not_given() {
    let mut rig = rig(4);
    rig.user().fails_after_done = Some(i64::MAX);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    rig.run();
    assert_eq!(rig.marks().last().map(|mark| mark.next_offset), Some(4));
}

#[test]
fn a_malformed_record_stops_the_watermark_although_the_handler_looked_at_nothing() {
    let mut rig = Rig::new(|settings| settings.check_crcs = false);
    rig.open(0, 1);
    rig.settle();
    rig.user().skips = true;
    let mut broken = batch(0, 10, 8);
    let len = broken.len();
    // The last record's length.
    broken[len - 15..].fill(0xff);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(0, 10, &[broken])]);
    rig.run();
    let failed = rig.events().into_iter().find_map(|event| match event {
        Event::Failed { error, .. } => Some(error.offset()),
        _ => None,
    });
    assert_eq!(failed, Some(9));
    assert_eq!(rig.marks().last().map(|mark| mark.next_offset), Some(9));
}

#[test]
fn a_wrong_crc_is_fetched_again_three_times_and_then_fails_the_lane() {
    let mut rig = rig(500);
    let mut corrupt = batch(0, 10, 8);
    *corrupt.last_mut().unwrap() ^= 1;
    let mut asked_anew = 0;
    for _ in 0..20 {
        let Some(fetch) = rig.brokers.fetches.pop_front() else { break };
        let is_anew = fetch.asks() == ["0@0"];
        asked_anew += u32::from(is_anew);
        rig.answer(&fetch, &if is_anew { vec![Answer::records(0, 10, &[corrupt.clone()])] } else { vec![] });
        rig.run();
    }
    assert_eq!(asked_anew, 4);
    assert!(rig.handled(0).is_empty());
    assert!(rig.events().iter().any(|event| matches!(event, Event::Failed { .. })));
    assert!(rig.marks().is_empty());
}

#[test]
fn a_batch_that_no_handler_gets_moves_the_watermark_only_if_its_crc_is_right() {
    let mut rig = rig(500);
    let first = rig.fetch();
    let mut corrupt = RecordBatchBuilder::new(0).last_offset(9).finish().unwrap();
    // The delta from the first to the last offset.
    corrupt[24] ^= 1;
    rig.answer(&first, &[Answer::records(0, 10, &[corrupt])]);
    rig.run();
    assert!(rig.marks().is_empty());
    rig.pass(SECOND);
    assert!(rig.brokers.fetches.iter().any(|asked| asked.asks() == ["0@0"]), "it is fetched again");
}

#[test]
fn a_lost_lane_hands_in_no_mark() {
    let mut rig = rig(500);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    rig.run();
    let deadline = rig.now;
    rig.command(Command::Close { lane: lane(0), reason: CloseReason::Lost, deadline });
    assert!(rig.events().iter().any(|event| matches!(event, Event::Closed { mark: None, .. })));
    assert!(rig.marks().is_empty(), "nor is it told on the way");
}
