//! What was read before under another leader, where a Fetch cannot tell whether the new one has it.

use millstream_protocol::record::RecordBatchBuilder;

use super::blocked::reason;
use super::brokers::{Answer, Asked};
use super::rig::{Rig, SECOND, filled, lane};
use crate::link::{Command, Event, Leader};
use crate::stats::BlockedBy;

const FENCED_LEADER_EPOCH: i16 = 74;

/// A shard whose brokers are old, and whose lane 0 has read five records under leader 1 and its epoch 3.
fn behind_five() -> (Rig, Asked) {
    let mut rig = Rig::new(|_| {});
    rig.brokers.are_old = true;
    rig.open_with(0, 1, |open| open.leader = Some(Leader { broker: 1, epoch: 3 }));
    rig.settle();
    let first = rig.fetch();
    rig.answer(&first, &[read(0, 5)]);
    rig.run();
    assert_eq!(rig.handled(0).len(), 5);
    let parked = rig.fetch();
    (rig, parked)
}

/// So many records from this offset on, written under epoch 3.
fn read(base_offset: i64, count: usize) -> Answer {
    let records = filled(RecordBatchBuilder::new(base_offset).partition_leader_epoch(3), count, 8);
    Answer::records(0, base_offset + count as i64, &[records])
}

fn lead(rig: &mut Rig, broker: i32, epoch: i32) {
    rig.command(Command::Leader { lane: lane(0), leader: Some(Leader { broker, epoch }) });
}

/// The offsets and epochs that the control plane is to ask about.
fn checks(rig: &mut Rig) -> Vec<(i64, i32)> {
    let wanted = |event| match event {
        Event::CheckWanted { offset, epoch, .. } => Some((offset, epoch)),
        _ => None,
    };
    rig.events().into_iter().filter_map(wanted).collect()
}

#[test]
fn under_a_new_leader_nothing_is_fetched_before_what_was_read_is_known_to_be_there() {
    let (mut rig, _) = behind_five();
    lead(&mut rig, 2, 4);
    assert_eq!(checks(&mut rig), [(5, 3)]);
    assert!(rig.brokers.fetches.is_empty());
    assert_eq!(reason(&mut rig, 0), Some(BlockedBy::Validation));
    rig.command(Command::Checked { lane: lane(0), check: 1 });
    let asked = rig.fetch();
    assert_eq!((asked.broker, asked.asks()), (2, vec!["0@5".to_owned()]));
}

#[test]
fn what_a_former_leader_has_answered_says_nothing_of_the_new_one() {
    let (mut rig, _) = behind_five();
    lead(&mut rig, 2, 4);
    assert_eq!(checks(&mut rig), [(5, 3)]);
    lead(&mut rig, 3, 5);
    assert_eq!(checks(&mut rig), [(5, 3)]);
    rig.command(Command::Checked { lane: lane(0), check: 1 });
    assert!(rig.brokers.fetches.is_empty());
    rig.command(Command::Checked { lane: lane(0), check: 2 });
    assert_eq!(rig.fetch().broker, 3);
}

#[test]
fn a_leader_under_a_new_epoch_is_asked_too_and_one_that_is_only_confirmed_is_not() {
    let (mut rig, parked) = behind_five();
    rig.answer(&parked, &[Answer::error(0, FENCED_LEADER_EPOCH)]);
    lead(&mut rig, 1, 3);
    rig.pass(SECOND);
    assert_eq!(checks(&mut rig), []);
    let asked = rig.fetch();
    rig.answer(&asked, &[Answer::error(0, FENCED_LEADER_EPOCH)]);
    lead(&mut rig, 1, 4);
    rig.pass(SECOND);
    assert_eq!(checks(&mut rig), [(5, 3)]);
    assert!(rig.brokers.fetches.is_empty());
}

#[test]
fn what_is_fetched_is_handled_before_the_new_leader_is_asked() {
    let (mut rig, parked) = behind_five();
    rig.command(Command::Pause(lane(0)));
    rig.answer(&parked, &[read(5, 4)]);
    lead(&mut rig, 2, 4);
    rig.pass(5 * SECOND);
    assert_eq!(checks(&mut rig), []);
    rig.command(Command::Resume(lane(0)));
    rig.run();
    assert_eq!(rig.handled(0).len(), 9);
    rig.pass(SECOND);
    assert_eq!(checks(&mut rig), [(9, 3)]);
}

#[test]
fn a_cut_log_is_answered_by_a_seek_which_is_checked_in_its_turn() {
    let (mut rig, _) = behind_five();
    lead(&mut rig, 2, 4);
    assert_eq!(checks(&mut rig), [(5, 3)]);
    rig.command(Command::Seek { lane: lane(0), seek: 1, offset: 3, leader_epoch: 3 });
    assert_eq!(checks(&mut rig), [(3, 3)]);
    rig.command(Command::Checked { lane: lane(0), check: 1 });
    assert!(rig.brokers.fetches.is_empty(), "that was about another offset");
    rig.command(Command::Checked { lane: lane(0), check: 2 });
    assert_eq!(rig.fetch().asks(), ["0@3"]);
}

#[test]
fn an_offset_without_an_epoch_before_it_needs_no_check() {
    let (mut rig, _) = behind_five();
    rig.seek(0, 1, 2);
    rig.pass(SECOND);
    assert_eq!(rig.fetch().asks(), ["0@2"]);
    lead(&mut rig, 2, 4);
    assert_eq!(checks(&mut rig), []);
    assert_eq!(rig.fetch().asks(), ["0@2"]);
}

#[test]
fn a_leader_that_tells_by_itself_is_not_asked() {
    let (mut rig, _) = behind_five();
    rig.brokers.are_old = false;
    lead(&mut rig, 2, 4);
    assert_eq!(checks(&mut rig), []);
    let asked = rig.fetch();
    assert_eq!((asked.broker, asked.fetched_epochs()), (2, vec![(0, 3)]));
}
