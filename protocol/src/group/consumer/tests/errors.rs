//! Every error that a coordinator answers with.

use super::*;

fn beaten() -> Talk {
    let mut talk = Talk::owning(config(), &[0, 1]);
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk
}

#[test]
fn a_member_that_is_put_out_loses_its_partitions_and_joins_again_under_its_id() {
    for code in [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID] {
        let mut talk = beaten();
        let member_id = talk.group.member_id().to_owned();
        talk.answer(bad(code));
        assert_eq!(talk.request(), None, "not before the backoff is over");
        assert_eq!(talk.news(), [format!("lost t-0 t-1: the coordinator answered {code}")]);
        assert_eq!((talk.group.epoch(), talk.group.is_joining()), (-1, true));
        talk.pass(INTERVAL);
        let join = talk.request().unwrap();
        assert_eq!((join.member_epoch, join.member_id.as_str()), (0, member_id.as_str()));
        assert!(is_full(&join));
        assert_eq!(said(&join), Some(vec![]));
        assert_eq!(talk.asked_for_coordinator, 1);
    }
}

#[test]
fn a_member_that_is_put_out_while_it_gives_partitions_up_has_lost_them_all() {
    let mut talk = beaten();
    talk.answer(assigning(2, &[(T, &[0])]));
    talk.settle();
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.news.clear();
    talk.answer(bad(ErrorCode::FENCED_MEMBER_EPOCH));
    talk.group.revoked(talk.now);
    talk.settle();
    assert_eq!(talk.news().len(), 1);
    assert!(talk.group.owned().is_empty() && talk.group.is_joining());
}

#[test]
fn a_member_that_is_put_out_while_it_leaves_is_out() {
    let mut talk = beaten();
    talk.group.leave(talk.now);
    talk.settle();
    talk.news.clear();
    talk.answer(bad(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(talk.request(), None);
    assert_eq!(talk.news().last().map(String::as_str), Some("left"));
}

#[test]
fn a_coordinator_that_has_moved_is_looked_for_and_partitions_are_kept() {
    for code in [ErrorCode::NOT_COORDINATOR, ErrorCode::COORDINATOR_NOT_AVAILABLE] {
        let mut talk = beaten();
        talk.answer(bad(code));
        assert_eq!(talk.request(), None, "not before the backoff is over");
        talk.pass(INTERVAL);
        let again = talk.request().unwrap();
        assert_eq!((talk.asked_for_coordinator, again.member_epoch), (2, 1));
        assert!(is_full(&again));
        assert_eq!(talk.news(), [""; 0]);
    }
}

#[test]
fn what_passes_is_waited_out_with_the_same_coordinator() {
    for code in [ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, ErrorCode::REQUEST_TIMED_OUT] {
        let mut talk = beaten();
        talk.answer(bad(code));
        assert_eq!(talk.request(), None, "not before the backoff is over");
        talk.pass(INTERVAL);
        assert!(is_full(&talk.request().unwrap()));
        assert_eq!((talk.asked_for_coordinator, talk.news()), (1, vec![]));
    }
}

#[test]
fn what_does_not_pass_ends_the_membership_with_words_for_a_person() {
    for (code, words) in [
        (ErrorCode::UNSUPPORTED_VERSION, "group.version is off"),
        (ErrorCode::UNSUPPORTED_ASSIGNOR, "group.consumer.assignors"),
        (ErrorCode::UNRELEASED_INSTANCE_ID, "wait until its session is over"),
        (ErrorCode::FENCED_INSTANCE_ID, "a group.instance.id of its own"),
        (ErrorCode::GROUP_MAX_SIZE_REACHED, "group.consumer.max.size"),
        (ErrorCode::INVALID_REGULAR_EXPRESSION, "RE2"),
        (ErrorCode::GROUP_ID_NOT_FOUND, "a group of another kind"),
        (ErrorCode::INVALID_REQUEST, "report it as a bug"),
        (ErrorCode::GROUP_AUTHORIZATION_FAILED, "grant it READ"),
        (ErrorCode::TOPIC_AUTHORIZATION_FAILED, "grant it READ"),
        (ErrorCode(12_345), "UNKNOWN (12345)"),
    ] {
        let mut talk = beaten();
        talk.answer(bad(code).with_error_message(Some(StrBytes::from_static_str("because"))));
        talk.settle();
        let news = talk.news();
        assert!(news[0].starts_with("lost t-0 t-1"), "{news:?}");
        let fatal = news.last().unwrap();
        assert!(fatal.starts_with("fatal group g: "), "{fatal}");
        assert!(fatal.contains(words) && fatal.contains(code.name()), "{fatal}");
        assert!(fatal.ends_with("(the broker says: because)"), "{fatal}");
        talk.pass(INTERVAL * 100);
        assert_eq!((talk.request(), talk.group.deadline()), (None, None));
    }
}

#[test]
fn a_static_member_that_finds_its_instance_id_taken_at_once_ends() {
    let mut talk = Talk::new(static_config());
    talk.request().unwrap();
    talk.answer(bad(ErrorCode::UNRELEASED_INSTANCE_ID));
    talk.settle();
    let fatal = talk.news().pop().unwrap();
    assert!(fatal.contains("stop the member that has the instance id"), "{fatal}");
}

#[test]
fn a_static_member_waits_for_the_end_of_a_join_of_its_own_that_went_unanswered() {
    let mut talk = Talk::new(static_config());
    talk.request().unwrap();
    talk.group.on_disconnected(talk.now);
    for _ in 0..5 {
        talk.pass(INTERVAL);
        assert_eq!(talk.request().unwrap().member_epoch, 0);
        talk.answer(bad(ErrorCode::UNRELEASED_INSTANCE_ID));
    }
    talk.pass(INTERVAL);
    talk.request().unwrap();
    talk.answer(assigning(3, &[]));
    talk.settle();
    assert_eq!((talk.group.epoch(), talk.news()), (3, vec!["assigned  in 3".to_owned()]));
}

#[test]
fn a_static_member_waits_for_the_end_of_a_membership_that_it_counts_as_lost() {
    let mut talk = Talk::owning(static_config(), &[0]);
    talk.pass(INTERVAL * SESSION_INTERVALS);
    talk.settle();
    assert_eq!(talk.news().len(), 1, "it counts its session as over");
    talk.pass(INTERVAL);
    assert_eq!(talk.request().unwrap().member_epoch, 0);
    talk.answer(bad(ErrorCode::UNRELEASED_INSTANCE_ID));
    talk.settle();
    assert_eq!(talk.news(), [""; 0]);
    talk.pass(INTERVAL);
    assert_eq!(talk.request().unwrap().member_epoch, 0);
}

#[test]
fn a_static_member_does_not_wait_for_ever_for_what_is_somebody_elses() {
    let mut talk = Talk::owning(static_config(), &[0]);
    talk.pass(INTERVAL * SESSION_INTERVALS);
    talk.settle();
    talk.pass(INTERVAL);
    let mut waited = Duration::ZERO;
    while talk.request().is_some() {
        talk.answer(bad(ErrorCode::UNRELEASED_INSTANCE_ID));
        talk.pass(INTERVAL);
        waited += INTERVAL;
        assert!(waited < SESSION_MAX * 3);
    }
    assert!(waited >= SESSION_MAX, "{waited:?}");
    let fatal = talk.news().pop().unwrap();
    assert!(fatal.contains("stop the member that has the instance id"), "{fatal}");
}

#[test]
fn what_a_broker_says_is_cut() {
    let mut talk = beaten();
    talk.answer(bad(ErrorCode::INVALID_REQUEST).with_error_message(Some(text(&"x".repeat(10_000)))));
    talk.settle();
    let fatal = talk.news().pop().unwrap();
    assert!(fatal.len() < 1_000 && fatal.contains(&"x".repeat(500)), "{fatal}");
}

#[test]
fn a_broker_without_the_protocol_is_named_as_such() {
    let mut talk = Talk::new(config());
    assert!(matches!(talk.group.poll(talk.now), Some(GroupAction::NeedCoordinator)));
    talk.group.coordinator_known(&VersionTable::new([]));
    talk.settle();
    let fatal = talk.news().pop().unwrap();
    assert!(fatal.contains("use group.protocol=classic"), "{fatal}");
}

#[test]
fn a_pattern_needs_version_1() {
    let mut talk = Talk::new(config());
    talk.version = 0;
    talk.group.subscribe([], Some(Arc::from("a.*")));
    talk.settle();
    let fatal = talk.news().pop().unwrap();
    assert!(fatal.contains("version 1 for a pattern") && fatal.contains("version 0"), "{fatal}");
}

#[test]
fn a_coordinator_that_cannot_be_found_for_good_ends_the_membership() {
    let mut talk = beaten();
    talk.group.coordinator_failed(ErrorCode::GROUP_AUTHORIZATION_FAILED);
    talk.settle();
    let fatal = talk.news().pop().unwrap();
    assert!(fatal.contains("the coordinator cannot be found"), "{fatal}");
}

#[test]
fn a_coordinator_that_gives_ids_and_gave_none_has_let_nobody_in() {
    let mut talk = Talk::new(config());
    talk.version = 0;
    assert_eq!(talk.request().unwrap().member_id.as_str(), "", "such a coordinator gives one");
    talk.answer(assigning(1, &[]));
    assert_eq!((talk.group.epoch(), talk.group.is_joining()), (-1, true));
    talk.settle();
    talk.pass(INTERVAL);
    assert_eq!(talk.request().unwrap().member_epoch, 0, "it joins again");
    talk.answer(assigning(1, &[]).with_member_id(Some(text("m"))));
    assert_eq!((talk.group.epoch(), talk.group.member_id()), (1, "m"));
    talk.settle();
    assert_eq!(talk.news(), ["assigned  in 1"]);
}
