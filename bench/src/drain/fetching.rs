//! Fetches within one incremental session, and how far each partition is.

use std::collections::BTreeMap;

use millstream_protocol::fetch::request::{FetchOptions, FetchPartition, IsolationLevel};
use millstream_protocol::fetch::response::FetchResponse;
use millstream_protocol::fetch::session::{FetchSession, SessionOutcome};
use millstream_protocol::record::RecordBatches;
use millstream_protocol::request::{ApiKey, ErrorCode};
use serde_json::{Value, json};

use super::link::MAX_RESPONSE_BYTES;
use super::wire::{CLIENT_ID, Wire};
use crate::contract::{Failure, Isolation, Request};

/// What a response has beside records, at most, in proportion to its partitions.
const PARTITION_OVERHEAD_BYTES: usize = 128;

/// The fetching of all partitions of one topic. A partition's number is its slot in the session.
pub(super) struct Fetching {
    session: FetchSession,
    options: FetchOptions<'static>,
    /// As they are at the beginning.
    partitions: Vec<FetchPartition>,
    version: i16,
    request: Vec<u8>,
    /// The largest that is expected.
    response_bytes: usize,
}

impl Fetching {
    pub(super) fn new(request: &Request, mut partitions: Vec<FetchPartition>) -> Result<Self, Failure> {
        let fetching = &request.fetching;
        let partition_max_bytes = i32::try_from(fetching.partition_max_bytes)?;
        partitions.iter_mut().for_each(|partition| partition.max_bytes = partition_max_bytes);
        let of_all = u64::from(fetching.partition_max_bytes) * partitions.len() as u64;
        let max_bytes = u64::from(fetching.max_bytes).min(of_all);
        let options = FetchOptions {
            max_wait_ms: i32::try_from(fetching.wait_ms)?,
            min_bytes: i32::try_from(fetching.min_bytes)?,
            max_bytes: i32::try_from(max_bytes)?,
            isolation: match request.isolation {
                Isolation::ReadUncommitted => IsolationLevel::ReadUncommitted,
                Isolation::ReadCommitted => IsolationLevel::ReadCommitted,
            },
            client_id: CLIENT_ID,
            rack: "",
        };
        let mut fetching = Self {
            session: FetchSession::new(),
            options,
            version: 0,
            request: Vec::new(),
            response_bytes: max_bytes as usize + PARTITION_OVERHEAD_BYTES * partitions.len(),
            partitions,
        };
        fetching.restart();
        Ok(fetching)
    }

    /// Makes room for responses ahead.
    pub(super) fn make_room(&self, wire: &mut Wire) {
        wire.link.make_room(self.response_bytes);
    }

    /// Goes back to the beginning of every partition.
    pub(super) fn restart(&mut self) {
        for partition in &self.partitions {
            // Partitions count from 0.
            self.session.set(partition.partition as u32, partition.clone());
        }
    }

    /// Sends the next Fetch.
    pub(super) fn send(&mut self, wire: &mut Wire) -> Result<(), Failure> {
        self.version = wire.version_of(ApiKey::Fetch)?.min(self.session.version_limit());
        self.request.clear();
        self.session.build(self.version, &self.options, wire.next_id(), &mut self.request)?;
        wire.send(&self.request)
    }

    /// Receives the response, moves every partition on behind its last whole batch, and answers how many records came.
    pub(super) fn receive(&mut self, wire: &mut Wire) -> Result<u64, Failure> {
        wire.receive(MAX_RESPONSE_BYTES)?;
        let (_, response) = FetchResponse::parse_frame(self.version, wire.link.response())?;
        if let SessionOutcome::Lost(code) =
            self.session.on_response(response.error_code(), response.session_id())
        {
            return Err(format!("the broker answered a Fetch with {code}").into());
        }
        let mut records = 0;
        for partition in response.partitions() {
            if partition.error_code != 0 {
                let code = ErrorCode(partition.error_code);
                return Err(
                    format!("the broker answered for partition {} with {code}", partition.index).into()
                );
            }
            let mut last = None;
            for batch in RecordBatches::new(partition.records) {
                let batch = batch?;
                records += u64::from(batch.record_count());
                last = Some((batch.next_offset(), batch.partition_leader_epoch()));
            }
            let slot = u32::try_from(partition.index)?;
            if let Some((next_offset, epoch)) = last {
                self.session.advance(slot, next_offset, epoch);
                self.session.served(slot);
            }
        }
        Ok(records)
    }

    /// The batches of the last response, partition by partition.
    pub(super) fn record_batches<'a>(&self, wire: &'a Wire) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let parsed = FetchResponse::parse_frame(self.version, wire.link.response());
        parsed.into_iter().flat_map(|(_, response)| response.partitions().map(|partition| partition.records))
    }

    /// Everything that was set, and how much came.
    pub(super) fn settings(&self, wire: &Wire) -> BTreeMap<String, Value> {
        let settings = [
            ("receive", json!(wire.receive_name())),
            ("max_bytes", json!(self.options.max_bytes)),
            (
                "partition_max_bytes",
                json!(self.partitions.first().map_or(0, |partition| partition.max_bytes)),
            ),
            ("max_wait_ms", json!(self.options.max_wait_ms)),
            ("min_bytes", json!(self.options.min_bytes)),
            ("fetch_version", json!(self.version)),
            ("responses", json!(wire.responses)),
            ("received_bytes", json!(wire.received_bytes)),
            ("system_calls", json!(wire.link.calls())),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
