//! The fetch session against a model of a broker's side: what is wanted changes, answers come, are lost or lie.
//!
//! Input: a byte that chooses whether answers may lie, then operations of a byte each with what they draw.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages::{FetchRequest, RequestHeader};
use kafka_protocol::protocol::Decodable;
use millstream_protocol::fetch::request::{
    FETCH_MAX_VERSION, FETCH_MIN_VERSION, FetchOptions, FetchPartition, FetchRequestError, IsolationLevel,
    NO_TOPIC_ID,
};
use millstream_protocol::fetch::session::{FetchSession, SessionOutcome};

use crate::input::Input;

const OPTIONS: FetchOptions<'static> = FetchOptions {
    max_wait_ms: 500,
    min_bytes: 1,
    max_bytes: 1 << 20,
    isolation: IsolationLevel::ReadCommitted,
    client_id: "fuzz",
    rack: "",
};
const TOPICS: [&str; 3] = ["a", "b", "topic-with-a-longer-name"];
const SLOTS: usize = 12;
/// The first version with fetch sessions.
const SESSIONS_SINCE: i16 = 7;
/// The first version that names topics by id.
const IDS_SINCE: i16 = 13;
const SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_SESSION_EPOCH: i16 = 71;
/// Operations of one input; more say nothing new.
const OPERATIONS_MAX: usize = 2_000;

/// Drives a session. With honest answers the broker's session always holds exactly what is wanted, and a full request
/// names it in the order of service; with answers that lie nothing panics, and requests stay well-formed.
pub fn fetch_session(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World { is_honest: input.bool(), ..World::default() };
    world.negotiate(&mut input);
    for _ in 0..OPERATIONS_MAX {
        let Some(operation) = input.next() else { break };
        world.step(operation, &mut input);
        assert_eq!(world.session.len(), world.order.len());
    }
    if world.is_honest {
        world.come_to_rest();
    }
}

/// Topic as the version names it, index.
type Key = (Vec<u8>, i32);
/// Leader epoch, offset, last fetched epoch, most bytes: as far as the version carries them.
type Fields = (i32, i64, i32, i32);

#[derive(Default)]
struct World {
    session: FetchSession,
    is_honest: bool,
    /// The version that broker and session both speak over this connection.
    negotiated: i16,
    /// What is wanted, in the order of service.
    order: Vec<(u32, FetchPartition)>,
    broker: Broker,
    /// The answer that is under way.
    answer: Option<(i16, i32)>,
}

#[derive(Default)]
struct Broker {
    ids: i32,
    refuses: bool,
    kept: Option<Kept>,
}

struct Kept {
    id: i32,
    epoch: i32,
    partitions: BTreeMap<Key, Fields>,
}

impl World {
    fn step(&mut self, operation: u8, input: &mut Input<'_>) {
        match operation % 16 {
            0..=2 => self.set(input),
            3 => {
                let slot = input.below(SLOTS) as u32;
                let (offset, epoch) = (input.i64(), i32::from(input.byte()));
                self.session.advance(slot, offset, epoch);
                if let Some((_, wanted)) = self.order.iter_mut().find(|(at, _)| *at == slot) {
                    (wanted.fetch_offset, wanted.last_fetched_epoch) = (offset, epoch);
                }
            }
            4 | 5 => self.forget(input.below(SLOTS) as u32),
            6 => {
                let slot = input.below(SLOTS) as u32;
                self.session.served(slot);
                if let Some(at) = self.order.iter().position(|(of, _)| *of == slot) {
                    let served = self.order.remove(at);
                    self.order.push(served);
                }
            }
            7..=9 => self.build(input),
            10 | 11 => self.deliver(input),
            12 => {
                // The answer is lost with its connection; the next one may be to a broker of another age.
                self.answer = None;
                self.session.on_failure();
                self.negotiate(input);
            }
            13 => self.broker.kept = None,
            14 => self.broker.refuses = input.bool(),
            _ => self.close(),
        }
    }

    fn negotiate(&mut self, input: &mut Input<'_>) {
        let any = FETCH_MIN_VERSION + input.below(16) as i16;
        self.negotiated = if input.bool() { FETCH_MAX_VERSION } else { any };
    }

    fn set(&mut self, input: &mut Input<'_>) {
        let slot = input.below(SLOTS) as u32;
        let (topic, generation) = (input.below(TOPICS.len()), input.below(4) as u8);
        let topic_id = match generation {
            0 => NO_TOPIC_ID,
            // A broker that lies gives two topics one id.
            _ if !self.is_honest => [generation; 16],
            _ => [16 * (topic as u8 + 1) + generation; 16],
        };
        let wanted = FetchPartition {
            topic: TOPICS[topic].into(),
            topic_id,
            partition: input.below(3) as i32,
            current_leader_epoch: i32::from(input.byte()),
            fetch_offset: i64::from(input.byte()),
            last_fetched_epoch: -1,
            log_start_offset: -1,
            max_bytes: 1 << input.below(24),
        };
        self.session.set(slot, wanted.clone());
        let is_same =
            |other: &FetchPartition| other.topic == wanted.topic && other.partition == wanted.partition;
        let at = self
            .order
            .iter()
            .position(|(of, other)| *of == slot && is_same(other) && other.topic_id == wanted.topic_id);
        match at {
            Some(at) => self.order[at].1 = wanted,
            None => {
                self.order.retain(|(of, other)| *of != slot && !is_same(other));
                self.order.push((slot, wanted));
            }
        }
    }

    fn forget(&mut self, slot: u32) {
        self.session.forget(slot);
        self.order.retain(|(of, _)| *of != slot);
        assert_eq!(self.session.partition(slot), None);
    }

    fn build(&mut self, input: &mut Input<'_>) {
        let limited = self.negotiated.min(self.session.version_limit());
        let version = if input.byte() < 8 { self.negotiated } else { limited };
        let mut frame = b"kept".to_vec();
        let built = self.session.build(version, &OPTIONS, 7, &mut frame);
        match built {
            Ok(()) => {
                assert!(self.answer.is_none() && self.session.is_in_flight());
                assert!(!self.session.has_changes(), "a request covers all that is wanted");
                let request = read(&frame, version);
                self.check_request(&request, version);
                self.answer = Some(self.broker.handle(&request, version));
                if self.is_honest && self.answer.is_some_and(|(code, id)| code == 0 && id != 0) {
                    self.compare(version);
                }
            }
            Err(error) => {
                assert_eq!(frame, b"kept", "what cannot be written leaves the buffer alone");
                match error {
                    FetchRequestError::InFlight => assert!(self.session.is_in_flight()),
                    FetchRequestError::NoTopicId { .. } => assert!(version > limited),
                    FetchRequestError::UnknownVersion { version } => assert!(version > FETCH_MAX_VERSION),
                    other => panic!("{other}"),
                }
            }
        }
    }

    fn check_request(&self, request: &FetchRequest, version: i16) {
        let asked = partitions_of(request, version);
        let keys: Vec<_> = asked.iter().map(|(key, _)| key).collect();
        if self.is_honest {
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "no partition is named twice");
        }
        if version < SESSIONS_SINCE || request.session_epoch == 0 {
            let wanted: Vec<_> = self.order.iter().map(|(_, wanted)| entry(wanted, version)).collect();
            assert_eq!(asked, wanted, "a full request names everything, in the order of service");
            assert!(request.forgotten_topics_data.is_empty());
        } else {
            assert!(request.session_epoch > 0 && request.session_id != 0);
        }
    }

    /// The broker's session holds what is wanted.
    fn compare(&self, version: i16) {
        let Some(kept) = &self.broker.kept else { return };
        let wanted: BTreeMap<_, _> = self.order.iter().map(|(_, wanted)| entry(wanted, version)).collect();
        assert_eq!(kept.partitions, wanted);
    }

    fn deliver(&mut self, input: &mut Input<'_>) {
        let Some((code, id)) = self.answer else { return };
        if self.is_honest {
            self.answer = None;
            let outcome = self.session.on_response(code, id);
            match (code, id) {
                (0, 0) => assert_eq!((outcome, self.session.id()), (SessionOutcome::Refused, 0)),
                (0, id) => {
                    assert!(matches!(outcome, SessionOutcome::Opened | SessionOutcome::Continued));
                    assert_eq!(self.session.id(), id);
                }
                _ => assert!(matches!(outcome, SessionOutcome::Lost(_))),
            }
        } else {
            let codes = [0, code, SESSION_ID_NOT_FOUND, INVALID_SESSION_EPOCH, input.i16()];
            let ids = [id, self.session.id(), 0, -1, input.i32()];
            let (code, id) = (*input.pick(&codes), *input.pick(&ids));
            self.session.on_response(code, id);
            self.answer = self.session.is_in_flight().then_some((code, id));
        }
        assert!(!self.session.is_in_flight());
    }

    fn close(&mut self) {
        let had = self.session.id() != 0;
        let mut frame = Vec::new();
        let version = FETCH_MAX_VERSION.min(self.session.version_limit());
        let closed = self.session.build_close(version, &OPTIONS, 9, &mut frame);
        assert_eq!(closed, Ok(had));
        if had {
            let request = read(&frame, version);
            assert_eq!(request.session_epoch, -1);
            assert!(request.topics.is_empty() && request.forgotten_topics_data.is_empty());
            self.broker.handle(&request, version);
            self.answer = None;
        }
        assert_eq!(self.session.id(), 0);
    }

    /// Without faults a few exchanges are enough for a session that has nothing more to say.
    fn come_to_rest(&mut self) {
        self.broker.refuses = false;
        self.answer = None;
        self.session.on_failure();
        self.negotiated = FETCH_MAX_VERSION;
        let quiet = [0u8; 16];
        for _ in 0..4 {
            let mut nothing = Input::new(&quiet);
            self.deliver(&mut nothing);
            self.build(&mut Input::new(&[255]));
        }
        self.deliver(&mut Input::new(&quiet));
        assert!(!self.session.has_changes() && self.session.id() != 0);
        self.compare(FETCH_MAX_VERSION.min(self.session.version_limit()));
    }
}

impl Broker {
    fn handle(&mut self, request: &FetchRequest, version: i16) -> (i16, i32) {
        if version < SESSIONS_SINCE {
            return (0, 0);
        }
        let asked = partitions_of(request, version);
        match request.session_epoch {
            -1 => {
                self.kept.take_if(|kept| kept.id == request.session_id);
                (0, 0)
            }
            0 => {
                self.kept.take_if(|kept| kept.id == request.session_id);
                if self.refuses {
                    return (0, 0);
                }
                self.ids += 1;
                self.kept = Some(Kept { id: self.ids, epoch: 1, partitions: asked.into_iter().collect() });
                (0, self.ids)
            }
            epoch => match &mut self.kept {
                Some(kept) if kept.id == request.session_id && kept.epoch == epoch => {
                    kept.epoch += 1;
                    kept.partitions.extend(asked);
                    for gone in forgotten_of(request, version) {
                        kept.partitions.remove(&gone);
                    }
                    (0, kept.id)
                }
                Some(kept) if kept.id == request.session_id => (INVALID_SESSION_EPOCH, 0),
                _ => (SESSION_ID_NOT_FOUND, 0),
            },
        }
    }
}

fn read(frame: &[u8], version: i16) -> FetchRequest {
    let frame = frame.strip_prefix(b"kept").unwrap_or(frame);
    let (length, rest) = frame.split_first_chunk::<4>().expect("a frame has a length");
    assert_eq!(i32::from_be_bytes(*length) as usize, rest.len());
    let mut rest = Bytes::copy_from_slice(rest);
    RequestHeader::decode(&mut rest, if version >= 12 { 2 } else { 1 }).expect("the header is good");
    let request = FetchRequest::decode(&mut rest, version).expect("kafka-protocol reads what we write");
    assert!(rest.is_empty());
    request
}

fn entry(wanted: &FetchPartition, version: i16) -> (Key, Fields) {
    let topic =
        if version >= IDS_SINCE { wanted.topic_id.to_vec() } else { wanted.topic.as_bytes().to_vec() };
    let leader_epoch = if version >= 9 { wanted.current_leader_epoch } else { -1 };
    let fetched_epoch = if version >= 12 { wanted.last_fetched_epoch } else { -1 };
    ((topic, wanted.partition), (leader_epoch, wanted.fetch_offset, fetched_epoch, wanted.max_bytes))
}

fn partitions_of(request: &FetchRequest, version: i16) -> Vec<(Key, Fields)> {
    let topics = request.topics.iter();
    let all = topics.flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)));
    all.map(|(topic, asked)| {
        let name = if version >= IDS_SINCE {
            topic.topic_id.as_bytes().to_vec()
        } else {
            topic.topic.as_bytes().to_vec()
        };
        let epochs = (asked.current_leader_epoch, asked.last_fetched_epoch);
        ((name, asked.partition), (epochs.0, asked.fetch_offset, epochs.1, asked.partition_max_bytes))
    })
    .collect()
}

fn forgotten_of(request: &FetchRequest, version: i16) -> Vec<Key> {
    let topics = request.forgotten_topics_data.iter();
    let all = topics.flat_map(|topic| topic.partitions.iter().map(move |index| (topic, *index)));
    all.map(|(topic, index)| match version >= IDS_SINCE {
        true => (topic.topic_id.as_bytes().to_vec(), index),
        false => (topic.topic.as_bytes().to_vec(), index),
    })
    .collect()
}
