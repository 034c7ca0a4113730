//! The brokers of a shard under test: they note what is asked, and answer what a test writes.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, FetchRequest, FetchResponse, ProducerId, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use millstream_protocol::request::ApiKey;

use super::rig::TOPIC;
use crate::net::{Completion, ConnId, IoOp, ReceiveTarget};

/// The newest Fetch that names topics, so that tests need no ids.
const FETCH_VERSION: i16 = 12;
/// The newest Fetch in which leaders do not say where their logs depart from what was read.
const OLD_FETCH_VERSION: i16 = 11;

/// All brokers, and the connections to them. Broker `n` listens on port 9000 + `n`.
#[derive(Default)]
pub(crate) struct Brokers {
    wires: BTreeMap<ConnId, Wire>,
    /// Fetches that no test has answered, the oldest first.
    pub(crate) fetches: VecDeque<Asked>,
    /// For how long answers ask to be left alone, milliseconds.
    pub(crate) throttle_ms: i32,
    /// Brokers that take no connections.
    pub(crate) refusing: Vec<i32>,
    /// Offer nothing newer than [`OLD_FETCH_VERSION`].
    pub(crate) are_old: bool,
}

struct Wire {
    broker: i32,
    outgoing: Vec<u8>,
    incoming: VecDeque<u8>,
    receive: Option<ReceiveTarget>,
    is_broken: bool,
}

/// A Fetch as its broker sees it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) conn: ConnId,
    pub(crate) broker: i32,
    correlation_id: i32,
    request: FetchRequest,
}

/// A broker's word on one partition.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) partition: i32,
    pub(crate) error: i16,
    pub(crate) end: i64,
    /// Where the first open transaction begins, if that is before the end.
    pub(crate) stable: i64,
    pub(crate) records: Vec<u8>,
    /// Producers and the first offsets of their aborted transactions.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// Where the log departs from what was fetched: an epoch and its end.
    pub(crate) diverging: Option<(i32, i64)>,
    /// A newer leader and its epoch.
    pub(crate) leader: Option<(i32, i32)>,
    /// The follower to ask instead, -1 for none.
    pub(crate) replica: i32,
}

impl Answer {
    /// Nothing new before `end`.
    pub(crate) fn empty(partition: i32, end: i64) -> Self {
        Self {
            partition,
            error: 0,
            end,
            stable: end,
            records: Vec::new(),
            aborted: Vec::new(),
            diverging: None,
            leader: None,
            replica: -1,
        }
    }

    /// These record batches, and the end of the log.
    pub(crate) fn records(partition: i32, end: i64, batches: &[Vec<u8>]) -> Self {
        Self { records: batches.concat(), ..Self::empty(partition, end) }
    }

    /// This follower is to be asked instead; the log ends there.
    pub(crate) fn replica(partition: i32, end: i64, replica: i32) -> Self {
        Self { replica, ..Self::empty(partition, end) }
    }

    /// An error.
    pub(crate) fn error(partition: i32, code: i16) -> Self {
        Self { error: code, ..Self::empty(partition, -1) }
    }

    fn partition_data(&self) -> PartitionData {
        let aborted = |&(producer, first): &(i64, i64)| {
            AbortedTransaction::default().with_producer_id(ProducerId(producer)).with_first_offset(first)
        };
        let mut data = PartitionData::default();
        if let Some((epoch, end)) = self.diverging {
            data =
                data.with_diverging_epoch(EpochEndOffset::default().with_epoch(epoch).with_end_offset(end));
        }
        if let Some((broker, epoch)) = self.leader {
            let leader = LeaderIdAndEpoch::default().with_leader_id(broker.into()).with_leader_epoch(epoch);
            data = data.with_current_leader(leader);
        }
        data.with_partition_index(self.partition)
            .with_error_code(self.error)
            .with_high_watermark(self.end)
            .with_last_stable_offset(self.stable)
            .with_log_start_offset(0)
            .with_preferred_read_replica(self.replica.into())
            .with_aborted_transactions(Some(self.aborted.iter().map(aborted).collect()))
            .with_records(Some(Bytes::from(self.records.clone())))
    }
}

impl Asked {
    /// What is asked for as `partition@offset`, in the order of the request.
    pub(crate) fn asks(&self) -> Vec<String> {
        let partitions = self.request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|asked| format!("{}@{}", asked.partition, asked.fetch_offset)).collect()
    }

    /// The partitions that the session is to forget.
    pub(crate) fn forgets(&self) -> Vec<i32> {
        let topics = self.request.forgotten_topics_data.iter();
        topics.flat_map(|topic| topic.partitions.iter().copied()).collect()
    }

    /// Whether it belongs to no session.
    pub(crate) fn is_sessionless(&self) -> bool {
        self.request.session_id == 0 && self.request.session_epoch == -1
    }

    /// Where the client says that it is.
    pub(crate) fn rack(&self) -> &str {
        &self.request.rack_id
    }

    /// The session's id and epoch.
    pub(crate) fn session(&self) -> (i32, i32) {
        (self.request.session_id, self.request.session_epoch)
    }

    /// What is asked for: each partition and its offset.
    pub(crate) fn partitions(&self) -> Vec<(i32, i64)> {
        let partitions = self.request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|asked| (asked.partition, asked.fetch_offset)).collect()
    }

    /// The epoch of the record before the offset that is asked for, by partition.
    pub(crate) fn fetched_epochs(&self) -> Vec<(i32, i32)> {
        let partitions = self.request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|asked| (asked.partition, asked.last_fetched_epoch)).collect()
    }

    /// How much is asked of each partition.
    pub(crate) fn partition_max_bytes(&self) -> Vec<usize> {
        let partitions = self.request.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|asked| usize::try_from(asked.partition_max_bytes).unwrap()).collect()
    }

    /// How much the answer should not exceed.
    pub(crate) fn max_bytes(&self) -> usize {
        usize::try_from(self.request.max_bytes).unwrap()
    }
}

impl Brokers {
    /// Carries out an operation, and says what came of it if that is known at once.
    pub(crate) fn carry_out(&mut self, op: IoOp) -> Option<Completion> {
        match op {
            IoOp::Connect { conn, address } => {
                let broker = i32::from(address.port()) - 9000;
                if self.refusing.contains(&broker) {
                    let result = Err(std::io::ErrorKind::ConnectionRefused.into());
                    return Some(Completion::Connected { conn, result });
                }
                let (outgoing, incoming) = (Vec::new(), VecDeque::new());
                self.wires.insert(conn, Wire { broker, outgoing, incoming, receive: None, is_broken: false });
                Some(Completion::Connected { conn, result: Ok(()) })
            }
            IoOp::Send { conn, bytes } => {
                self.take_requests(conn, &bytes);
                Some(Completion::Sent { conn, bytes, result: Ok(()) })
            }
            IoOp::Receive { conn, target } => {
                if let Some(wire) = self.wires.get_mut(&conn) {
                    wire.receive = Some(target);
                }
                None
            }
            IoOp::Close { conn } => {
                self.wires.remove(&conn);
                self.fetches.retain(|asked| asked.conn != conn);
                None
            }
        }
    }

    /// The receives that end with what was sent so far.
    pub(crate) fn received(&mut self) -> Vec<Completion> {
        let mut completions = Vec::new();
        for (&conn, wire) in &mut self.wires {
            let is_due = wire.receive.as_ref().is_some_and(|target| {
                let least = if target.whole { target.len } else { 1 };
                wire.is_broken || wire.incoming.len() >= least
            });
            let Some(mut target) = wire.receive.take_if(|_| is_due) else { continue };
            let count = target.len.min(wire.incoming.len());
            let bytes: Vec<u8> = wire.incoming.drain(..count).collect();
            target.frame.fill(target.start, &bytes);
            completions.push(Completion::Received { conn, target, result: Ok(count) });
        }
        completions
    }

    /// Answers a Fetch. A session that is asked for is granted under the broker's own number.
    pub(crate) fn answer(&mut self, asked: &Asked, answers: &[Answer]) {
        let session_id = if asked.is_sessionless() { 0 } else { 100 + asked.broker };
        self.answer_as(asked, answers, 0, session_id, usize::MAX);
    }

    /// Answers a Fetch with an error of the whole response.
    pub(crate) fn refuse(&mut self, asked: &Asked, error: i16) {
        self.answer_as(asked, &[], error, 0, usize::MAX);
    }

    /// Answers a Fetch without keeping a session.
    pub(crate) fn answer_without_session(&mut self, asked: &Asked, answers: &[Answer]) {
        self.answer_as(asked, answers, 0, 0, usize::MAX);
    }

    /// Answers a Fetch and breaks the connection off after so many bytes.
    pub(crate) fn answer_in_part(&mut self, asked: &Asked, answers: &[Answer], bytes: usize) {
        self.answer_as(asked, answers, 0, 100 + asked.broker, bytes);
        self.break_off(asked.conn);
    }

    /// Breaks a connection: what was sent before still arrives.
    pub(crate) fn break_off(&mut self, conn: ConnId) {
        if let Some(wire) = self.wires.get_mut(&conn) {
            wire.is_broken = true;
        }
    }

    fn answer_as(&mut self, asked: &Asked, answers: &[Answer], error: i16, session_id: i32, bytes: usize) {
        let topic = FetchableTopicResponse::default()
            .with_topic(TopicName(StrBytes::from_static_str(TOPIC)))
            .with_partitions(answers.iter().map(Answer::partition_data).collect());
        let topics = if answers.is_empty() { Vec::new() } else { vec![topic] };
        let response = FetchResponse::default()
            .with_error_code(error)
            .with_throttle_time_ms(self.throttle_ms)
            .with_session_id(session_id)
            .with_responses(topics);
        let (version, header_version) =
            if self.are_old { (OLD_FETCH_VERSION, 0) } else { (FETCH_VERSION, 1) };
        if let Some(wire) = self.wires.get_mut(&asked.conn) {
            let frame = framed(asked.correlation_id, header_version, &response, version);
            wire.incoming.extend(frame.into_iter().take(bytes));
        }
    }

    fn take_requests(&mut self, conn: ConnId, bytes: &[u8]) {
        let newest_fetch = if self.are_old { OLD_FETCH_VERSION } else { FETCH_VERSION };
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        wire.outgoing.extend_from_slice(bytes);
        while let Some(len) = wire.outgoing.first_chunk().map(|&size| u32::from_be_bytes(size) as usize)
            && wire.outgoing.len() >= 4 + len
        {
            let rest = wire.outgoing.split_off(4 + len);
            let mut frame = Bytes::from(std::mem::replace(&mut wire.outgoing, rest)).slice(4..);
            let (api, version) = (frame.slice(..2).get_i16(), frame.slice(2..4).get_i16());
            let flexible_since = if api == ApiKey::Fetch as i16 { FETCH_VERSION } else { 3 };
            let header_version = if version >= flexible_since { 2 } else { 1 };
            let header = RequestHeader::decode(&mut frame, header_version).unwrap();
            let correlation_id = header.correlation_id;
            if api == ApiKey::Fetch as i16 {
                assert_eq!(version, newest_fetch);
                let request = FetchRequest::decode(&mut frame, version).unwrap();
                self.fetches.push_back(Asked { conn, broker: wire.broker, correlation_id, request });
            } else {
                let ranges = [(ApiKey::Fetch, 4, newest_fetch), (ApiKey::ApiVersions, 0, 3)];
                let keys = ranges.map(|(key, min, max)| {
                    ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
                });
                let response = ApiVersionsResponse::default().with_api_keys(keys.to_vec());
                wire.incoming.extend(framed(correlation_id, 0, &response, version));
            }
        }
    }
}

fn framed(correlation_id: i32, header_version: i16, response: &impl Encodable, version: i16) -> Vec<u8> {
    let mut body = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header.encode(&mut body, header_version).unwrap();
    response.encode(&mut body, version).unwrap();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body[..]].concat()
}
