//! Fetching: which lanes the next Fetch carries, how much it may bring, and when it leaves.

use std::time::{Duration, Instant};

use millstream_protocol::fetch::request::{
    FETCH_LAST_VERSION_WITH_NAMES, FetchOptions, FetchPartition, IsolationLevel, NO_TOPIC_ID, SessionFields,
    encode_fetch,
};

use super::Shard;
use super::lane::Lane;
use super::route::{Fetching, RouteKind};
use super::routes::TAG_FETCH;
use super::settings::ShardSettings;
use crate::memory::Reservation;
use crate::net::{ConnId, Request};

/// What a response takes beside its records: once, and per partition, bytes.
const RESPONSE_OVERHEAD_BYTES: usize = 1024;
const PARTITION_OVERHEAD_BYTES: usize = 128;
/// What is set aside beside records is at most this part of the share.
const OVERHEAD_DIVISOR: usize = 4;
/// A Fetch that could ask for less than this waits for memory, bytes.
const FETCH_LEAST_BYTES: usize = 64 << 10;
/// Batches of one size differ by about this part of it, so much more than whole batches is asked for.
const BATCH_SPREAD_DIVISOR: usize = 16;
/// How long a sessionless Fetch may be parked. While it is, a lane that comes free waits for it, so it is short.
const SESSIONLESS_WAIT_MAX: Duration = Duration::from_millis(50);
/// Lanes in one sessionless Fetch.
const SESSIONLESS_LANES_MAX: usize = 64;
/// How long a lane that came free waits for a Fetch whose answer is due, before it is fetched beside it.
const DUE_ANSWER_PATIENCE: Duration = Duration::from_millis(10);

impl Shard {
    /// Sends to one broker what can be sent now.
    pub(crate) fn plan_fetches(&mut self, broker: usize, now: Instant) {
        self.plan_session_fetch(broker, now);
        self.plan_sessionless_fetch(broker, now);
    }

    /// The next Fetch of the session leaves as soon as the one before it is answered, whether or not its records are
    /// handled, as long as there is memory for the answer.
    fn plan_session_fetch(&mut self, index: usize, now: Instant) {
        if !self.brokers[index].session_route.is_idle() || self.brokers[index].is_muted() {
            return;
        }
        self.update_session(index, now);
        let lanes = self.brokers[index].session.len();
        if lanes == 0 {
            return;
        }
        let place = (index, RouteKind::Session);
        let Some((reservation, max_bytes)) = self.reserve_in_turn(place, lanes, now) else { return };
        let broker = &mut self.brokers[index];
        let rack = broker.rack_to_tell(&self.settings, now);
        let route = &mut broker.session_route;
        let (Some(connection), Some(newest)) = (route.connection.as_mut(), route.fetch_version) else {
            return;
        };
        let version = newest.min(broker.session.version_limit());
        let options = options(&self.settings, rack, self.settings.fetch_max_wait, max_bytes);
        let mut buffer = connection.take_buffer();
        let correlation_id = connection.next_correlation_id();
        if let Err(error) = broker.session.build(version, &options, correlation_id, &mut buffer) {
            return self.on_route_failed(index, RouteKind::Session, &error.to_string(), now);
        }
        let request = fetch_request(&self.settings, buffer, correlation_id);
        if connection.send(request, now, &mut self.ops).is_err() {
            return self.on_route_failed(index, RouteKind::Session, "it takes no more requests", now);
        }
        let expects_data = broker.answers_with_data;
        route.fetching =
            Some(Fetching { version, reservation: Some(reservation), expects_data, sent_at: now });
        self.stats.counters.fetches += 1;
    }

    /// Brings the session up to date: lanes that became fetchable join it, those that may not be fetched now leave
    /// it, because the broker would send them again and again otherwise.
    fn update_session(&mut self, index: usize, now: Instant) {
        let mut touched = std::mem::take(&mut self.brokers[index].touched);
        let conn = self.brokers[index].session_route.conn();
        touched.retain(|&slot| {
            let Some(mut lane) = self.lanes.take(slot) else {
                self.brokers[index].session.forget(slot);
                return false;
            };
            let keep = self.update_session_lane(index, &mut lane, conn, now);
            lane.is_touched = keep;
            self.lanes.put_back(lane);
            keep
        });
        debug_assert!(self.brokers[index].touched.is_empty());
        self.brokers[index].touched = touched;
    }

    /// Returns whether the lane is still to be looked at, by the sessionless route.
    fn update_session_lane(
        &mut self,
        index: usize,
        lane: &mut Lane,
        conn: Option<ConnId>,
        now: Instant,
    ) -> bool {
        let broker = &mut self.brokers[index];
        let slot = lane.id.slot;
        let is_from_here = lane.source() == Some(broker.endpoint.id);
        let is_fetchable = is_from_here && lane.wants_fetch(self.settings.lane_share_bytes, now);
        let is_elsewhere = lane.carried.is_some() && lane.carried != conn;
        if is_fetchable && !lane.wants_alone && !is_elsewhere {
            broker.session.set(slot, fetch_partition(lane, &self.settings));
            lane.carried = conn;
            return false;
        }
        broker.session.forget(slot);
        if lane.carried == conn {
            lane.carried = None;
        }
        is_fetchable && lane.wants_alone && lane.carried.is_none()
    }

    /// A lane that becomes fetchable while the session's Fetch is parked would wait for as long as that one does, so
    /// it is fetched beside it, and joins the session afterwards. So is one whose next batch only comes whole when it
    /// is asked for alone. Returns whether it waits for memory.
    fn plan_sessionless_fetch(&mut self, index: usize, now: Instant) -> bool {
        let broker = &mut self.brokers[index];
        // Nobody waits for a time that is over.
        broker.look_again_at = None;
        if broker.touched.is_empty() || broker.sessionless_route.fetching.is_some() || broker.is_muted() {
            return false;
        }
        let due_at = broker
            .session_route
            .fetching
            .as_ref()
            .filter(|fetching| fetching.expects_data)
            .map(|fetching| fetching.sent_at + DUE_ANSWER_PATIENCE);
        let is_parked = broker.session_route.fetching.is_some() && due_at.is_none_or(|at| at <= now);
        broker.look_again_at = due_at.filter(|at| *at > now);
        let mut slots = std::mem::take(&mut self.sessionless_slots);
        self.choose_sessionless(index, is_parked, now, &mut slots);
        let mut is_waiting = false;
        if !slots.is_empty() && self.open_route(index, RouteKind::Sessionless, now) {
            match self.reserve_in_turn((index, RouteKind::Sessionless), slots.len(), now) {
                Some((reservation, max_bytes)) => {
                    self.send_sessionless(index, &slots, reservation, max_bytes, now)
                }
                None => is_waiting = true,
            }
        }
        slots.clear();
        self.sessionless_slots = slots;
        is_waiting
    }

    /// Which lanes a sessionless Fetch should carry: one that must be alone, or all that wait beside a parked Fetch.
    fn choose_sessionless(&self, index: usize, is_parked: bool, now: Instant, slots: &mut Vec<u32>) {
        let broker = &self.brokers[index];
        let waiting = |slot: &u32| {
            self.lanes.peek(*slot).filter(|lane| {
                lane.carried.is_none()
                    && lane.wants_fetch(self.settings.lane_share_bytes, now)
                    && lane.source() == Some(broker.endpoint.id)
            })
        };
        let is_alone = |slot: &&u32| waiting(slot).is_some_and(|lane| lane.wants_alone);
        if let Some(alone) = broker.touched.iter().find(is_alone) {
            slots.push(*alone);
        } else if is_parked {
            let all = broker.touched.iter().copied().filter(|slot| waiting(slot).is_some());
            slots.extend(all.take(SESSIONLESS_LANES_MAX));
        }
    }

    fn send_sessionless(
        &mut self,
        index: usize,
        slots: &[u32],
        reservation: Reservation,
        max_bytes: usize,
        now: Instant,
    ) {
        let broker = &mut self.brokers[index];
        let rack = broker.rack_to_tell(&self.settings, now);
        let route = &mut broker.sessionless_route;
        let (Some(connection), Some(newest)) = (route.connection.as_mut(), route.fetch_version) else {
            return;
        };
        let conn = connection.id();
        broker.sessionless.clear();
        let mut version = newest;
        for &slot in slots {
            let Some(lane) = self.lanes.peek_mut(slot) else { continue };
            lane.carried = Some(conn);
            lane.is_touched = false;
            // The session knows it by an older offset, and would be answered about that at once.
            broker.session.forget(slot);
            if lane.topic.id == NO_TOPIC_ID {
                version = version.min(FETCH_LAST_VERSION_WITH_NAMES);
            }
            broker.sessionless.push((slot, fetch_partition(lane, &self.settings)));
        }
        broker.touched.retain(|slot| !slots.contains(slot));
        let max_wait = self.settings.fetch_max_wait.min(SESSIONLESS_WAIT_MAX);
        let options = options(&self.settings, rack, max_wait, max_bytes);
        let mut buffer = connection.take_buffer();
        let correlation_id = connection.next_correlation_id();
        let partitions = broker.sessionless.iter().map(|(_, partition)| partition);
        let session = SessionFields::SESSIONLESS;
        let encoded = encode_fetch(
            version,
            correlation_id,
            &options,
            session,
            partitions,
            std::iter::empty(),
            &mut buffer,
        );
        if let Err(error) = encoded {
            return self.on_route_failed(index, RouteKind::Sessionless, &error.to_string(), now);
        }
        let request = fetch_request(&self.settings, buffer, correlation_id);
        if connection.send(request, now, &mut self.ops).is_err() {
            return self.on_route_failed(index, RouteKind::Sessionless, "it takes no more requests", now);
        }
        route.fetching =
            Some(Fetching { version, reservation: Some(reservation), expects_data: false, sent_at: now });
        self.stats.counters.fetches += 1;
        self.stats.counters.sessionless_fetches += 1;
    }

    /// Sets memory aside for the answer to a Fetch of `lanes` partitions, and says how much it may ask for. Routes that
    /// find too little free stand in line, so that those whose Fetches come and go do not starve them.
    fn reserve_in_turn(
        &mut self,
        place: (usize, RouteKind),
        lanes: usize,
        now: Instant,
    ) -> Option<(Reservation, usize)> {
        let is_first = self.waiting_routes.front().is_none_or(|first| *first == place);
        let reserved = if is_first { self.reserve(lanes, now) } else { None };
        if reserved.is_some() {
            self.leave_line(place);
        } else if !self.waiting_routes.contains(&place) {
            self.waiting_routes.push_back(place);
        }
        reserved
    }

    /// The route got its memory, or wants none any more.
    fn leave_line(&mut self, place: (usize, RouteKind)) {
        self.waiting_routes.retain(|other| *other != place);
    }

    /// Sends what the routes in line wait for, as far as there is memory, and ends the waiting of those that want
    /// nothing any more. Bounded: each round takes the first off the line or ends.
    pub(crate) fn serve_waiting_routes(&mut self, now: Instant) {
        while let Some(&(index, kind)) = self.waiting_routes.front() {
            let is_waiting = match kind {
                RouteKind::Session => {
                    self.plan_session_fetch(index, now);
                    let broker = &self.brokers[index];
                    broker.session_route.is_idle() && !broker.session.is_empty() && !broker.is_muted()
                }
                RouteKind::Sessionless => self.plan_sessionless_fetch(index, now),
            };
            if is_waiting {
                return;
            }
            self.leave_line((index, kind));
        }
    }

    fn reserve(&mut self, lanes: usize, now: Instant) -> Option<(Reservation, usize)> {
        let (bytes, overhead, least) = self.fetch_size(lanes);
        let reservation = (bytes >= least).then(|| self.pool.reserve(bytes)).flatten();
        match reservation {
            Some(_) => self.pressure.eased(),
            None => self.pressure.felt(now),
        }
        reservation.map(|reservation| (reservation, bytes - overhead))
    }

    /// How many bytes the answer to a Fetch of `lanes` partitions may take now, how many of these are not records, and
    /// with how many a Fetch is worth sending. Each broker may ask for a part of the share small enough that all of
    /// them can have one answer in work and one on its way, but never for so little that it would ask for nothing.
    fn fetch_size(&self, lanes: usize) -> (usize, usize, usize) {
        let share = self.settings.fetch_share_bytes;
        let wanted =
            lanes.saturating_mul(self.settings.partition_fetch_max_bytes).min(self.settings.fetch_max_bytes);
        // Only an estimate: an answer that exceeds it waits for memory of its own.
        let overhead =
            (RESPONSE_OVERHEAD_BYTES + lanes * PARTITION_OVERHEAD_BYTES).min(share / OVERHEAD_DIVISOR);
        let least = overhead + FETCH_LEAST_BYTES.min(wanted);
        let leaders = self.brokers.iter().filter(|broker| !broker.lanes.is_empty()).count().max(1);
        let fair = (share / (2 * leaders)).max(least);
        (wanted.saturating_add(overhead).min(fair).min(self.pool.free_bytes()), overhead, least)
    }
}

fn fetch_partition(lane: &Lane, settings: &ShardSettings) -> FetchPartition {
    FetchPartition {
        topic: lane.topic.name.clone(),
        topic_id: lane.topic.id,
        partition: lane.partition,
        current_leader_epoch: lane.leader.map_or(-1, |leader| leader.epoch),
        fetch_offset: lane.fetch_offset,
        // A leader whose log departs from this answers where (KIP-320), so no question of its own is needed.
        last_fetched_epoch: lane.fetch_epoch,
        log_start_offset: -1,
        max_bytes: i32::try_from(lane.ask_bytes.unwrap_or(settings.partition_fetch_max_bytes))
            .unwrap_or(i32::MAX),
    }
}

/// How much to ask a partition for whose last answer held so many whole batches of so many bytes and was cut behind
/// them: what is cut off travels twice. `None` where there is nothing to go by.
pub(super) fn whole_batches_bytes(batches: usize, bytes: usize, max_bytes: usize) -> Option<usize> {
    let mean = bytes.checked_div(batches)?;
    let spread = mean / BATCH_SPREAD_DIVISOR;
    let fitting = max_bytes.saturating_sub(spread).checked_div(mean)?;
    (fitting > 0).then(|| fitting * mean + spread)
}

fn fetch_request(settings: &ShardSettings, bytes: Vec<u8>, correlation_id: i32) -> Request {
    let timeout = settings.request_timeout + settings.fetch_max_wait;
    Request { bytes, correlation_id, tag: TAG_FETCH, timeout }
}

/// A broker that is told a rack may name a follower there instead of sending records of what it leads.
pub(super) fn options<'a>(
    settings: &'a ShardSettings,
    rack: &'a str,
    max_wait: Duration,
    max_bytes: usize,
) -> FetchOptions<'a> {
    FetchOptions {
        max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: i32::try_from(settings.fetch_min_bytes).unwrap_or(i32::MAX),
        max_bytes: i32::try_from(max_bytes).unwrap_or(i32::MAX),
        isolation: match settings.read_committed {
            true => IsolationLevel::ReadCommitted,
            false => IsolationLevel::ReadUncommitted,
        },
        client_id: &settings.client_id,
        rack,
    }
}
