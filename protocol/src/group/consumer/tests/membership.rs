//! Joining, heartbeats, the session, and leaving.

use super::*;

#[test]
fn a_join_says_everything_and_later_heartbeats_only_what_has_changed() {
    let mut talk = Talk::new(ConsumerConfig {
        client_rack: Some("r".to_owned()),
        remote_assignor: Some("range".to_owned()),
        ..config()
    });
    let join = talk.request().unwrap();
    assert_eq!((join.member_epoch, join.member_id.len()), (0, 36), "{join:?}");
    assert!(is_full(&join));
    assert_eq!((join.server_assignor.as_deref(), join.rack_id.as_deref()), (Some("range"), Some("r")));
    assert_eq!(said(&join), Some(vec![]));
    talk.answer(good(1));
    assert_eq!(talk.request(), None, "there is nothing to say before the interval is over");
    talk.pass(INTERVAL);
    let next = talk.request().unwrap();
    assert_eq!((next.member_epoch, next.member_id.clone()), (1, join.member_id));
    assert_eq!(next.rebalance_timeout_ms, -1);
    assert_eq!(
        (next.subscribed_topic_names, next.topic_partitions, next.server_assignor, next.rack_id),
        (None, None, None, None)
    );
}

#[test]
fn a_pattern_is_said_with_the_join_and_what_it_is_resolved_to_later_is_owned_once_its_topics_have_names() {
    let mut talk = Talk::new(config());
    talk.group.subscribe([], Some(Arc::from("t|u")));
    let join = talk.request().unwrap();
    assert_eq!(
        (join.subscribed_topic_names, join.subscribed_topic_regex.as_deref()),
        (Some(vec![]), Some("t|u"))
    );
    // It is not resolved yet.
    talk.answer(assigning(1, &[]));
    talk.settle();
    assert_eq!(talk.news(), ["assigned  in 1"]);
    talk.pass(INTERVAL);
    assert_eq!(talk.request().unwrap().subscribed_topic_regex, None);
    talk.answer(assigning(2, &[(T, &[0]), (U, &[3])]));
    assert_eq!(talk.settle().len(), 0);
    assert_eq!(talk.news(), ["names of 2"]);
    talk.name_topics();
    talk.settle();
    assert_eq!(talk.news().last().map(String::as_str), Some("assigned t-0 u-3 in 2"));
}

#[test]
fn a_changed_subscription_is_said_at_once_and_alone() {
    let mut talk = Talk::joined(config());
    talk.group.subscribe([Arc::from("v")], Some(Arc::from("w.*")));
    let next = talk.request().unwrap();
    assert_eq!(next.subscribed_topic_names.map(|names| names.len()), Some(1));
    assert_eq!(next.subscribed_topic_regex.as_deref(), Some("w.*"));
    assert_eq!((next.rebalance_timeout_ms, next.topic_partitions), (-1, None));
    talk.answer(good(2));
    talk.group.subscribe([Arc::from("v")], None);
    let next = talk.request().unwrap();
    assert_eq!(next.subscribed_topic_regex.as_deref(), Some(""), "an empty pattern withdraws the former one");
}

#[test]
fn a_subscription_that_changes_while_a_heartbeat_is_in_flight_is_said_by_the_next_one() {
    let mut talk = Talk::joined(config());
    talk.pass(INTERVAL);
    assert_eq!(talk.request().unwrap().subscribed_topic_names, None);
    talk.group.subscribe([Arc::from("v")], None);
    assert_eq!(talk.request(), None, "one is in flight");
    talk.answer(good(1));
    assert!(talk.request().unwrap().subscribed_topic_names.is_some());
}

#[test]
fn a_broker_with_version_0_gives_the_member_its_id_which_is_kept() {
    let mut talk = Talk::new(config());
    talk.version = 0;
    let join = talk.request().unwrap();
    assert_eq!((join.member_id.as_str(), join.subscribed_topic_regex), ("", None));
    let answer = good(1).with_member_id(Some(StrBytes::from_static_str("given")));
    talk.answer(answer);
    assert_eq!(talk.group.member_id(), "given");
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(bad(ErrorCode::FENCED_MEMBER_EPOCH));
    talk.settle();
    talk.pass(INTERVAL);
    let again = talk.request().unwrap();
    assert_eq!((again.member_epoch, again.member_id.as_str()), (0, "given"));
}

#[test]
fn after_a_silence_everything_is_said_again_to_the_coordinator_that_is_found() {
    let mut talk = Talk::owning(config(), &[0, 1]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.group.on_disconnected(talk.now);
    assert_eq!(talk.request(), None, "not before the backoff is over");
    talk.pass(2 * Duration::from_secs(1));
    let again = talk.request().unwrap();
    assert_eq!(talk.asked_for_coordinator, 2);
    assert_eq!(again.member_epoch, 1);
    assert!(is_full(&again));
    assert_eq!(said(&again), Some(vec![(T, vec![0, 1])]));
    assert_eq!(talk.news(), [""; 0]);
}

#[test]
fn the_session_is_over_nine_intervals_after_the_sending_of_the_last_good_heartbeat() {
    let mut talk = Talk::owning(config(), &[0]);
    let proven_at = talk.now;
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.pass(40 * Duration::from_secs(1) - MS);
    assert_eq!(talk.request(), None);
    assert_eq!(talk.news(), [""; 0]);
    assert_eq!(talk.group.deadline(), Some(proven_at + INTERVAL * SESSION_INTERVALS));
    talk.pass(MS);
    talk.settle();
    assert_eq!(
        talk.news(),
        ["lost t-0: no heartbeat was answered for 45000 ms, after which others may own the partitions"]
    );
    assert_eq!(talk.group.epoch(), -1);
    talk.pass(INTERVAL);
    assert_eq!(talk.request().unwrap().member_epoch, 0);
}

#[test]
fn the_lease_lasts_a_session_from_the_sending_of_the_last_good_heartbeat_and_ends_with_the_membership() {
    let mut talk = Talk::new(config());
    assert_eq!(talk.group.lease_end(), None);
    talk.request().expect("a join");
    let sent_at = talk.now;
    talk.pass(MS * 300);
    talk.answer(assigning(1, &[(T, &[0])]));
    let session = INTERVAL * SESSION_INTERVALS;
    assert_eq!(talk.group.lease_end(), Some(sent_at + session));
    talk.settle();
    talk.name_topics();
    talk.request().expect("an acknowledgement");
    talk.pass(session * 2);
    // It was answered long ago, and this process has stood still: what comes first is the answer.
    let answered_at = talk.now;
    talk.answer(good(1));
    assert!(talk.group.lease_end().is_some_and(|end| end < answered_at), "what counts is when it was sent");
    talk.settle();
    assert_eq!(talk.news().last().map(|news| news.starts_with("lost t-0")), Some(true));
    assert_eq!(talk.group.lease_end(), None);
}

#[test]
fn the_session_is_never_counted_longer_than_the_shortest_that_brokers_grant_by_default() {
    let mut talk = Talk::new(config());
    talk.request().unwrap();
    talk.answer(good(1).with_heartbeat_interval_ms(15_000));
    assert_eq!(talk.group.session_end(), Some(talk.now + SESSION_MAX));
}

#[test]
fn the_interval_of_a_broker_is_kept_within_limits() {
    for (told_ms, kept_ms) in [(0, 50), (-7, 50), (1, 50), (700, 700), (i32::MAX, 30_000)] {
        let mut talk = Talk::new(config());
        talk.request().unwrap();
        talk.answer(good(1).with_heartbeat_interval_ms(told_ms));
        talk.settle();
        talk.pass(MS * kept_ms - MS);
        assert_eq!(talk.request(), None, "{told_ms}");
        talk.pass(MS);
        assert!(talk.request().is_some(), "{told_ms}");
    }
}

#[test]
fn a_member_gives_up_what_it_owns_and_leaves_with_the_epoch_of_its_kind() {
    use MembershipOperation::{Default, Leave, Remain};
    for (config, operation, epoch) in [
        (config(), Default, -1),
        (config(), Leave, -1),
        (static_config(), Default, -2),
        (static_config(), Remain, -2),
        (static_config(), Leave, -1),
    ] {
        let mut talk = Talk::owning(config, &[0, 1]);
        talk.group.leave_as(operation);
        talk.group.leave(talk.now);
        assert_eq!(talk.request(), None);
        assert_eq!(talk.news(), ["revoke t-0 t-1"]);
        talk.group.revoked(talk.now);
        assert_eq!(talk.request().unwrap().member_epoch, epoch);
        assert_eq!(talk.news(), [""; 0]);
        let answer = frame(&good(epoch));
        talk.group.on_response(GroupRequestKind::Leave, &answer, talk.now).unwrap();
        talk.settle();
        assert_eq!(talk.news(), ["left"]);
    }
}

#[test]
fn a_dynamic_member_that_remains_goes_without_a_word() {
    let mut talk = Talk::owning(config(), &[0]);
    talk.group.leave_as(MembershipOperation::Remain);
    talk.group.leave(talk.now);
    talk.settle();
    talk.group.revoked(talk.now);
    assert_eq!(talk.request(), None);
    assert_eq!(talk.news(), ["revoke t-0", "left"]);
}

#[test]
fn a_member_that_was_never_heard_of_leaves_without_a_word() {
    let mut talk = Talk::new(config());
    talk.group.leave(talk.now);
    assert_eq!(talk.request(), None);
    assert_eq!(talk.news(), ["left"]);
}

#[test]
fn a_member_whose_join_may_have_arrived_says_that_it_leaves() {
    let mut talk = Talk::new(config());
    talk.request().unwrap();
    talk.group.leave(talk.now);
    assert_eq!(talk.request().unwrap().member_epoch, -1);
    talk.answer(good(1));
    assert_eq!(talk.group.epoch(), -1, "the answer to the join comes too late");
}

#[test]
fn a_leave_that_nobody_answers_ends_by_itself() {
    let mut talk = Talk::joined(config());
    talk.group.leave(talk.now);
    talk.request().unwrap();
    talk.pass(Duration::from_secs(30));
    talk.settle();
    assert_eq!(talk.news(), ["left"]);
    assert_eq!(talk.group.deadline(), None);
}

#[test]
fn a_batch_that_takes_too_long_costs_the_partitions_and_the_member_joins_again_when_started() {
    let mut talk = Talk::owning(config(), &[0]);
    let member_id = talk.group.member_id().to_owned();
    talk.group.poll_interval_exceeded("t-0", talk.now);
    assert_eq!(talk.request().unwrap().member_epoch, -1);
    assert_eq!(talk.news(), ["lost t-0: t-0 took longer than max.poll.interval.ms"]);
    let answer = frame(&good(-1));
    talk.group.on_response(GroupRequestKind::Leave, &answer, talk.now).unwrap();
    talk.settle();
    talk.group.start();
    let join = talk.request().unwrap();
    assert_eq!((join.member_epoch, join.member_id.as_str()), (0, member_id.as_str()));
    assert!(is_full(&join));
}

#[test]
fn a_malformed_answer_is_an_error_and_a_lost_connection() {
    let mut talk = Talk::owning(config(), &[0]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    let cut = frame(&good(1)).slice(..9);
    assert!(talk.group.on_response(GroupRequestKind::Heartbeat, &cut, talk.now).is_err());
    talk.pass(INTERVAL);
    assert!(is_full(&talk.request().unwrap()));
    assert_eq!(talk.asked_for_coordinator, 2);
    assert_eq!(talk.news(), [""; 0]);
}

#[test]
fn a_good_answer_with_an_epoch_that_no_member_has_is_not_relied_on() {
    let mut talk = Talk::owning(config(), &[0]);
    for epoch in [0, -1, i32::MIN] {
        talk.pass(INTERVAL);
        talk.request().unwrap();
        talk.answer(assigning(epoch, &[]));
        talk.settle();
        assert_eq!((talk.group.epoch(), talk.news()), (1, vec![]));
    }
}
