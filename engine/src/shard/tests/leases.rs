//! What a shard hands out while its member's lease on the partitions is over: nothing.

use std::sync::Arc;

use super::blocked::reason;
use super::brokers::Answer;
use super::rig::{Rig, SECOND, Working, batch, lane};
use super::tasks::{gated, turn};
use crate::lease::Lease;
use crate::link::{CloseReason, Command, Event};
use crate::stats::BlockedBy;

/// Gives the rig's shard a lease of one second.
fn lend(rig: &mut Rig) -> Arc<Lease> {
    let lease = Arc::new(Lease::none(rig.now));
    lease.set(Some(rig.now + SECOND));
    rig.shard.lease = Arc::clone(&lease);
    lease
}

/// A rig with two partitions, four records of each fetched, two of which fit into a dispatch.
fn loaded() -> (Rig, Arc<Lease>) {
    let mut rig = Rig::new(|settings| settings.poll_records_max = 2);
    let lease = lend(&mut rig);
    rig.open(0, 1);
    rig.open(1, 1);
    rig.settle();
    let first = rig.fetch();
    let records = |partition| Answer::records(partition, 4, &[batch(0, 4, 8)]);
    rig.answer(&first, &[records(0), records(1)]);
    (rig, lease)
}

fn told(rig: &mut Rig) -> usize {
    rig.events().iter().filter(|event| matches!(event, Event::LeaseOver)).count()
}

#[test]
fn what_is_fetched_before_the_lease_is_over_is_not_handed_out_after_it_and_is_once_it_is_renewed() {
    let (mut rig, lease) = loaded();
    rig.now += SECOND;
    rig.run();
    assert!(rig.user().handled.is_empty(), "{:?}", rig.user().handled);
    assert_eq!(told(&mut rig), 1, "the control plane is told once, whatever the number of lanes");
    assert_eq!(reason(&mut rig, 0), Some(BlockedBy::Membership));
    lease.set(Some(rig.now + SECOND));
    rig.command(Command::LeaseRenewed);
    assert!(rig.shard.has_ready(), "its thread does not sleep on what it has withheld");
    rig.run();
    assert_eq!((rig.handled(0), rig.handled(1)), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    assert_eq!(told(&mut rig), 0);
}

#[test]
fn the_batch_in_hand_is_the_last_one_when_the_lease_ends_while_it_is_handled() {
    let (mut rig, _lease) = loaded();
    rig.user().takes.insert(0, SECOND);
    let clock = Working::new(&rig);
    assert!(rig.shard.dispatch(&clock));
    assert!(!rig.shard.dispatch(&clock));
    assert_eq!((rig.handled(0), rig.handled(1)), (vec![0, 1], vec![]));
    assert_eq!(rig.marked(), Some(2), "what was handled is told");
    assert!(!rig.shard.has_ready(), "its thread may sleep");
}

#[test]
fn a_lease_that_is_over_again_when_the_renewal_is_heard_of_is_asked_for_again() {
    let (mut rig, lease) = loaded();
    rig.now += SECOND;
    rig.run();
    assert_eq!(told(&mut rig), 1);
    lease.set(Some(rig.now + SECOND));
    rig.now += SECOND;
    rig.command(Command::LeaseRenewed);
    rig.run();
    assert!(rig.user().handled.is_empty());
    assert_eq!(told(&mut rig), 1);
}

#[test]
fn what_comes_while_the_lease_is_over_waits_with_the_rest_and_a_lane_that_is_taken_away_goes() {
    let (mut rig, lease) = loaded();
    rig.now += SECOND;
    rig.run();
    let next = rig.fetch();
    rig.answer(&next, &[Answer::records(0, 6, &[batch(4, 2, 8)])]);
    rig.run();
    assert!(rig.user().handled.is_empty());
    rig.close(1, CloseReason::Lost, SECOND);
    let events = rig.events();
    let is_closed = |event: &Event| matches!(event, Event::Closed { lane: of, .. } if *of == lane(1));
    assert!(events.iter().any(is_closed), "{events:?}");
    lease.set(Some(rig.now + SECOND));
    rig.command(Command::LeaseRenewed);
    rig.run();
    assert_eq!((rig.handled(0), rig.handled(1)), ((0..6).collect::<Vec<_>>(), vec![]));
}

#[test]
fn a_task_may_end_the_batch_in_its_hands_and_gets_no_other_before_the_lease_is_renewed() {
    let (mut rig, gate) = gated(|settings| settings.poll_records_max = 2);
    let lease = lend(&mut rig);
    rig.deliver(0, 0, 4);
    turn(&mut rig, &gate, 1);
    rig.now += SECOND;
    turn(&mut rig, &gate, 3);
    assert_eq!(rig.handled(0), [0, 1]);
    assert_eq!(rig.marked(), Some(2));
    assert_eq!(told(&mut rig), 1);
    lease.set(Some(rig.now + SECOND));
    rig.command(Command::LeaseRenewed);
    rig.run();
    turn(&mut rig, &gate, 1);
    assert_eq!(rig.handled(0), [0, 1, 2, 3]);
}
