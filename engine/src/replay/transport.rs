//! A transport without sockets: a broker in the same thread that answers each Fetch out of memory.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsResponse, FetchRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};
use millstream_protocol::record::{RecordBatches, restamp};
use millstream_protocol::request::ApiKey;

use super::{Plan, TOPIC_ID};
use crate::net::{Completion, ConnId, IoOp, ReceiveTarget, Transport, TransportCounters, Wait};

/// The Fetch that is answered: topics by id, as every broker of today does.
const FETCH_VERSION: i16 = 17;
const SESSION_ID: i32 = 7;
const REQUEST_HEADER_VERSION: i16 = 2;

/// A broker that has records of some partitions for ever, and never anything of the others.
pub(super) struct MemoryTransport {
    partitions: Vec<Partition>,
    /// Partitions below it have records.
    active: usize,
    /// Where the next answer begins, so that all of them get their turn.
    first: usize,
    /// Answers with records that are still to be given.
    answers_left: u64,
    /// Fetches that wait until there is something to give.
    parked: Vec<Asked>,
    wires: Vec<Wire>,
    ready: Vec<Completion>,
    counters: TransportCounters,
}

/// What the broker knows of one partition.
#[derive(Default)]
struct Partition {
    /// From which offset on the fetch session wants it.
    wanted: Option<i64>,
    /// Whole batches, whose offsets are moved on before each answer.
    records: Vec<u8>,
    batches: Vec<Batch>,
    /// Offsets from the first batch to behind the last one.
    span: i64,
}

/// A batch within the records of an answer, and how far its first offset is behind the first one.
struct Batch {
    range: Range<usize>,
    offset: i64,
}

/// A Fetch, as far as its answer depends on it.
struct Asked {
    conn: ConnId,
    correlation_id: i32,
    session_epoch: i32,
    max_bytes: usize,
}

/// One connection.
struct Wire {
    conn: ConnId,
    /// What is answered beside records.
    plain: Vec<u8>,
    /// What is still to be received, in order.
    pieces: VecDeque<Piece>,
    receive: Option<ReceiveTarget>,
}

/// Bytes on their way.
enum Piece {
    /// Of the wire's own.
    Plain(Range<usize>),
    /// Of the records of a partition.
    Records { partition: usize, range: Range<usize> },
}

impl MemoryTransport {
    /// The broker that the plan asks for.
    pub(super) fn new(plan: &Plan) -> Self {
        let partitions = (0..plan.partitions).map(|index| {
            let records = if index < plan.active { plan.answer.as_slice() } else { &[] };
            Partition::new(records)
        });
        Self {
            partitions: partitions.collect(),
            active: plan.active,
            first: 0,
            answers_left: 0,
            parked: Vec::new(),
            wires: Vec::new(),
            ready: Vec::new(),
            counters: TransportCounters::default(),
        }
    }

    /// Gives so many more answers with records.
    pub(super) fn give(&mut self, answers: u64) {
        self.answers_left += answers;
        for asked in std::mem::take(&mut self.parked) {
            self.answer_fetch(&asked);
            self.deliver(asked.conn);
        }
    }

    /// Whether all of them are given, and received.
    pub(super) fn has_given(&self) -> bool {
        self.answers_left == 0
            && self.ready.is_empty()
            && self.wires.iter().all(|wire| wire.pieces.is_empty())
    }

    fn take_request(&mut self, conn: ConnId, request: &[u8]) {
        let mut request = Bytes::copy_from_slice(request);
        request.advance(size_of::<i32>());
        let header = RequestHeader::decode(&mut request, REQUEST_HEADER_VERSION);
        let header = header.expect("the shard writes requests of the versions that it was offered");
        if header.request_api_key != ApiKey::Fetch as i16 {
            return self.answer_versions(conn, &header);
        }
        let fetch = FetchRequest::decode(&mut request, FETCH_VERSION);
        let fetch = fetch.expect("the shard writes requests of the versions that it was offered");
        if fetch.session_epoch == 0 {
            self.partitions.iter_mut().for_each(|partition| partition.wanted = None);
        }
        for asked in fetch.topics.iter().flat_map(|topic| &topic.partitions) {
            self.partitions[asked.partition as usize].wanted = Some(asked.fetch_offset);
        }
        for &gone in fetch.forgotten_topics_data.iter().flat_map(|topic| &topic.partitions) {
            self.partitions[gone as usize].wanted = None;
        }
        let asked = Asked {
            conn,
            correlation_id: header.correlation_id,
            session_epoch: fetch.session_epoch,
            max_bytes: usize::try_from(fetch.max_bytes).unwrap_or(0),
        };
        match self.answers_left {
            0 => self.parked.push(asked),
            _ => self.answer_fetch(&asked),
        }
    }

    fn answer_versions(&mut self, conn: ConnId, header: &RequestHeader) {
        let ranges = [(ApiKey::Fetch, 4, FETCH_VERSION), (ApiKey::ApiVersions, 0, 3)];
        let keys = ranges.map(|(key, min, max)| {
            ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
        });
        let mut body = BytesMut::new();
        let answered = ResponseHeader::default().with_correlation_id(header.correlation_id);
        let response = ApiVersionsResponse::default().with_api_keys(keys.to_vec());
        answered
            .encode(&mut body, 0)
            .and_then(|()| response.encode(&mut body, header.request_api_version))
            .expect("the answer has no field that its version lacks");
        let wire = self.wire(conn);
        wire.plain.clear();
        wire.plain.extend_from_slice(&(body.len() as i32).to_be_bytes());
        wire.plain.extend_from_slice(&body);
        wire.pieces.push_back(Piece::Plain(0..wire.plain.len()));
    }

    /// Answers as a broker does: partitions with records in turn, as many as the request takes, at least one; to a full
    /// request the others, too.
    fn answer_fetch(&mut self, asked: &Asked) {
        let is_full = asked.session_epoch <= 0;
        let mut left = asked.max_bytes;
        let mut served = Vec::new();
        if self.answers_left > 0 {
            for index in (self.first..self.active).chain(0..self.first) {
                let partition = &mut self.partitions[index];
                let Some(wanted) = partition.wanted else { continue };
                if partition.records.len() > left && !served.is_empty() {
                    break;
                }
                left = left.saturating_sub(partition.records.len());
                partition.move_to(wanted);
                // Until a request says otherwise, which the next one will.
                partition.wanted = Some(wanted + partition.span);
                served.push(index);
            }
            self.first = served.last().map_or(self.first, |last| (last + 1) % self.active.max(1));
            self.answers_left -= u64::from(!served.is_empty());
        }
        let has_none = |index: &usize| self.partitions[*index].wanted.is_some() && !served.contains(index);
        let named = if is_full { 0..self.partitions.len() } else { 0..0 };
        let empty: Vec<usize> = named.filter(has_none).collect();
        let session_id = if asked.session_epoch < 0 { 0 } else { SESSION_ID };
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.conn == asked.conn) else { return };
        wire.answer(asked.correlation_id, session_id, &served, &empty, &self.partitions);
    }

    fn wire(&mut self, conn: ConnId) -> &mut Wire {
        let index = self.wires.iter().position(|wire| wire.conn == conn);
        let index = index.expect("the shard sends over connections that it has opened");
        &mut self.wires[index]
    }

    /// Completes the receive of a connection, if there is one and something for it.
    fn deliver(&mut self, conn: ConnId) {
        let Some(wire) = self.wires.iter_mut().find(|wire| wire.conn == conn) else { return };
        if wire.pieces.is_empty() {
            return;
        }
        let Some(mut target) = wire.receive.take() else { return };
        let mut received = 0;
        while received < target.len
            && let Some(piece) = wire.pieces.front_mut()
        {
            let room = target.len - received;
            let at = target.start + received;
            let (bytes, range) = match piece {
                Piece::Plain(range) => (&wire.plain, range),
                Piece::Records { partition, range } => (&self.partitions[*partition].records, range),
            };
            let taken = room.min(range.len());
            target.frame.fill(at, &bytes[range.start..range.start + taken]);
            range.start += taken;
            received += taken;
            if range.start == range.end {
                wire.pieces.pop_front();
            }
        }
        self.counters.received_bytes += received as u64;
        self.ready.push(Completion::Received { conn, target, result: Ok(received) });
    }
}

impl Partition {
    fn new(records: &[u8]) -> Self {
        let mut batches = Vec::new();
        let mut span = 0;
        for batch in RecordBatches::new(records) {
            let batch = batch.expect("the plan's record batches are whole");
            let range = batch.position()..batch.position() + batch.bytes().len();
            batches.push(Batch { range, offset: batch.base_offset() });
            span = batch.next_offset();
        }
        Self { wanted: None, records: records.to_vec(), batches, span }
    }

    /// The records of an answer begin at `offset`.
    fn move_to(&mut self, offset: i64) {
        for batch in &self.batches {
            restamp(&mut self.records[batch.range.clone()], offset + batch.offset, 0);
        }
    }
}

impl Wire {
    fn answer(
        &mut self,
        correlation_id: i32,
        session_id: i32,
        served: &[usize],
        empty: &[usize],
        partitions: &[Partition],
    ) {
        let Self { plain, pieces, .. } = self;
        plain.clear();
        plain.extend_from_slice(&[0; 4]); // the size, written when it is known
        plain.extend_from_slice(&correlation_id.to_be_bytes());
        plain.push(0); // the header's tags
        plain.extend_from_slice(&[0; 6]); // throttled for, error
        plain.extend_from_slice(&session_id.to_be_bytes());
        let count = served.len() + empty.len();
        write_varint(plain, if count == 0 { 1 } else { 2 });
        if count > 0 {
            plain.extend_from_slice(&TOPIC_ID);
            write_varint(plain, count + 1);
        }
        let mut start = 0;
        let mut records_bytes = 0;
        let all = served.iter().map(|index| (*index, true)).chain(empty.iter().map(|index| (*index, false)));
        for (index, has_records) in all {
            let partition = &partitions[index];
            let end = partition.wanted.unwrap_or(0);
            plain.extend_from_slice(&(index as i32).to_be_bytes());
            plain.extend_from_slice(&[0; 2]); // error
            plain.extend_from_slice(&end.to_be_bytes());
            plain.extend_from_slice(&end.to_be_bytes());
            plain.extend_from_slice(&[0; 8]); // log start
            write_varint(plain, 0); // no aborted transactions
            plain.extend_from_slice(&(-1_i32).to_be_bytes()); // no preferred replica
            let len = if has_records { partition.records.len() } else { 0 };
            write_varint(plain, len + 1);
            if has_records {
                pieces.push_back(Piece::Plain(start..plain.len()));
                pieces.push_back(Piece::Records { partition: index, range: 0..len });
                start = plain.len();
                records_bytes += len;
            }
            plain.push(0); // tags
        }
        plain.extend_from_slice(if count > 0 { &[0, 0] } else { &[0] }); // tags of the topic, of the response
        pieces.push_back(Piece::Plain(start..plain.len()));
        let size = (plain.len() - 4 + records_bytes) as i32;
        plain[..4].copy_from_slice(&size.to_be_bytes());
    }
}

fn write_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Transport for MemoryTransport {
    fn submit(&mut self, op: IoOp) {
        match op {
            IoOp::Connect { conn, .. } => {
                let pieces = VecDeque::new();
                self.wires.push(Wire { conn, plain: Vec::new(), pieces, receive: None });
                self.ready.push(Completion::Connected { conn, result: Ok(()) });
            }
            IoOp::Send { conn, bytes } => {
                self.counters.sent_bytes += bytes.len() as u64;
                self.take_request(conn, &bytes);
                self.ready.push(Completion::Sent { conn, bytes, result: Ok(()) });
                self.deliver(conn);
            }
            IoOp::Receive { conn, target } => {
                self.wire(conn).receive = Some(target);
                self.deliver(conn);
            }
            IoOp::Close { conn } => {
                self.wires.retain(|wire| wire.conn != conn);
                self.parked.retain(|asked| asked.conn != conn);
            }
        }
    }

    fn wait(&mut self, _: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.counters.calls += 1;
        self.counters.completions += self.ready.len() as u64;
        completions.append(&mut self.ready);
        Ok(())
    }

    fn has_pending(&mut self) -> bool {
        !self.ready.is_empty()
    }

    fn has_arrived(&mut self) -> bool {
        !self.ready.is_empty()
    }

    fn counters(&self) -> TransportCounters {
        self.counters
    }
}
