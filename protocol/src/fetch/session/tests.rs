//! The session against a model of a broker's side, and each rule by itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::{FetchRequest, RequestHeader};
use kafka_protocol::protocol::Decodable;

use super::super::request::IsolationLevel;
use super::*;

const OPTIONS: FetchOptions<'static> = FetchOptions {
    max_wait_ms: 500,
    min_bytes: 1,
    max_bytes: 1 << 20,
    isolation: IsolationLevel::ReadUncommitted,
    client_id: "client",
    rack: "",
};

const NEWEST: i16 = FETCH_MAX_VERSION;

fn partition(topic: &str, id: u8, index: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        topic: topic.into(),
        topic_id: [id; 16],
        partition: index,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: 1000,
    }
}

fn send(session: &mut FetchSession, version: i16) -> FetchRequest {
    let mut frame = Vec::new();
    session.build(version, &OPTIONS, 1, &mut frame).unwrap();
    read(frame, version)
}

fn read(frame: Vec<u8>, version: i16) -> FetchRequest {
    let mut frame = Bytes::from(frame).slice(4..);
    RequestHeader::decode(&mut frame, if version >= 12 { 2 } else { 1 }).unwrap();
    let request = FetchRequest::decode(&mut frame, version).unwrap();
    assert!(frame.is_empty());
    request
}

/// Topic (name, or first byte of its id), index.
type Key = (String, i32);

fn key(name: &str, id: uuid::Uuid, index: i32) -> Key {
    (if id.is_nil() { name.to_owned() } else { id.as_bytes()[0].to_string() }, index)
}

/// The partitions of a request with their offsets, in order.
fn asked(request: &FetchRequest) -> Vec<(Key, i64)> {
    let topics = request.topics.iter();
    let all = topics.flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
    all.map(|(topic, partition)| {
        (key(&topic.topic, topic.topic_id, partition.partition), partition.fetch_offset)
    })
    .collect()
}

fn forgotten(request: &FetchRequest) -> Vec<Key> {
    let topics = request.forgotten_topics_data.iter();
    let all = topics.flat_map(|topic| topic.partitions.iter().map(move |index| (topic, *index)));
    all.map(|(topic, index)| key(&topic.topic, topic.topic_id, index)).collect()
}

fn indexes(request: &FetchRequest) -> Vec<i32> {
    asked(request).into_iter().map(|((_, index), _)| index).collect()
}

#[test]
fn a_session_opens_full_and_then_sends_only_changes() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 1, 0, 0));
    session.set(1, partition("t", 1, 1, 0));
    let request = send(&mut session, NEWEST);
    assert_eq!((request.session_id, request.session_epoch), (0, 0));
    assert_eq!(indexes(&request), [0, 1]);
    assert_eq!(session.on_response(0, 55), SessionOutcome::Opened);

    session.advance(1, 10, 3);
    session.set(0, partition("t", 1, 0, 0));
    let request = send(&mut session, NEWEST);
    assert_eq!((request.session_id, request.session_epoch), (55, 1));
    assert_eq!(asked(&request), [(("1".to_owned(), 1), 10)], "the unchanged one is not repeated");
    assert_eq!(session.on_response(0, 55), SessionOutcome::Continued);

    let request = send(&mut session, NEWEST);
    assert_eq!((request.session_epoch, request.topics.len()), (2, 0));
}

#[test]
fn a_second_request_waits_for_the_first_answer() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 1, 0, 0));
    send(&mut session, NEWEST);
    let mut out = Vec::new();
    assert_eq!(session.build(NEWEST, &OPTIONS, 2, &mut out), Err(FetchRequestError::InFlight));
    assert!(out.is_empty() && session.is_in_flight());
}

#[test]
fn what_is_wanted_and_what_is_under_way_can_be_asked_for() {
    let mut session = FetchSession::new();
    assert_eq!(
        (session.len(), session.is_empty(), session.is_in_flight(), session.id()),
        (0, true, false, 0)
    );
    session.set(0, partition("t", 1, 0, 0));
    session.set(1, partition("t", 1, 1, 0));
    assert_eq!((session.len(), session.is_empty(), session.is_in_flight()), (2, false, false));
    send(&mut session, NEWEST);
    assert!(session.is_in_flight() && !session.has_changes());
    session.on_response(0, 55);
    assert_eq!((session.is_in_flight(), session.id()), (false, 55));
    session.advance(0, 5, 0);
    assert!(session.has_changes(), "changed, and nothing forgotten");
    send(&mut session, NEWEST);
    session.on_response(0, 55);
    session.forget(1);
    assert!(session.has_changes(), "forgotten, and nothing changed");
}

#[test]
fn a_version_without_sessions_is_asked_for_everything_and_the_first_with_them_for_changes() {
    for (version, again) in
        [(FETCH_FIRST_VERSION_WITH_SESSIONS - 1, 1), (FETCH_FIRST_VERSION_WITH_SESSIONS, 0)]
    {
        let mut session = FetchSession::new();
        session.set(0, partition("t", 1, 0, 0));
        send(&mut session, FETCH_FIRST_VERSION_WITH_SESSIONS);
        session.on_response(0, 55);
        assert_eq!(send(&mut session, version).topics.len(), again, "version {version}");
    }
}

#[test]
fn a_change_during_a_request_goes_with_the_next() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 1, 0, 0));
    session.set(1, partition("t", 1, 1, 0));
    send(&mut session, NEWEST);
    session.advance(0, 5, 0);
    session.forget(1);
    assert!(session.has_changes());
    session.on_response(0, 55);
    let request = send(&mut session, NEWEST);
    assert_eq!(asked(&request), [(("1".to_owned(), 0), 5)]);
    assert_eq!(forgotten(&request), [("1".to_owned(), 1)]);
    assert!(!session.has_changes());
}

#[test]
fn a_partition_forgotten_and_wanted_again_is_sent_and_not_forgotten() {
    for version in [12, NEWEST] {
        let mut session = FetchSession::new();
        session.set(0, partition("t", 1, 0, 0));
        send(&mut session, version);
        session.on_response(0, 55);
        session.forget(0);
        session.set(4, partition("t", 1, 0, 9));
        let request = send(&mut session, version);
        assert_eq!(asked(&request).len(), 1);
        assert_eq!(forgotten(&request), []);
    }
}

#[test]
fn a_topic_created_anew_is_another_partition_by_id_and_an_update_by_name() {
    for (version, gone) in [(NEWEST, vec![("1".to_owned(), 0)]), (12, vec![])] {
        let mut session = FetchSession::new();
        session.set(0, partition("t", 1, 0, 70));
        send(&mut session, version);
        session.on_response(0, 55);
        session.set(0, partition("t", 2, 0, 0));
        let request = send(&mut session, version);
        assert_eq!(request.session_epoch, 1);
        assert_eq!(asked(&request).iter().map(|(_, offset)| *offset).collect::<Vec<_>>(), [0]);
        assert_eq!(forgotten(&request), gone);
        assert_eq!(session.topic_by_id(&[1; 16]), None);
        assert!(session.topic_by_id(&[2; 16]).is_some());
    }
}

#[test]
fn a_topic_that_loses_or_gains_its_id_reopens_the_session() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 1, 0, 0));
    session.set(1, partition("u", 3, 0, 0));
    send(&mut session, NEWEST);
    session.on_response(0, 55);

    session.set(1, partition("u", 0, 0, 4));
    assert_eq!(session.version_limit(), 12);
    let mut out = Vec::new();
    let refused = session.build(NEWEST, &OPTIONS, 1, &mut out);
    assert!(matches!(refused, Err(FetchRequestError::NoTopicId { .. })) && out.is_empty());
    let request = send(&mut session, 12);
    assert_eq!((request.session_id, request.session_epoch), (55, 0), "names the old session to drop it");
    assert_eq!(asked(&request).len(), 2);
    session.on_response(0, 56);

    session.set(1, partition("u", 3, 0, 4));
    assert_eq!(session.version_limit(), NEWEST);
    let request = send(&mut session, NEWEST);
    assert_eq!((request.session_id, request.session_epoch), (56, 0));
}

#[test]
fn session_errors_lead_to_a_full_request() {
    for (code, next_id) in [
        (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0),
        (ErrorCode::INVALID_FETCH_SESSION_EPOCH, 55),
        (ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, 55),
        (ErrorCode::UNKNOWN_SERVER_ERROR, 55),
    ] {
        let mut session = FetchSession::new();
        session.set(0, partition("t", 1, 0, 0));
        session.set(1, partition("t", 1, 1, 0));
        send(&mut session, NEWEST);
        session.on_response(0, 55);
        send(&mut session, NEWEST);
        assert_eq!(session.on_response(code.0, 0), SessionOutcome::Lost(code));
        let request = send(&mut session, NEWEST);
        assert_eq!((request.session_id, request.session_epoch), (next_id, 0));
        assert_eq!(indexes(&request), [0, 1]);
    }
}

#[test]
fn a_failure_or_a_foreign_id_leads_to_a_full_request() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 1, 0, 0));
    send(&mut session, NEWEST);
    session.on_response(0, 55);
    send(&mut session, NEWEST);
    session.on_failure();
    let request = send(&mut session, NEWEST);
    assert_eq!((request.session_id, request.session_epoch), (55, 0));
    session.on_response(0, 56);
    send(&mut session, NEWEST);
    assert_eq!(session.on_response(0, 99), SessionOutcome::Confused);
    assert_eq!(send(&mut session, NEWEST).session_epoch, 0);
}

#[test]
fn a_refused_session_sends_everything_each_time_and_starves_nobody() {
    let mut session = FetchSession::new();
    for slot in 0..3 {
        session.set(slot, partition("t", 1, slot as i32, 0));
    }
    let mut firsts = Vec::new();
    for _ in 0..6 {
        let request = send(&mut session, NEWEST);
        assert_eq!((request.session_id, request.session_epoch), (0, 0));
        assert_eq!(request.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>(), 3);
        // The limit lets the broker serve only the first.
        let first = indexes(&request)[0];
        session.served(first as u32);
        session.advance(first as u32, 10, 0);
        firsts.push(first);
        assert_eq!(session.on_response(0, 0), SessionOutcome::Refused);
    }
    assert_eq!(firsts, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn before_version_7_every_request_is_full_and_names_no_session() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 0, 0, 0));
    for _ in 0..2 {
        assert_eq!(indexes(&send(&mut session, 6)), [0]);
        assert_eq!(session.on_response(0, 0), SessionOutcome::Refused);
    }
}

#[test]
fn the_epoch_wraps_to_one() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 1, 0, 0));
    send(&mut session, NEWEST);
    session.on_response(0, 55);
    session.epoch = i32::MAX;
    assert_eq!(send(&mut session, NEWEST).session_epoch, i32::MAX);
    session.on_response(0, 55);
    assert_eq!(send(&mut session, NEWEST).session_epoch, 1);
}

#[test]
fn closing_names_the_session_once() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 1, 0, 0));
    let mut frame = Vec::new();
    assert_eq!(session.build_close(NEWEST, &OPTIONS, 1, &mut frame), Ok(false));
    send(&mut session, NEWEST);
    session.on_response(0, 55);
    assert_eq!(session.build_close(NEWEST, &OPTIONS, 1, &mut frame), Ok(true));
    let request = read(std::mem::take(&mut frame), NEWEST);
    assert_eq!((request.session_id, request.session_epoch, request.topics.len()), (55, -1, 0));
    assert_eq!(session.build_close(NEWEST, &OPTIONS, 1, &mut frame), Ok(false));
    assert_eq!(send(&mut session, NEWEST).session_epoch, 0);
}

#[test]
fn responses_find_their_slots_by_name_and_by_id() {
    let mut session = FetchSession::new();
    session.set(7, partition("orders", 1, 3, 0));
    session.set(2, partition("audit", 2, 3, 0));
    let by_name = session.topic_by_name("orders").unwrap();
    assert_eq!(session.slot(by_name, 3), Some(7));
    assert_eq!(session.slot(by_name, 4), None);
    let by_id = session.topic_by_id(&[2; 16]).unwrap();
    assert_eq!(session.slot(by_id, 3), Some(2));
    assert_eq!(session.topic_by_name("none"), None);
    session.forget(7);
    assert_eq!(session.topic_by_name("orders"), None);
    assert_eq!(session.len(), 1);
}

#[test]
fn while_a_topic_is_created_anew_each_id_finds_only_its_own_partitions() {
    let mut session = FetchSession::new();
    session.set(0, partition("t", 1, 0, 0));
    session.set(1, partition("t", 1, 1, 0));
    session.set(1, partition("t", 2, 1, 0));
    let (old, new) = (session.topic_by_id(&[1; 16]).unwrap(), session.topic_by_id(&[2; 16]).unwrap());
    assert_eq!((session.slot(old, 0), session.slot(old, 1)), (Some(0), None));
    assert_eq!((session.slot(new, 0), session.slot(new, 1)), (None, Some(1)));
}

/// The broker's side, as Kafka does it: partitions first, the forgotten list afterwards.
#[derive(Default)]
struct Broker {
    session: Option<(i32, i32, BTreeMap<Key, i64>)>,
    sessions: i32,
}

impl Broker {
    /// What the broker serves for the request, or its error.
    fn serve(
        &mut self,
        request: &FetchRequest,
        refuse: bool,
    ) -> Result<(i32, BTreeMap<Key, i64>), ErrorCode> {
        if request.session_epoch == 0 {
            let all: BTreeMap<_, _> = asked(request).into_iter().collect();
            self.session = None;
            if refuse {
                return Ok((0, all));
            }
            self.sessions += 1;
            self.session = Some((self.sessions, 1, all.clone()));
            return Ok((self.sessions, all));
        }
        let Some((id, epoch, partitions)) = &mut self.session else {
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        };
        if *id != request.session_id {
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        if *epoch != request.session_epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        *epoch += 1;
        partitions.extend(asked(request));
        for key in forgotten(request) {
            partitions.remove(&key);
        }
        Ok((*id, partitions.clone()))
    }
}

#[test]
fn whatever_happens_the_broker_serves_exactly_what_is_wanted() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut session = FetchSession::new();
        let mut broker = Broker::default();
        for _ in 0..60 {
            change(&mut session, &mut random);
            let version = session.version_limit().min(if random.u8(0..10) == 0 { 12 } else { NEWEST });
            let request = send(&mut session, version);
            change(&mut session, &mut random);
            match random.u8(0..12) {
                0 => {
                    session.on_failure();
                    continue;
                }
                1 => broker.session = None,
                _ => {}
            }
            match broker.serve(&request, random.u8(0..8) == 0) {
                Err(code) => assert_eq!(session.on_response(code.0, 0), SessionOutcome::Lost(code)),
                Ok((id, served)) => {
                    session.on_response(0, id);
                    for (key, offset) in asked(&request) {
                        assert_eq!(served.get(&key), Some(&offset), "seed {seed}: {key:?}");
                    }
                    // With no change in between, the next request makes both sides equal.
                    let version = version.min(session.version_limit());
                    let request = send(&mut session, version);
                    let Ok((id, served)) = broker.serve(&request, false) else { panic!("seed {seed}") };
                    session.on_response(0, id);
                    assert_eq!(served, wanted(&session), "seed {seed}");
                }
            }
        }
    }
}

/// All that is wanted, keyed as the broker's session keys it.
fn wanted(session: &FetchSession) -> BTreeMap<Key, i64> {
    let all = session.order.iter().filter_map(|slot| session.partition(slot));
    all.map(|partition| {
        let id = if session.by_id { uuid::Uuid::from_bytes(partition.topic_id) } else { uuid::Uuid::nil() };
        (key(&partition.topic, id, partition.partition), partition.fetch_offset)
    })
    .collect()
}

fn change(session: &mut FetchSession, random: &mut fastrand::Rng) {
    for _ in 0..random.usize(0..4) {
        let slot = random.u32(0..6);
        match random.u8(0..4) {
            0 => session.forget(slot),
            1 => session.advance(slot, random.i64(0..1000), 0),
            2 => session.served(slot),
            _ => {
                let id = if random.u8(0..12) == 0 { 0 } else { 1 + random.u8(0..2) * 10 };
                let topic = if random.bool() { "t" } else { "u" };
                let id = if id == 0 { 0 } else { id + topic.as_bytes()[0] };
                session.set(slot, partition(topic, id, random.i32(0..3), random.i64(0..1000)));
            }
        }
    }
}
