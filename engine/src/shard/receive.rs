//! A Fetch response, walked in place: what each lane gets of it, and where its next fetch begins.

use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::backoff::backoff;
use millstream_protocol::fetch::request::FetchPartition;
use millstream_protocol::fetch::response::{
    CurrentLeader, DivergingEpoch, FetchResponse, Partition, TopicRef,
};
use millstream_protocol::fetch::session::SessionOutcome;
use millstream_protocol::record::{Delivery, RecordBatch, RecordBatches, Tail};
use millstream_protocol::request::ErrorCode;

use super::Shard;
use super::fetch::whole_batches_bytes;
use super::lane::{Lane, LaneState, PendingBatch};
use super::route::RouteKind;
use crate::error::LaneErrorCause;
use crate::link::{Event, Leader};
use crate::memory::Frame;
use crate::net::{ConnId, mute_until};
use crate::stats::Stage;

/// A partition whose bytes cannot be understood is fetched anew this many times before its lane fails.
const MALFORMED_REFETCHES_MAX: u32 = 3;

/// Since this version of Fetch a client waits out a quota; before, brokers did before they answered.
const CLIENT_WAITS_SINCE: i16 = 8;

/// Endpoints that are looked at in one response: one for each leader that has moved.
const ENDPOINTS_MAX: usize = 1024;

/// Sessions lost in a row before the connection is given up, so that its backoff applies.
const SESSION_FAILURES_MAX: u32 = 3;

/// When a request left and the bytes of its response came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    /// The request left.
    pub(crate) sent_at: Instant,
    /// The first byte.
    pub(crate) first_byte_at: Instant,
    /// The last one.
    pub(crate) complete_at: Instant,
}

impl Shard {
    /// Takes a whole response. What cannot be understood of it breaks the connection.
    pub(crate) fn on_fetch_response(
        &mut self,
        broker: usize,
        kind: RouteKind,
        conn: ConnId,
        frame: &Frame,
        received: Received,
    ) -> Result<(), String> {
        let Some(fetching) = self.brokers[broker].route(kind).fetching.take() else {
            return Err("a response that was not asked for".to_owned());
        };
        self.record_response(frame, received);
        let parsed = FetchResponse::parse_frame(fetching.version, frame.as_slice());
        let (_, response) = parsed.map_err(|error| format!("a malformed Fetch response: {error}"))?;
        if fetching.version >= CLIENT_WAITS_SINCE {
            self.brokers[broker].route(kind).muted_until =
                mute_until(response.throttle_time_ms(), received.complete_at);
        }
        self.tell_endpoints(&response);
        match kind {
            RouteKind::Session => {
                self.take_session_response(broker, conn, frame, &response, received.complete_at)
            }
            RouteKind::Sessionless => {
                self.take_sessionless_response(broker, conn, frame, &response, received.complete_at)
            }
        }
    }

    /// Where leaders are reached that the response names, for the control plane to resolve and to tell all shards.
    fn tell_endpoints(&mut self, response: &FetchResponse<'_>) {
        for endpoint in response.node_endpoints().take(ENDPOINTS_MAX) {
            if let Ok(port) = u16::try_from(endpoint.port)
                && port != 0
                && endpoint.node_id >= 0
            {
                let (id, host) = (endpoint.node_id, Arc::from(endpoint.host));
                self.events.push_back(Event::BrokerTold { id, host, port });
            }
        }
    }

    fn record_response(&mut self, frame: &Frame, received: Received) {
        let waited = received.first_byte_at.saturating_duration_since(received.sent_at);
        self.stats.record(Stage::BrokerWait, waited, None, -1);
        let took = received.complete_at.saturating_duration_since(received.first_byte_at);
        self.stats.record(Stage::Receive, took, None, -1);
        self.stats.counters.received_bytes += frame.len() as u64;
    }

    fn take_session_response(
        &mut self,
        broker: usize,
        conn: ConnId,
        frame: &Frame,
        response: &FetchResponse<'_>,
        now: Instant,
    ) -> Result<(), String> {
        let mut had_data = false;
        let mut topic = None;
        for partition in response.partitions() {
            let session = &mut self.brokers[broker].session;
            let index = match topic {
                Some((known, index)) if known == partition.topic => index,
                _ => {
                    let index = match partition.topic {
                        TopicRef::Name(name) => session.topic_by_name(name),
                        TopicRef::Id(id) => session.topic_by_id(&id),
                    };
                    topic = Some((partition.topic, index));
                    index
                }
            };
            let Some(slot) = index.and_then(|index| session.slot(index, partition.index)) else { continue };
            // Empty answers keep their place: without a session every partition is in every answer.
            if !partition.records.is_empty() || partition.error_code != 0 {
                session.served(slot);
            }
            had_data |= !partition.records.is_empty();
            self.take_carried(slot, conn, &partition, frame, now);
        }
        let broker = &mut self.brokers[broker];
        broker.answers_with_data = had_data;
        match broker.session.on_response(response.error_code(), response.session_id()) {
            SessionOutcome::Lost(error) => {
                broker.session_failures += 1;
                let is_expected = matches!(
                    error,
                    ErrorCode::FETCH_SESSION_ID_NOT_FOUND
                        | ErrorCode::INVALID_FETCH_SESSION_EPOCH
                        | ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR
                );
                if !is_expected || broker.session_failures > SESSION_FAILURES_MAX {
                    return Err(format!("Fetch was refused with {error}"));
                }
                self.stats.counters.sessions_evicted += 1;
                if broker.may_tell_of_session(now) {
                    let (broker, reason) = (Arc::clone(&broker.endpoint.name), error.to_string());
                    self.events.push_back(Event::SessionEvicted { broker, reason });
                }
            }
            SessionOutcome::Refused => {
                broker.session_failures = 0;
                self.stats.counters.sessions_refused += 1;
                if broker.may_tell_of_session(now) {
                    self.events
                        .push_back(Event::SessionRefused { broker: Arc::clone(&broker.endpoint.name) });
                }
            }
            _ => broker.session_failures = 0,
        }
        Ok(())
    }

    fn take_sessionless_response(
        &mut self,
        broker: usize,
        conn: ConnId,
        frame: &Frame,
        response: &FetchResponse<'_>,
        now: Instant,
    ) -> Result<(), String> {
        let mut asked = std::mem::take(&mut self.brokers[broker].sessionless);
        for partition in response.partitions() {
            let is_it = |wanted: &&(u32, FetchPartition)| {
                wanted.1.partition == partition.index
                    && match partition.topic {
                        TopicRef::Name(name) => *wanted.1.topic == *name,
                        TopicRef::Id(id) => wanted.1.topic_id == id,
                    }
            };
            if let Some((slot, _)) = asked.iter().find(is_it) {
                self.take_carried(*slot, conn, &partition, frame, now);
            }
        }
        for (slot, _) in &asked {
            self.release_carried(*slot, conn);
        }
        asked.clear();
        self.brokers[broker].sessionless = asked;
        match response.error_code() {
            0 => Ok(()),
            code => Err(format!("Fetch was refused with {}", ErrorCode(code))),
        }
    }

    /// The partition's part, unless its lane has moved on to another fetch generation.
    fn take_carried(
        &mut self,
        slot: u32,
        conn: ConnId,
        partition: &Partition<'_>,
        frame: &Frame,
        now: Instant,
    ) {
        let Some(mut lane) = self.lanes.take(slot) else { return };
        if lane.carried == Some(conn) {
            lane.carried = None;
            self.take_partition(&mut lane, partition, frame, now);
            self.touch(&mut lane);
        }
        self.lanes.put_back(lane);
    }

    pub(super) fn take_partition(
        &mut self,
        lane: &mut Lane,
        partition: &Partition<'_>,
        frame: &Frame,
        now: Instant,
    ) {
        let error = ErrorCode(partition.error_code);
        if lane.replica.is_some() && (error != ErrorCode::NONE || partition.diverging_epoch.is_some()) {
            let reason = match error {
                ErrorCode::NONE => "its log ends before the offset".to_owned(),
                error => error.to_string(),
            };
            lane.last_error = Some(Arc::from(&*reason));
            return self.leave_replica(lane, &reason);
        }
        if error != ErrorCode::NONE {
            return self.on_partition_error(lane, error, partition.current_leader, now);
        }
        if let Some(diverging) = partition.diverging_epoch {
            return self.on_diverging(lane, diverging, now);
        }
        if lane.replica.is_some() {
            // A follower learns of these later than its leader, who may have told them.
            lane.high_watermark = lane.high_watermark.max(partition.high_watermark);
            lane.last_stable_offset = lane.last_stable_offset.max(partition.last_stable_offset);
        } else {
            lane.high_watermark = partition.high_watermark;
            lane.last_stable_offset = partition.last_stable_offset;
        }
        if partition.preferred_read_replica >= 0 {
            self.on_replica_named(lane, partition.preferred_read_replica, now);
        }
        if !lane.is_holder && !partition.records.is_empty() {
            lane.is_holder = true;
            self.holders.push(lane.id.slot);
        }
        let was_empty = !lane.is_dispatchable();
        match self.take_batches(lane, partition, frame, now) {
            Ok(()) => {
                lane.fetch_failures = 0;
                lane.retry_at = None;
            }
            Err(reason) if lane.fetch_failures < MALFORMED_REFETCHES_MAX => {
                lane.last_error = Some(Arc::from(&*reason));
                tracing::warn!(topic = %lane.topic.name, partition = lane.partition, offset = lane.fetch_offset,
                    "{reason}: fetching it again");
                self.leave_replica(lane, &reason);
                self.retry_later(lane, now);
            }
            Err(reason) => self.fail(lane, LaneErrorCause::Malformed(reason)),
        }
        if lane.is_dispatchable() {
            if was_empty {
                self.list_ready(lane);
            }
        } else {
            self.report_end(lane);
        }
    }

    /// Queues the whole batches and moves the cursor behind them. Only headers are read here: the rest is decoded
    /// when it is dispatched, while it is in the cache.
    fn take_batches(
        &mut self,
        lane: &mut Lane,
        partition: &Partition<'_>,
        frame: &Frame,
        now: Instant,
    ) -> Result<(), String> {
        self.filter.load(partition.aborted_transactions);
        let start = partition.records_range.start;
        let mut batches = RecordBatches::new(partition.records);
        let (mut whole_batches, mut whole_bytes) = (0, 0);
        for batch in batches.by_ref() {
            let batch = batch.map_err(|error| error.to_string())?;
            let delivery = self.delivery(&batch)?;
            // The broker finds a batch by an index, so that those before the asked offset can come along.
            if batch.next_offset() <= lane.fetch_offset {
                continue;
            }
            whole_batches += 1;
            whole_bytes += batch.bytes().len();
            let at = start + batch.position();
            lane.queued_bytes += batch.bytes().len();
            lane.is_compact = false;
            lane.queue.push_back(PendingBatch {
                frame: frame.clone(),
                range: at..at + batch.bytes().len(),
                base_offset: batch.base_offset(),
                next_offset: batch.next_offset(),
                leader_epoch: batch.partition_leader_epoch(),
                deliver: delivery == Delivery::Deliver && batch.record_count() > 0,
                arrived: now,
            });
            lane.fetch_offset = batch.next_offset();
            lane.fetch_epoch = batch.partition_leader_epoch();
        }
        let is_cut = batches.tail() != Tail::Complete;
        let any = whole_batches > 0;
        // One that is cut because the whole answer is full says nothing of this partition's part.
        lane.ask_bytes = match is_cut {
            true => whole_batches_bytes(whole_batches, whole_bytes, self.settings.partition_fetch_max_bytes),
            false => lane.ask_bytes,
        };
        if !any && !partition.records.is_empty() && (lane.wants_alone || !is_cut) {
            let offset = lane.fetch_offset;
            return Err(format!(
                "the broker sends records, but no whole batch of what begins at offset {offset}"
            ));
        }
        lane.wants_alone = !any && is_cut;
        Ok(())
    }

    fn delivery(&mut self, batch: &RecordBatch<'_>) -> Result<Delivery, String> {
        if batch.is_control() && self.settings.check_crcs {
            batch.verify_crc().map_err(|error| error.to_string())?;
        }
        self.filter.delivery(batch, self.decoder.decompressor()).map_err(|error| error.to_string())
    }

    /// The leader's log is not the one that was read: an unclean election has cut it.
    fn on_diverging(&mut self, lane: &mut Lane, diverging: DivergingEpoch, now: Instant) {
        // What was fetched before is handled first, as where the offset is out of range.
        if lane.has_waiting() || lane.has_records_out() {
            return self.retry_later(lane, now);
        }
        lane.state = LaneState::OutOfRange;
        let DivergingEpoch { epoch, end_offset } = diverging;
        let (lane, offset, seek) = (lane.id, lane.fetch_offset, lane.seek);
        self.events.push_back(Event::Truncated { lane, offset, epoch, end_offset, seek });
    }

    fn on_partition_error(
        &mut self,
        lane: &mut Lane,
        error: ErrorCode,
        current_leader: Option<CurrentLeader>,
        now: Instant,
    ) {
        lane.last_error = Some(Arc::from(error.to_string()));
        match error {
            // What was fetched before is handled first: the seek that answers this would drop it.
            ErrorCode::OFFSET_OUT_OF_RANGE if lane.has_waiting() || lane.has_records_out() => {
                self.retry_later(lane, now)
            }
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                lane.state = LaneState::OutOfRange;
                let (lane, offset, seek) = (lane.id, lane.fetch_offset, lane.seek);
                self.events.push_back(Event::OutOfRange { lane, offset, seek });
            }
            error if error.needs_metadata_refresh() => {
                tracing::debug!(topic = %lane.topic.name, partition = lane.partition, %error, "leader wanted");
                lane.leader_wanted = true;
                self.retry_later(lane, now);
                let known = lane.leader.map_or(-1, |leader| leader.epoch);
                let lane = lane.id;
                // A leader that the broker names itself spares the way through metadata (KIP-951).
                if let Some(newer) = current_leader.filter(|at| at.leader_id >= 0 && at.leader_epoch > known)
                {
                    let leader = Leader { broker: newer.leader_id, epoch: newer.leader_epoch };
                    self.events.push_back(Event::LeaderTold { lane, leader });
                }
                self.events.push_back(match error {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID => {
                        Event::TopicUnknown { lane }
                    }
                    error => Event::LeaderWanted { lane, reason: error.name() },
                });
            }
            // The broker failed in some way of its own; like Java's client, ask again.
            error if error.is_retriable() || error == ErrorCode::UNKNOWN_SERVER_ERROR => {
                tracing::debug!(topic = %lane.topic.name, partition = lane.partition, %error, "fetching again later");
                self.retry_later(lane, now);
            }
            error => self.fail(lane, LaneErrorCause::Broker(error.to_string())),
        }
    }

    /// Leaves the lane alone for `retry.backoff.ms`, longer with each failure in a row.
    pub(super) fn retry_later(&mut self, lane: &mut Lane, now: Instant) {
        lane.fetch_failures = lane.fetch_failures.saturating_add(1);
        let (base, max) = (self.settings.retry_backoff, self.settings.retry_backoff_max);
        let at = now + backoff(base, max, lane.fetch_failures, &mut self.rng);
        lane.retry_at = Some(at);
        self.retry_at = Some(self.retry_at.map_or(at, |first| first.min(at)));
        self.retries.push(lane.id.slot);
    }
}
