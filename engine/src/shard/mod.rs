//! A shard's core: what one core of the host does with the partitions that it owns. Sans-IO: completions, commands and
//! time come in, operations and events go out, and user code is called when the driver says so.
//!
//! The files read in the order that a byte travels: [`routes`] keeps connections up, [`fetch`] asks, [`receive`] walks
//! the answer and queues its batches on their [`lane`]s, [`turns`] says which of these is next, [`decode`] opens its
//! batches, [`dispatch`] hands them to its handler and moves its watermark.

mod blocked;
mod broker;
mod clock;
mod closing;
mod commands;
mod decode;
mod dispatch;
mod fetch;
mod lane;
mod lanes;
mod moving;
mod offer;
mod pressure;
mod receive;
mod replica;
mod route;
mod routes;
mod settings;
mod stall;
mod tasks;
#[cfg(test)]
pub(crate) mod tests;
mod turns;
mod validity;
mod withhold;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::record::AbortedFilter;

pub(crate) use clock::{Clock, HostClock};
pub(crate) use offer::open_batch;
pub(crate) use settings::ShardSettings;

use crate::handler::{Bell, LaneFactory, Segment, WakeList};
use crate::lease::Lease;
use crate::link::{BrokerEndpoint, Event, Mark};
use crate::memory::{FramePool, MemoryLimits, MemoryStats};
use crate::net::{ConnId, IoOp};
use crate::pulse::Pulse;
use crate::stats::ShardStats;
use broker::Broker;
use decode::BatchDecoder;
use dispatch::SEGMENTS_MAX;
use lane::Lane;
use lanes::Lanes;
use pressure::Pressure;
use replica::Move;
use route::RouteKind;
use turns::Turns;

/// Events between two looks of the driver for which there is room from the start; more make room once.
const EVENTS_EXPECTED: usize = 64;

/// What a shard is made with.
pub(crate) struct ShardSetup {
    /// The shard's index.
    pub(crate) index: usize,
    pub(crate) settings: ShardSettings,
    pub(crate) factory: LaneFactory,
    /// Shows the control plane which batch is with its handler.
    pub(crate) pulse: Arc<Pulse>,
    /// Until when records may be handed out.
    pub(crate) lease: Arc<Lease>,
    /// Rings when a retained frame came home, or a lane was woken.
    pub(crate) bell: Bell,
    /// For jitter.
    pub(crate) seed: u64,
}

/// The core of one shard.
pub(crate) struct Shard {
    index: usize,
    settings: ShardSettings,
    factory: LaneFactory,
    pulse: Arc<Pulse>,
    lease: Arc<Lease>,
    /// Lanes were passed over because the lease was over, and that is told.
    is_withholding: bool,
    rng: fastrand::Rng,

    pool: FramePool,
    brokers: Vec<Broker>,
    /// Which broker and route a connection is of, while it is open.
    connections: HashMap<ConnId, (usize, RouteKind)>,
    next_conn: u32,
    lanes: Lanes,
    /// Lanes with something to dispatch; each once.
    ready: Turns,
    /// Slots of lanes whose next batch waits for memory to be decompressed into.
    starved: Vec<u32>,
    /// Slots of lanes that may hold something fetched; each once. Under memory pressure only these are looked at.
    holders: Vec<u32>,
    /// Slots of lanes that wait out a backoff.
    retries: Vec<u32>,
    /// Not after the end of the first of these backoffs.
    retry_at: Option<Instant>,
    /// Slots of lanes with progress that is not told yet; each once.
    unmarked: Vec<u32>,
    /// Slots of lanes that are to be fetched from elsewhere.
    moves: Vec<(u32, Move)>,
    /// Not after the first time at which a lane's leader is asked anew which follower to fetch from.
    replicas_end_at: Option<Instant>,

    /// Lanes that were woken, from any thread.
    wakes: Arc<WakeList>,
    /// Slots taken off that list, for reuse.
    woken: Vec<u32>,
    /// Slots of lanes that wait for some time to come; each once.
    watched: Vec<u32>,
    /// Not after the first of these times.
    watch_at: Option<Instant>,
    /// When it was looked last which lanes stand still; `None` without lanes.
    stalls_looked_at: Option<Instant>,

    decoder: BatchDecoder,
    filter: AbortedFilter,
    /// The lanes of one sessionless Fetch, for reuse.
    sessionless_slots: Vec<u32>,
    /// The segments of one dispatch, for reuse.
    segments: Vec<Segment>,
    stats: ShardStats,

    ops: Vec<IoOp>,
    events: VecDeque<Event>,
    pressure: Pressure,
    /// Routes to brokers whose next Fetch waits for memory, in turn; each once.
    waiting_routes: VecDeque<(usize, RouteKind)>,
    /// Until when the brokers may answer that the fetch sessions are closed, once the shard is to end.
    ending_until: Option<Instant>,
    is_ended: bool,
}

impl Shard {
    /// A shard without lanes.
    pub(crate) fn new(setup: ShardSetup) -> Self {
        let settings = setup.settings;
        let limits = MemoryLimits {
            share_bytes: settings.fetch_share_bytes + settings.decode_reserve_bytes,
            decode_reserve_bytes: settings.decode_reserve_bytes,
            response_max_bytes: settings.response_max_bytes,
            huge_pages: settings.huge_pages,
        };
        let home = Arc::clone(&setup.bell);
        let mut stats = ShardStats::new(setup.index);
        stats.counters.memory_share_bytes = limits.share_bytes as u64;
        Self {
            index: setup.index,
            factory: setup.factory,
            pulse: setup.pulse,
            lease: setup.lease,
            is_withholding: false,
            rng: fastrand::Rng::with_seed(setup.seed),
            pool: FramePool::new(limits, Box::new(move || home())),
            brokers: Vec::new(),
            connections: HashMap::new(),
            next_conn: 0,
            lanes: Lanes::default(),
            ready: Turns::default(),
            starved: Vec::new(),
            holders: Vec::new(),
            retries: Vec::new(),
            retry_at: None,
            unmarked: Vec::new(),
            moves: Vec::new(),
            replicas_end_at: None,
            wakes: WakeList::new(setup.bell),
            woken: Vec::new(),
            watched: Vec::new(),
            watch_at: None,
            stalls_looked_at: None,
            decoder: BatchDecoder::new(settings.check_crcs, settings.decompressed_batch_max_bytes),
            filter: AbortedFilter::new(),
            sessionless_slots: Vec::new(),
            segments: Vec::with_capacity(SEGMENTS_MAX),
            stats,
            ops: Vec::new(),
            events: VecDeque::with_capacity(EVENTS_EXPECTED),
            pressure: Pressure::default(),
            waiting_routes: VecDeque::new(),
            ending_until: None,
            is_ended: false,
            settings,
        }
    }

    /// Does what time and released memory allow: backoffs that are over, responses that wait for memory, Fetches.
    /// Call it after completions and commands were taken, and at [`Shard::deadline`].
    pub(crate) fn turn(&mut self, now: Instant) {
        self.pool.bring_home();
        self.take_wakes(now);
        self.end_waits(now);
        self.wake_starved();
        self.end_backoffs(now);
        self.carry_out_moves(now);
        self.go_on(now);
        // A connection may have failed meanwhile.
        if self.carry_out_moves(now) {
            self.go_on(now);
        }
        // What is released now wakes nobody later.
        if self.relieve_pressure(now) {
            self.go_on(now);
        }
        self.watch_stalls(now);
        self.finish_end(now);
    }

    /// Receives what waits for memory and sends what can be sent.
    fn go_on(&mut self, now: Instant) {
        for broker in 0..self.brokers.len() {
            self.keep_routes(broker, now);
            if self.ending_until.is_none() {
                self.plan_fetches(broker, now);
            }
        }
        if self.ending_until.is_none() {
            self.serve_waiting_routes(now);
        }
    }

    /// When [`Shard::turn`] has something to do if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let routes = self.brokers.iter().filter_map(Broker::deadline);
        routes
            .chain(self.retry_at)
            .chain(self.replicas_end_at)
            .chain(self.pressure.deadline())
            .chain(self.watch_at)
            .chain(self.stalls_deadline())
            .chain(self.ending_until)
            .min()
    }

    /// Whether a dispatch would find a lane.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether memory came home, or lanes were woken, from other threads; to look at before sleeping.
    pub(crate) fn has_arrivals(&self) -> bool {
        self.pool.has_arrivals() || !self.wakes.is_empty()
    }

    /// What its memory is used for.
    pub(crate) fn memory(&self) -> MemoryStats {
        self.pool.stats()
    }

    /// Moves the operations that are asked for to `ops`.
    pub(crate) fn take_ops(&mut self, ops: &mut Vec<IoOp>) {
        ops.append(&mut self.ops);
    }

    /// The next event for the control plane.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The newest progress of some lane whose progress was not told yet. Not asking for it loses nothing: marks are
    /// cumulative.
    pub(crate) fn poll_mark(&mut self) -> Option<Mark> {
        while let Some(slot) = self.unmarked.pop() {
            let Some(lane) = self.lanes.peek_mut(slot) else { continue };
            lane.is_unmarked = false;
            if let Some(mark) = lane.mark() {
                lane.marked = mark.next_offset;
                return Some(mark);
            }
        }
        None
    }

    /// Whether [`Command::End`](crate::link::Command::End) was carried out: nothing is left to do.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Records handled so far.
    pub(crate) fn records_handled(&self) -> u64 {
        self.stats.counters.records
    }

    /// The most records in one dispatch.
    pub(crate) fn poll_records_max(&self) -> u32 {
        self.settings.poll_records_max
    }

    /// Changes the most records in one dispatch from now on; at least 1.
    pub(crate) fn set_poll_records_max(&mut self, records: u32) {
        self.settings.poll_records_max = records;
    }

    /// How late the driver's loop came round.
    pub(crate) fn record_loop_lag(&mut self, late: Duration) {
        self.stats.record(crate::stats::Stage::LoopLag, late, None, -1);
    }

    /// Has the lane looked at when the next Fetch to the broker that it is fetched from is built.
    fn touch(&mut self, lane: &mut Lane) {
        if lane.is_touched {
            return;
        }
        if let Some(broker) = lane.source().and_then(|source| self.broker_index(source)) {
            lane.is_touched = true;
            self.brokers[broker].touched.push(lane.id.slot);
        }
    }

    fn list_ready(&mut self, lane: &mut Lane) {
        if !lane.is_ready {
            lane.is_ready = true;
            lane.place_ns = self.ready.list(lane.id.slot, lane.place_ns);
        }
    }

    fn note_mark(&mut self, lane: &mut Lane) {
        if !lane.is_unmarked && lane.watermark > lane.marked {
            lane.is_unmarked = true;
            self.unmarked.push(lane.id.slot);
        }
    }

    /// Tells once that everything up to the end of the partition, as this isolation level sees it, is handled. A
    /// partition that grows reaches its end with each record: telling that again would wake the control thread each
    /// time.
    fn report_end(&mut self, lane: &mut Lane) {
        let end = lane.end_offset(self.settings.read_committed);
        if !lane.has_waiting()
            && !lane.has_records_out()
            && end >= 0
            && lane.position >= end
            && !lane.is_end_told
        {
            lane.is_end_told = true;
            self.events.push_back(Event::EndReached { lane: lane.id, offset: lane.position });
        }
    }

    fn wake_starved(&mut self) {
        while let Some(slot) = self.starved.pop() {
            if let Some(mut lane) = self.lanes.take(slot) {
                if lane.is_dispatchable() {
                    self.list_ready(&mut lane);
                }
                self.lanes.put_back(lane);
            }
        }
    }

    fn end_backoffs(&mut self, now: Instant) {
        // Nobody is looked at before the first backoff is over: many lanes may wait one out.
        if self.retry_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        let mut retries = std::mem::take(&mut self.retries);
        let mut next: Option<Instant> = None;
        retries.retain(|&slot| {
            let Some(mut lane) = self.lanes.take(slot) else { return false };
            let waits_until = lane.retry_at.filter(|at| *at > now);
            match waits_until {
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {
                    lane.retry_at = None;
                    self.settle_validity(&mut lane, now);
                    self.touch(&mut lane);
                }
            }
            self.lanes.put_back(lane);
            waits_until.is_some()
        });
        // Some wait anew.
        retries.append(&mut self.retries);
        self.retries = retries;
        self.retry_at = [next, self.retry_at].into_iter().flatten().min();
    }

    fn broker_index(&self, id: i32) -> Option<usize> {
        self.brokers.iter().position(|broker| broker.endpoint.id == id)
    }

    /// The broker's entry, made when its id is first heard of.
    fn broker_entry(&mut self, id: i32) -> usize {
        self.broker_index(id).unwrap_or_else(|| {
            let endpoint =
                BrokerEndpoint { id, name: Arc::from(format!("broker {id}")), addresses: Arc::from([]) };
            self.brokers.push(Broker::new(endpoint));
            self.brokers.len() - 1
        })
    }
}
