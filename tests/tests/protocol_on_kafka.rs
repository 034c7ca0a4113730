//! The protocol crate's requests, fetch sessions and group membership against real brokers, a new and an old one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, FindCoordinatorRequest, MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use millstream_protocol::fetch::request::{
    FETCH_LAST_VERSION_WITH_NAMES, FETCH_MIN_VERSION, FetchOptions, FetchPartition, IsolationLevel,
    SessionFields, encode_fetch,
};
use millstream_protocol::fetch::response::{FetchResponse, TopicRef};
use millstream_protocol::fetch::session::{FetchSession, SessionOutcome};
use millstream_protocol::group::classic::ClassicConfig;
use millstream_protocol::group::{ClassicGroup, TopicPartition};
use millstream_protocol::group::{GroupAction, GroupRequestKind};
use millstream_protocol::request::{
    Api, ApiVersionsAnswer, ErrorCode, FIRST_API_VERSIONS, MAX_CONTROL_RESPONSE_BYTES, VersionTable,
    decode_response, encode_api_versions, encode_request, frame_length, read_api_versions,
    supported_versions,
};
use millstream_tests::kafka::{JavaTools, KafkaCluster, MemberEvent, Produce, Spec};
use millstream_tests::{require, require_kafka};

const LIMIT: Duration = Duration::from_secs(60);
const OLD: &str = "2.8.2";
const CLIENT_ID: &str = "millstream-tests";
const OPTIONS: FetchOptions<'static> = FetchOptions {
    max_wait_ms: 0,
    min_bytes: 1,
    max_bytes: 1 << 20,
    isolation: IsolationLevel::ReadUncommitted,
    client_id: CLIENT_ID,
    rack: "",
};

/// A connection that has been through ApiVersions.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    versions: VersionTable,
}

impl Connection {
    fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let mut connection = Connection { stream, received: Vec::new(), versions: VersionTable::default() };
        let mut version = FIRST_API_VERSIONS;
        loop {
            let mut frame = Vec::new();
            encode_api_versions(version, 1, CLIENT_ID, &mut frame).unwrap();
            match read_api_versions(version, &connection.exchange(&frame)).unwrap() {
                ApiVersionsAnswer::Table(versions) => break connection.versions = versions,
                ApiVersionsAnswer::RetryAt(lower) => version = lower,
            }
        }
        connection
    }

    fn send(&mut self, frame: &[u8]) {
        self.stream.write_all(frame).unwrap();
    }

    /// A whole response, if one is there or comes within the read timeout.
    fn receive(&mut self) -> Option<Bytes> {
        loop {
            if let Some(prefix) = self.received.first_chunk() {
                let size = frame_length(*prefix, MAX_CONTROL_RESPONSE_BYTES).unwrap();
                if self.received.len() >= 4 + size {
                    let rest = self.received.split_off(4 + size);
                    let frame = std::mem::replace(&mut self.received, rest);
                    return Some(Bytes::from(frame).slice(4..));
                }
            }
            let mut chunk = [0; 65_536];
            match self.stream.read(&mut chunk) {
                Ok(0) => panic!("the broker closed the connection"),
                Ok(size) => self.received.extend_from_slice(&chunk[..size]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn exchange(&mut self, frame: &[u8]) -> Bytes {
        self.send(frame);
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < LIMIT, "no answer");
            if let Some(frame) = self.receive() {
                return frame;
            }
        }
    }

    fn ask<R: Api>(&mut self, version: i16, request: &R) -> R::Response {
        let mut frame = Vec::new();
        encode_request(request, version, 7, CLIENT_ID, &mut frame).unwrap();
        decode_response::<R>(version, &self.exchange(&frame)).unwrap()
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_metadata(connection: &mut Connection, version: i16, topic: &str) -> MetadataResponse {
    let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
    connection.ask(version, &MetadataRequest::default().with_topics(Some(vec![wanted])))
}

fn broker(kafka: &KafkaCluster) -> SocketAddr {
    kafka.broker_address(1)
}

/// Every version of Metadata and FindCoordinator that the broker and we share, and a retry at a lower ApiVersions.
fn every_common_version_is_understood(kafka: &KafkaCluster) {
    kafka.create_topic("known", 3, &[]).unwrap();
    let mut connection = Connection::open(broker(kafka));
    let common = |connection: &Connection, api| {
        let (first, last) = connection.versions.offered(api).unwrap();
        let (known_first, known_last) = supported_versions(api).unwrap();
        assert_eq!(connection.versions.negotiate(api), Ok(last.min(known_last)));
        first.max(known_first)..=last.min(known_last)
    };
    for version in common(&connection, ApiKey::Metadata) {
        let metadata = topic_metadata(&mut connection, version, "known");
        assert_eq!(metadata.topics[0].partitions.len(), 3, "Metadata v{version}");
    }
    for version in common(&connection, ApiKey::FindCoordinator) {
        let request = match version {
            4.. => FindCoordinatorRequest::default().with_coordinator_keys(vec![text("g")]),
            _ => FindCoordinatorRequest::default().with_key(text("g")),
        };
        let answer = connection.ask(version, &request);
        assert_eq!(answer.coordinators.len(), usize::from(version >= 4), "FindCoordinator v{version}");
    }
    // The newest that we know: a broker that does not refuses it in version 0.
    let (_, newest) = supported_versions(ApiKey::ApiVersions).unwrap();
    let mut frame = Vec::new();
    encode_api_versions(newest, 1, CLIENT_ID, &mut frame).unwrap();
    let (_, offered) = connection.versions.offered(ApiKey::ApiVersions).unwrap();
    match read_api_versions(newest, &connection.exchange(&frame)).unwrap() {
        ApiVersionsAnswer::Table(_) => assert!(offered >= newest),
        ApiVersionsAnswer::RetryAt(version) => assert_eq!(version, offered),
    }
}

/// Sends what the session wants; the outcome, and the slots that the response has data for.
fn fetch(
    connection: &mut Connection,
    session: &mut FetchSession,
    version: i16,
) -> (SessionOutcome, Vec<u32>) {
    let mut frame = Vec::new();
    session.build(version, &OPTIONS, 3, &mut frame).unwrap();
    let answer = connection.exchange(&frame);
    let (_, response) = FetchResponse::parse_frame(version, &answer).unwrap();
    let mut slots = Vec::new();
    for partition in response.partitions() {
        assert_eq!(ErrorCode(partition.error_code), ErrorCode::NONE);
        let topic = match partition.topic {
            TopicRef::Name(name) => session.topic_by_name(name),
            TopicRef::Id(id) => session.topic_by_id(&id),
        };
        let slot = session.slot(topic.unwrap(), partition.index).unwrap();
        if !partition.records.is_empty() {
            slots.push(slot);
            session.served(slot);
        }
    }
    slots.sort_unstable();
    (session.on_response(response.error_code(), response.session_id()), slots)
}

/// Full, incremental, forgotten, lost and closed sessions, in every version of Fetch.
fn sessions_work_in_every_version(kafka: &KafkaCluster, java: &JavaTools) {
    kafka.create_topic("fetched", 3, &[]).unwrap();
    java.produce(&kafka.bootstrap(), &Produce::new("fetched", 3, 300)).unwrap();
    let mut connection = Connection::open(broker(kafka));
    let newest = connection.versions.negotiate(ApiKey::Metadata).unwrap();
    let topic_id = topic_metadata(&mut connection, newest, "fetched").topics[0].topic_id.into_bytes();
    let partition = |index: i32, offset| FetchPartition {
        topic: Arc::from("fetched"),
        topic_id,
        partition: index,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: 1 << 20,
    };
    let last = connection.versions.negotiate(ApiKey::Fetch).unwrap();
    let mut session = FetchSession::new();
    (0..3).for_each(|slot| session.set(slot, partition(slot as i32, 0)));
    let last = last.min(session.version_limit());
    for version in FETCH_MIN_VERSION..=last {
        let mut session = FetchSession::new();
        (0..3).for_each(|slot| session.set(slot, partition(slot as i32, 0)));
        let (outcome, slots) = fetch(&mut connection, &mut session, version);
        assert_eq!(slots, [0, 1, 2], "v{version}");
        if version < 7 {
            assert_eq!(outcome, SessionOutcome::Refused, "v{version}");
            continue;
        }
        assert_eq!(outcome, SessionOutcome::Opened, "v{version}");
        let ends = kafka.end_offsets("fetched", false).unwrap();
        (0..3).for_each(|slot| session.advance(slot, ends[slot as usize], -1));
        let nothing_new = (SessionOutcome::Continued, Vec::new());
        assert_eq!(fetch(&mut connection, &mut session, version), nothing_new, "v{version}");

        session.forget(0);
        session.set(1, partition(1, 0));
        let one = (SessionOutcome::Continued, vec![1]);
        assert_eq!(fetch(&mut connection, &mut session, version), one, "v{version}");
        // Forgotten and wanted again at once stays wanted.
        session.forget(2);
        session.set(5, partition(2, 0));
        session.forget(1);
        let other = (SessionOutcome::Continued, vec![5]);
        assert_eq!(fetch(&mut connection, &mut session, version), other, "v{version}");

        // A request that never arrives puts the epochs out of step.
        session.build(version, &OPTIONS, 3, &mut Vec::new()).unwrap();
        assert_eq!(session.on_response(0, session.id()), SessionOutcome::Continued);
        let (outcome, _) = fetch(&mut connection, &mut session, version);
        assert_eq!(outcome, SessionOutcome::Lost(ErrorCode::INVALID_FETCH_SESSION_EPOCH), "v{version}");
        assert_eq!(
            fetch(&mut connection, &mut session, version),
            (SessionOutcome::Opened, vec![5]),
            "v{version}"
        );

        let mut frame = Vec::new();
        let closing = SessionFields { id: session.id(), epoch: -1 };
        let nothing = std::iter::empty();
        encode_fetch(version, 4, &OPTIONS, closing, nothing, std::iter::empty(), &mut frame).unwrap();
        connection.exchange(&frame);
        let (outcome, _) = fetch(&mut connection, &mut session, version);
        assert_eq!(outcome, SessionOutcome::Lost(ErrorCode::FETCH_SESSION_ID_NOT_FOUND), "v{version}");
        assert_eq!(fetch(&mut connection, &mut session, version).0, SessionOutcome::Opened, "v{version}");
        frame.clear();
        assert_eq!(session.build_close(version, &OPTIONS, 4, &mut frame), Ok(true));
        let answer = connection.exchange(&frame);
        let (_, response) = FetchResponse::parse_frame(version, &answer).unwrap();
        assert_eq!((response.error_code(), response.session_id()), (0, 0), "v{version}");
    }
    assert_eq!(last > FETCH_LAST_VERSION_WITH_NAMES, kafka.version() != OLD);
}

/// A member with its connections, driven by hand.
struct Member {
    group: ClassicGroup,
    connection: Connection,
    commits: Connection,
    owned: Vec<TopicPartition>,
    generation: i32,
    left: bool,
}

impl Member {
    fn new(kafka: &KafkaCluster, session_timeout: Duration) -> Member {
        let config = ClassicConfig {
            session_timeout,
            heartbeat_interval: Duration::from_millis(500),
            ..ClassicConfig::new("shared")
        };
        let mut group = ClassicGroup::new(config);
        group.subscribe([Arc::from("shared")]);
        group.start();
        Member {
            group,
            connection: Connection::open(broker(kafka)),
            commits: Connection::open(broker(kafka)),
            owned: Vec::new(),
            generation: -1,
            left: false,
        }
    }

    fn step(&mut self) {
        while let Some(action) = self.group.poll(Instant::now()) {
            match action {
                GroupAction::NeedCoordinator => {
                    self.group.coordinator_known(&self.connection.versions).unwrap();
                }
                GroupAction::Send(request) => {
                    let mut frame = Vec::new();
                    request.encode(request.kind() as i32, CLIENT_ID, &mut frame).unwrap();
                    match request.kind() {
                        GroupRequestKind::Leave => self.commits.send(&frame),
                        _ => self.connection.send(&frame),
                    }
                }
                GroupAction::NeedMetadata { topics } => {
                    assert_eq!(topics, [Arc::from("shared")]);
                    self.group.set_partition_counts(&[(Arc::from("shared"), 6)].into());
                }
                GroupAction::Revoke { partitions } => {
                    assert_eq!(partitions, self.owned);
                    self.owned.clear();
                    self.group.revoked(Instant::now());
                }
                GroupAction::Assigned { partitions, generation, .. } => {
                    (self.owned, self.generation) = (partitions, generation);
                }
                GroupAction::Left => self.left = true,
                other => panic!("{other:?}"),
            }
        }
        for connection in [&mut self.connection, &mut self.commits] {
            let Some(frame) = connection.receive() else { continue };
            use GroupRequestKind::{Heartbeat, Join, Leave, Sync};
            let kind = [Join, Sync, Heartbeat, Leave]
                .into_iter()
                .find(|kind| Some(*kind as i32) == millstream_protocol::request::correlation_id(&frame));
            self.group.on_response(kind.unwrap(), &frame, Instant::now()).unwrap();
        }
    }
}

fn run_until(members: &mut [Member], what: &str, mut done: impl FnMut(&[Member]) -> bool) {
    let start = Instant::now();
    while !done(members) {
        assert!(start.elapsed() < LIMIT, "{what} did not happen");
        members.iter_mut().for_each(Member::step);
    }
}

/// Two of our members, then a Java member too, then ours leave: the partitions are always shared by whoever is there.
fn groups_mix_with_java(kafka: &KafkaCluster, java: &JavaTools) {
    kafka.create_topic("shared", 6, &[]).unwrap();
    let mut connection = Connection::open(broker(kafka));
    let start = Instant::now();
    // Asking creates the topic of the group's offsets, which takes a moment.
    let find = FindCoordinatorRequest::default().with_key(text("shared"));
    while connection.ask(3, &find).error_code != 0 {
        assert!(start.elapsed() < LIMIT, "the group has no coordinator");
    }
    let session_timeout = Duration::from_secs(10);
    let mut members = vec![Member::new(kafka, session_timeout), Member::new(kafka, session_timeout)];
    let halves = |members: &[Member]| {
        members.iter().all(|member| member.owned.len() == 3)
            && members[0].generation == members[1].generation
            && members.iter().all(|member| !member.group.is_joining())
    };
    run_until(&mut members, "sharing by two", halves);

    let range = "org.apache.kafka.clients.consumer.RangeAssignor".to_owned();
    let properties = [("partition.assignment.strategy".to_owned(), range)];
    let theirs = java.member(&kafka.bootstrap(), "shared", &["shared"], &properties).unwrap();
    run_until(&mut members, "sharing by three", |members| {
        members.iter().all(|member| member.owned.len() == 2 && !member.group.is_joining())
    });
    let given = theirs.wait_for(LIMIT, |event| match event {
        MemberEvent::Assigned { partitions } => Some(partitions),
        _ => None,
    });
    let given = given.unwrap();
    let mut all: Vec<i32> = given.iter().map(|partition| partition.partition).collect();
    all.extend(members.iter().flat_map(|member| &member.owned).map(|partition| partition.partition));
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4, 5]);

    members.iter_mut().for_each(|member| member.group.leave(Instant::now()));
    run_until(&mut members, "leaving", |members| members.iter().all(|member| member.left));
    // It got two partitions, perhaps three in between, and all of them once it is alone.
    let alone = theirs.wait_for(LIMIT, |event| match event {
        MemberEvent::Assigned { partitions } if partitions.len() == 6 => Some(()),
        _ => None,
    });
    alone.unwrap();
}

#[test]
fn a_new_broker_understands_us_and_we_it() {
    let kafka = require_kafka!(Spec::new());
    let java = require!(JavaTools::new());
    every_common_version_is_understood(&kafka);
    sessions_work_in_every_version(&kafka, &java);
    groups_mix_with_java(&kafka, &java);
}

#[test]
fn an_old_broker_understands_us_and_we_it() {
    let kafka = require_kafka!(Spec::new().version(OLD));
    let java = require!(JavaTools::new());
    every_common_version_is_understood(&kafka);
    sessions_work_in_every_version(&kafka, &java);
    groups_mix_with_java(&kafka, &java);
}
