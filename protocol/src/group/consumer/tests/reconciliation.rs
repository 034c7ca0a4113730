//! From what is owned to what is to be owned.

use super::*;

#[test]
fn what_is_assigned_is_taken_and_acknowledged_at_once() {
    let mut talk = Talk::new(config());
    talk.request().unwrap();
    talk.answer(assigning(3, &[(T, &[1, 0]), (U, &[2])]));
    assert_eq!(talk.request(), None);
    assert_eq!(talk.news(), ["names of 2", "assigned  in 3"]);
    talk.name_topics();
    let ack = talk.request().unwrap();
    assert_eq!(talk.news(), ["names of 0", "assigned t-0 t-1 u-2 in 3"]);
    assert_eq!(said(&ack), Some(vec![(T, vec![0, 1]), (U, vec![2])]));
    assert_eq!((ack.subscribed_topic_names, ack.rebalance_timeout_ms), (None, -1));
    talk.answer(good(4));
    assert_eq!((talk.request(), talk.group.epoch()), (None, 4));
}

#[test]
fn a_member_without_partitions_is_told_so() {
    let mut talk = Talk::new(config());
    talk.request().unwrap();
    talk.answer(assigning(1, &[]));
    assert_eq!(talk.request(), None, "there is nothing to acknowledge");
    assert_eq!(talk.news(), ["assigned  in 1"]);
}

#[test]
fn only_what_leaves_is_given_up_and_only_then_is_it_acknowledged_and_what_is_new_taken() {
    let mut talk = Talk::owning(config(), &[0, 1, 2]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(2, &[(T, &[0]), (U, &[5])]));
    assert_eq!(talk.request(), None, "what is not given up is not said to be");
    assert_eq!(talk.news(), ["revoke t-1 t-2"]);
    talk.pass(INTERVAL);
    let meanwhile = talk.request().unwrap();
    assert_eq!((meanwhile.member_epoch, said(&meanwhile)), (2, None), "heartbeats go on");
    talk.answer(good(2));
    talk.group.revoked(talk.now);
    talk.name_topics();
    let ack = talk.request().unwrap();
    assert_eq!(said(&ack), Some(vec![(T, vec![0]), (U, vec![5])]));
    assert_eq!(talk.news(), ["names of 1", "assigned t-0 in 2", "names of 0", "assigned t-0 u-5 in 2"]);
}

#[test]
fn a_target_that_changes_while_partitions_are_given_up_counts_when_they_are() {
    let mut talk = Talk::owning(config(), &[0, 1]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(2, &[(T, &[0])]));
    talk.settle();
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(3, &[(T, &[0, 1, 2])]));
    talk.settle();
    assert_eq!(talk.news(), ["revoke t-1"]);
    talk.group.revoked(talk.now);
    let ack = talk.request().unwrap();
    assert_eq!(talk.news(), ["assigned t-0 t-1 t-2 in 3"]);
    assert_eq!(said(&ack), Some(vec![(T, vec![0, 1, 2])]));
}

#[test]
fn topics_without_a_name_wait_and_hold_nothing_else_up() {
    let mut talk = Talk::owning(config(), &[0]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(2, &[(T, &[0, 1]), (U, &[0])]));
    let ack = talk.request().unwrap();
    assert_eq!(talk.news(), ["names of 1", "assigned t-0 t-1 in 2"]);
    assert_eq!(said(&ack), Some(vec![(T, vec![0, 1])]));
    talk.answer(good(2));
    // Named in vain, and withdrawn.
    talk.group.set_topic_names([([9; 16], &Arc::from("x"))]);
    assert_eq!(talk.request(), None);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(3, &[(T, &[0, 1])]));
    talk.settle();
    assert_eq!(talk.news(), ["names of 0"]);
}

#[test]
fn a_topic_that_was_created_again_is_given_up_before_it_is_taken() {
    let mut talk = Talk::owning(config(), &[0]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(2, &[(U, &[0])]));
    talk.settle();
    assert_eq!(talk.news(), ["revoke t-0"]);
    talk.group.revoked(talk.now);
    talk.group.set_topic_names([(U, &Arc::from("t"))]);
    let ack = talk.request().unwrap();
    assert_eq!(said(&ack), Some(vec![(U, vec![0])]));
    assert_eq!(talk.news().last().map(String::as_str), Some("assigned t-0 in 2"));
}

#[test]
fn of_two_topics_with_one_name_a_partition_is_taken_once() {
    let mut talk = Talk::owning(config(), &[0]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(2, &[(T, &[0]), (U, &[0, 1])]));
    talk.settle();
    talk.group.set_topic_names([(U, &Arc::from("t"))]);
    let ack = talk.request().unwrap();
    assert_eq!(said(&ack), Some(vec![(T, vec![0]), (U, vec![1])]));
    assert_eq!(talk.news().last().map(String::as_str), Some("assigned t-0 t-1 in 2"));
    talk.answer(assigning(3, &[(U, &[0, 1])]));
    talk.settle();
    talk.group.revoked(talk.now);
    assert_eq!(said(&talk.request().unwrap()), Some(vec![(U, vec![0, 1])]));
    assert_eq!(talk.news(), ["revoke t-0", "assigned t-0 t-1 in 3"]);
}

#[test]
fn partitions_below_zero_are_none() {
    let mut talk = Talk::owning(config(), &[0]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(2, &[(T, &[-1, 0, i32::MIN])]));
    assert_eq!(talk.request(), None);
    assert_eq!(talk.news(), [""; 0]);
}

#[test]
fn everything_said_again_while_partitions_are_given_up_names_those_too() {
    let mut talk = Talk::owning(config(), &[0, 1]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(2, &[(T, &[0])]));
    talk.settle();
    talk.group.on_disconnected(talk.now);
    talk.pass(INTERVAL);
    let again = talk.request().unwrap();
    assert_eq!(said(&again), Some(vec![(T, vec![0, 1])]), "they are still owned");
    assert_eq!(again.member_epoch, 2);
}

/// A member that owns partitions 0 and 1, has three intervals for giving something up, and is told to give up 1; and
/// when those are over.
fn told_to_give_up() -> (Talk, Instant) {
    let patience = INTERVAL * 3;
    let mut talk = Talk::owning(ConsumerConfig { rebalance_timeout: patience, ..config() }, &[0, 1]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    let until = talk.now + patience;
    talk.pass(MS);
    talk.answer(assigning(2, &[(T, &[0])]));
    talk.settle();
    assert_eq!(talk.news(), ["revoke t-1"]);
    (talk, until)
}

#[test]
fn a_member_that_is_late_in_giving_up_loses_everything_and_leaves_before_it_is_put_out() {
    let (mut talk, until) = told_to_give_up();
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(good(2));
    assert_eq!(talk.group.lease_end(), Some(until), "heartbeats make that no longer");
    talk.now = until - MS;
    talk.request().unwrap();
    talk.answer(good(2));
    talk.settle();
    assert_eq!((talk.news(), talk.group.deadline()), (vec![], Some(until)));
    talk.now = until;
    assert_eq!(talk.request().unwrap().member_epoch, -1);
    let reason = "what was to be given up was not within max.poll.interval.ms (15000 ms)";
    assert_eq!(talk.news(), [format!("lost t-0 t-1: {reason}")]);
}

#[test]
fn partitions_are_given_up_in_time_when_the_coordinator_has_heard_of_it() {
    let (mut talk, until) = told_to_give_up();
    talk.pass(INTERVAL);
    talk.group.revoked(talk.now);
    talk.request().unwrap();
    assert_eq!(talk.group.lease_end(), Some(until), "it is not heard yet");
    let heard = talk.now;
    talk.answer(good(3));
    assert_eq!(talk.group.lease_end(), Some(heard + INTERVAL * SESSION_INTERVALS));
    talk.now = until;
    talk.request().unwrap();
    assert_eq!(talk.news().last().map(String::as_str), Some("assigned t-0 in 2"));
}

#[test]
fn the_time_for_giving_up_begins_with_the_first_request_whose_answer_may_have_said_so() {
    let patience = INTERVAL * 3;
    let mut talk = Talk::owning(ConsumerConfig { rebalance_timeout: patience, ..config() }, &[0, 1]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    let first = talk.now;
    talk.group.on_disconnected(talk.now);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(2, &[(T, &[0])]));
    assert_eq!(talk.group.lease_end(), Some(first + patience));
}
