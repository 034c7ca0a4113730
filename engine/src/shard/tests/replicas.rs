//! Lanes that are fetched from followers, as their leaders say, and from the leaders again.

use std::time::Duration;

use super::brokers::{Answer, Asked};
use super::rig::{Rig, SECOND, batch, lane};
use crate::link::{BrokerEndpoint, Command, Event, Leader};
use crate::shard::replica::LEADER_ONLY_TIME;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const FENCED_LEADER_EPOCH: i16 = 74;
/// After which leaders are asked anew.
const MAX_AGE: Duration = Duration::from_secs(300);

fn rig(partitions: i32) -> Rig {
    let mut rig = Rig::new(|settings| settings.metadata_max_age = MAX_AGE);
    (0..partitions).for_each(|partition| rig.open(partition, 1));
    rig.settle();
    rig
}

/// A rig whose lane 0 is fetched from broker 2, and the Fetch that waits there. The log ends at 5.
fn following() -> (Rig, Asked) {
    let mut rig = rig(1);
    let first = rig.fetch();
    rig.answer(&first, &[Answer::replica(0, 5, 2)]);
    let asked = rig.fetch();
    assert_eq!((asked.broker, asked.asks()), (2, vec!["0@0".to_owned()]));
    (rig, asked)
}

/// The next Fetch goes to the leader, which is to send the records itself.
fn assert_leader_only(rig: &mut Rig, asks: &[&str]) -> Asked {
    let asked = rig.fetch();
    assert_eq!((asked.broker, asked.rack()), (1, ""));
    assert_eq!(asked.asks(), asks);
    assert!(rig.brokers.fetches.is_empty());
    asked
}

#[test]
fn a_lane_goes_to_the_follower_that_its_leader_names_and_the_others_stay() {
    let mut rig = rig(2);
    let first = rig.fetch();
    assert_eq!((first.broker, first.rack()), (1, "here"));
    rig.answer(&first, &[Answer::replica(0, 5, 2), Answer::records(1, 3, &[batch(0, 3, 8)])]);
    let at_leader = rig.fetch();
    assert_eq!(
        (at_leader.broker, at_leader.asks(), at_leader.forgets()),
        (1, vec!["1@3".to_owned()], vec![0])
    );
    let at_follower = rig.fetch();
    assert_eq!((at_follower.broker, at_follower.asks()), (2, vec!["0@0".to_owned()]));
    rig.answer(&at_follower, &[Answer::records(0, 5, &[batch(0, 5, 8)])]);
    rig.run();
    assert_eq!((rig.handled(0), rig.handled(1)), ((0..5).collect(), (0..3).collect()));
    let again = rig.fetch();
    assert_eq!((again.broker, again.asks()), (2, vec!["0@5".to_owned()]), "it stays there");
}

#[test]
fn an_offset_that_a_follower_does_not_have_is_asked_of_the_leader_before_anything_is_reset() {
    let (mut rig, asked) = following();
    rig.answer(&asked, &[Answer::error(0, OFFSET_OUT_OF_RANGE)]);
    assert!(!rig.events().iter().any(|event| matches!(event, Event::OutOfRange { .. })));
    let asked = assert_leader_only(&mut rig, &["0@0"]);
    rig.answer(&asked, &[Answer::error(0, OFFSET_OUT_OF_RANGE)]);
    assert!(rig.events().iter().any(|event| matches!(event, Event::OutOfRange { offset: 0, .. })));
}

#[test]
fn a_log_that_departs_at_a_follower_is_asked_of_the_leader_before_it_counts_as_cut() {
    let (mut rig, asked) = following();
    rig.answer(&asked, &[Answer::records(0, 5, &[batch(0, 3, 8)])]);
    rig.run();
    let asked = rig.fetch();
    rig.answer(&asked, &[Answer { diverging: Some((0, 2)), ..Answer::empty(0, 2) }]);
    assert!(!rig.events().iter().any(|event| matches!(event, Event::Truncated { .. })));
    let asked = assert_leader_only(&mut rig, &["0@3"]);
    rig.answer(&asked, &[Answer::records(0, 5, &[batch(3, 2, 8)])]);
    rig.run();
    assert_eq!(rig.handled(0), (0..5).collect::<Vec<_>>());
}

#[test]
fn whatever_error_a_follower_has_the_leader_is_asked_at_once() {
    for error in [NOT_LEADER_OR_FOLLOWER, FENCED_LEADER_EPOCH, 29, 56, 75] {
        let (mut rig, asked) = following();
        rig.answer(&asked, &[Answer::error(0, error)]);
        assert_leader_only(&mut rig, &["0@0"]);
        assert!(!rig.events().iter().any(|event| matches!(event, Event::Failed { .. })), "error {error}");
    }
}

#[test]
fn a_follower_whose_connection_breaks_is_left_and_the_leader_is_told_the_rack_again_later() {
    let (mut rig, asked) = following();
    rig.break_off(asked.conn);
    let asked = assert_leader_only(&mut rig, &["0@0"]);
    assert!(
        !rig.events().iter().any(|event| matches!(event, Event::LeaderWanted { .. })),
        "nobody knows better"
    );
    rig.answer(&asked, &[Answer::replica(0, 5, 2)]);
    let asked = assert_leader_only(&mut rig, &[]);
    rig.answer(&asked, &[Answer::records(0, 5, &[batch(0, 5, 8)])]);
    rig.run();
    let parked = assert_leader_only(&mut rig, &["0@5"]);
    rig.pass(LEADER_ONLY_TIME);
    rig.answer(&parked, &[Answer::empty(0, 5)]);
    assert_eq!(rig.fetch().rack(), "here");
}

#[test]
fn a_follower_that_cannot_be_reached_is_tried_ever_more_rarely() {
    let mut rig = rig(1);
    rig.brokers.refusing.push(2);
    for doublings in 0..4 {
        let asked = rig.fetch();
        assert_eq!((asked.broker, asked.rack()), (1, "here"), "after {doublings} failures");
        rig.answer(&asked, &[Answer::replica(0, 5, 2)]);
        let time = LEADER_ONLY_TIME * (1 << doublings);
        let end = rig.now + time;
        while rig.now + SECOND < end {
            let asked = rig.fetch();
            assert_eq!((asked.broker, asked.rack()), (1, ""));
            rig.pass(SECOND);
            rig.answer(&asked, &[Answer::empty(0, 5)]);
        }
        let asked = rig.fetch();
        rig.pass(2 * SECOND);
        rig.answer(&asked, &[Answer::empty(0, 5)]);
    }
}

#[test]
fn a_leader_is_asked_anew_when_its_word_is_as_old_as_metadata_may_be() {
    let (mut rig, mut asked) = following();
    let step = 20 * SECOND;
    for _ in 0..MAX_AGE.as_secs() / 20 - 1 {
        rig.pass(step);
        rig.answer(&asked, &[Answer::empty(0, 5)]);
        asked = rig.fetch();
        assert_eq!(asked.broker, 2);
    }
    rig.pass(step);
    let at_leader = rig.fetch();
    assert_eq!((at_leader.broker, at_leader.asks(), at_leader.rack()), (1, vec!["0@0".to_owned()], "here"));
    // What the follower still sends is of an older fetch generation.
    rig.answer(&asked, &[Answer::records(0, 5, &[batch(0, 5, 8)])]);
    rig.run();
    assert!(rig.handled(0).is_empty());
    rig.answer(&at_leader, &[Answer::replica(0, 5, 3)]);
    assert_eq!(rig.fetch().broker, 3, "another is nearer by now");
}

#[test]
fn under_a_new_epoch_of_its_leader_a_lane_is_fetched_there_again() {
    let (mut rig, _) = following();
    let leader = Some(Leader { broker: 1, epoch: 1 });
    rig.command(Command::Leader { lane: lane(0), leader });
    let asked = rig.fetch();
    assert_eq!((asked.broker, asked.asks(), asked.rack()), (1, vec!["0@0".to_owned()], "here"));
}

#[test]
fn a_follower_that_leaves_the_cluster_is_left() {
    let (mut rig, _) = following();
    let leader = BrokerEndpoint {
        id: 1,
        name: "broker-1:9092".into(),
        addresses: [std::net::SocketAddr::from(([127, 0, 0, 1], 9001))].into(),
    };
    rig.command(Command::Brokers([leader].into()));
    assert_leader_only(&mut rig, &["0@0"]);
}

#[test]
fn a_follower_that_nobody_knows_or_that_is_the_leader_itself_is_not_gone_to() {
    let mut rig = rig(1);
    let asked = rig.fetch();
    rig.answer(&asked, &[Answer::replica(0, 5, 77)]);
    let asked = assert_leader_only(&mut rig, &[]);
    rig.answer(&asked, &[Answer::records(0, 5, &[batch(0, 5, 8)])]);
    let asked = assert_leader_only(&mut rig, &["0@5"]);
    rig.pass(LEADER_ONLY_TIME);
    rig.answer(&asked, &[Answer::replica(0, 5, 1)]);
    let asked = rig.fetch();
    assert_eq!((asked.broker, asked.rack()), (1, "here"));
}

#[test]
fn without_a_rack_of_its_own_a_shard_follows_nobody() {
    let mut rig = Rig::new(|settings| settings.rack.clear());
    rig.open(0, 1);
    rig.settle();
    let asked = rig.fetch();
    rig.answer(&asked, &[Answer::replica(0, 5, 2)]);
    assert_leader_only(&mut rig, &[]);
}

#[test]
fn a_follower_that_is_behind_its_leader_has_not_reached_the_end() {
    let (mut rig, asked) = following();
    let ends = |rig: &mut Rig| {
        let events = rig.events().into_iter();
        events.filter(|event| matches!(event, Event::EndReached { .. })).count()
    };
    rig.answer(&asked, &[Answer::records(0, 3, &[batch(0, 3, 8)])]);
    rig.run();
    assert_eq!((rig.handled(0), ends(&mut rig)), (vec![0, 1, 2], 0));
    let asked = rig.fetch();
    rig.answer(&asked, &[Answer::records(0, 5, &[batch(3, 2, 8)])]);
    rig.run();
    assert_eq!(ends(&mut rig), 1);
}

#[test]
fn a_batch_that_is_damaged_at_a_follower_is_fetched_from_the_leader() {
    let (mut rig, asked) = following();
    let whole = batch(0, 5, 8);
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    rig.answer(&asked, &[Answer::records(0, 5, &[damaged])]);
    rig.run();
    let _parked_at_follower = rig.fetch();
    let asked = assert_leader_only(&mut rig, &["0@0"]);
    rig.answer(&asked, &[Answer::records(0, 5, &[whole])]);
    rig.run();
    assert_eq!(rig.handled(0), (0..5).collect::<Vec<_>>());
}

#[test]
fn a_lane_that_is_closed_while_it_follows_is_closed_as_any() {
    let (mut rig, asked) = following();
    rig.close(0, crate::link::CloseReason::Revoked, SECOND);
    assert!(rig.events().iter().any(|event| matches!(event, Event::Closed { .. })));
    rig.answer(&asked, &[Answer::records(0, 5, &[batch(0, 5, 8)])]);
    rig.run();
    assert!(rig.handled(0).is_empty() && rig.brokers.fetches.is_empty());
}
