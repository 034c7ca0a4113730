//! What the control plane orders: lanes opened, closed, paused, sought; brokers and leaders.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shard;
use super::broker::Broker;
use super::lane::{Closing, Lane, LaneState};
use super::route::RouteKind;
use super::validity::Validity;
use crate::handler::{self, ErasedHandler, InFlight, Runner};
use crate::link::{BrokerEndpoint, Command, Event, LaneId, Leader, OpenLane};
use crate::position::StartPosition;
use crate::stats::ShardStats;

/// How long the brokers may take to answer that a fetch session is closed, when a shard ends.
const END_PATIENCE: Duration = Duration::from_millis(200);

impl Shard {
    /// Carries out a command. Words about an earlier opening of a slot are dropped.
    pub(crate) fn on_command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Brokers(brokers) => self.set_brokers(&brokers, now),
            Command::Connect(broker) => self.connect_ahead(broker, now),
            Command::Open(open) => self.open(open, now),
            Command::MoveOut { lane, deadline } => self.move_out(lane, deadline, now),
            Command::MoveIn { open, luggage } => self.move_in(open, *luggage, now),
            Command::Leader { lane, leader } => self.with_lane(lane, now, |shard, lane| {
                if lane.state != LaneState::Closing {
                    shard.set_leader(lane, leader, now);
                }
            }),
            Command::Close { lane, reason, deadline } => self.close(lane, Closing { reason, deadline }, now),
            Command::Pause(lane) => self.with_lane(lane, now, |shard, lane| {
                lane.paused = true;
                shard.touch(lane);
            }),
            Command::Resume(lane) => self.with_lane(lane, now, |shard, lane| {
                lane.paused = false;
                shard.touch(lane);
                if lane.is_dispatchable() {
                    shard.list_ready(lane);
                }
            }),
            Command::Seek { lane, seek, offset, leader_epoch } => self.with_lane(lane, now, |shard, lane| {
                if lane.runner.is_none() || lane.state == LaneState::Closing {
                    return;
                }
                lane.seek = seek;
                lane.place_at(offset, leader_epoch);
                // Otherwise it goes on there when it begins.
                if lane.told.is_none() {
                    lane.state = LaneState::Open;
                    shard.settle_validity(lane, now);
                    shard.touch(lane);
                }
            }),
            Command::Checked { lane, check } => {
                self.with_lane(lane, now, |shard, lane| shard.on_checked(lane, check, now));
            }
            Command::LeaseRenewed => self.on_lease_renewed(),
            Command::Fence(fence) => self.events.push_back(Event::Passed(fence)),
            Command::Stats(snapshot) => self.fill_snapshot(snapshot),
            Command::End => self.end(now),
        }
    }

    fn with_lane(&mut self, id: LaneId, now: Instant, change: impl FnOnce(&mut Self, &mut Lane)) {
        let Some(mut lane) = self.lanes.take(id.slot) else { return };
        if lane.id == id {
            change(self, &mut lane);
        }
        self.put_back_or_close(lane, now);
    }

    /// Takes the set-up of a connection out of the time that a lane waits for its first record.
    fn connect_ahead(&mut self, broker: i32, now: Instant) {
        if let Some(index) = self.broker_index(broker).filter(|_| self.ending_until.is_none()) {
            self.open_route(index, RouteKind::Session, now);
        }
    }

    fn open(&mut self, open: OpenLane, now: Instant) {
        let told = handler::Lane::new(open.topic.clone(), open.partition, self.index, open.start_offset);
        let leader = open.leader;
        self.open_as(Lane::new(open), told, leader, now);
    }

    /// Opens a lane as its factory is told of it.
    pub(crate) fn open_as(&mut self, lane: Lane, told: handler::Lane, leader: Option<Leader>, now: Instant) {
        let slot = lane.id.slot;
        self.lanes.open(lane);
        self.ready.make_room(self.lanes.slots());
        let Some(mut lane) = self.lanes.take(slot) else { return };
        self.set_leader(&mut lane, leader, now);
        self.pulse.begin(lane.id, now);
        let made = (self.factory)(&told);
        self.pulse.end();
        lane.told = Some(told);
        match made {
            Ok(Runner::Handler(handler)) => self.begin_with(&mut lane, handler, now),
            Ok(runner) => {
                lane.waker = Some(self.wakes.waker(slot));
                lane.runner = Some(runner);
                lane.is_woken = true;
                self.list_ready(&mut lane);
            }
            Err(cause) => self.fail(&mut lane, cause),
        }
        self.lanes.put_back(lane);
    }

    /// The lane has its handler, and goes on from where the factory has said.
    pub(crate) fn begin_with(&mut self, lane: &mut Lane, handler: Box<dyn ErasedHandler>, now: Instant) {
        match handler.max_in_flight() {
            Ok(0) => {}
            Ok(limit) => {
                let waker = lane.waker.get_or_insert_with(|| self.wakes.waker(lane.id.slot));
                lane.in_flight = Some(InFlight::new(limit, waker.clone(), now));
            }
            Err(cause) => return self.fail(lane, cause),
        }
        lane.runner = Some(Runner::Handler(handler));
        self.begin(lane, now);
    }

    /// The factory is done, or the task asks for its first batch: the lane goes on from where they have said, as soon
    /// as that is known.
    pub(crate) fn begin(&mut self, lane: &mut Lane, now: Instant) {
        let chosen = lane.told.take().and_then(|told| told.chosen_start());
        match chosen {
            // A seek that came meanwhile has the last word, and what its handler knows already ends here.
            _ if lane.seek > lane.first_seek || lane.has_state => {}
            Some(StartPosition::Offset(offset)) => lane.place_at(offset.max(0), -1),
            Some(position) => {
                let (lane, seek) = (lane.id, lane.seek);
                self.events.push_back(Event::StartWanted { lane, position, seek });
                return;
            }
            None => {
                if let Some(cause) = lane.no_position.take() {
                    return self.fail(lane, cause);
                }
            }
        }
        lane.state = LaneState::Open;
        self.settle_validity(lane, now);
        self.touch(lane);
    }

    fn set_leader(&mut self, lane: &mut Lane, leader: Option<Leader>, now: Instant) {
        let id = |leader: Leader| leader.broker;
        if lane.leader.is_some() && lane.leader.map(id) != leader.map(id) {
            // What went wrong at the former leader is over, unless leaders name each other in turn.
            lane.retry_at.take_if(|_| lane.fetch_failures <= 1);
        }
        // Under another leader, or another epoch of the same, the replicas may be others.
        if lane.leader != leader {
            lane.replica = None;
            lane.validity = Validity::behind(lane.fetch_epoch);
        }
        lane.leader = leader;
        lane.leader_wanted = leader.is_none();
        self.settle_source(lane);
        self.settle_validity(lane, now);
    }

    /// Takes a slot off a broker's lists.
    pub(crate) fn leave_broker(&mut self, index: usize, slot: u32) {
        let broker = &mut self.brokers[index];
        broker.lanes.retain(|other| *other != slot);
        broker.touched.retain(|other| *other != slot);
        broker.session.forget(slot);
    }

    fn set_brokers(&mut self, endpoints: &Arc<[BrokerEndpoint]>, now: Instant) {
        for endpoint in endpoints.iter() {
            let index = self.broker_entry(endpoint.id);
            let broker = &mut self.brokers[index];
            if broker.endpoint.addresses != endpoint.addresses {
                // Whatever keeps it from being reached may be over at the new address.
                broker.session_route.retry_at = None;
                broker.sessionless_route.retry_at = None;
            }
            broker.endpoint = endpoint.clone();
        }
        let is_gone = |broker: &Broker| {
            broker.lanes.is_empty() && !endpoints.iter().any(|endpoint| endpoint.id == broker.endpoint.id)
        };
        // Routes refer to brokers by index, so entries stay; a broker that left the cluster just holds no connection.
        for index in 0..self.brokers.len() {
            let id = self.brokers[index].endpoint.id;
            if !endpoints.iter().any(|endpoint| endpoint.id == id) {
                self.leave_replicas_at(index, "it has left the cluster");
            }
        }
        self.carry_out_moves(now);
        for index in 0..self.brokers.len() {
            if is_gone(&self.brokers[index]) {
                self.close_routes(index);
            }
        }
        self.turn(now);
    }

    fn fill_snapshot(&mut self, mut snapshot: Box<ShardStats>) {
        self.measure(&mut snapshot);
        self.events.push_back(Event::Stats(snapshot));
    }

    /// What was done and measured so far, into this snapshot's memory.
    pub(crate) fn measure(&mut self, snapshot: &mut ShardStats) {
        let memory = self.memory();
        self.stats.counters.memory_used_bytes = (memory.in_use + memory.reserved) as u64;
        self.stats.counters.memory_retained_bytes = memory.retained as u64;
        snapshot.copy_from(&self.stats);
        snapshot.lanes.clear();
        let read_committed = self.settings.read_committed;
        let lanes = self.lanes.iter();
        snapshot.lanes.extend(lanes.map(|lane| lane.stats(read_committed, self.blocked_by(lane))));
    }

    /// Closes sessions and connections. Lanes that are still open are dropped with their unmarked progress.
    fn end(&mut self, now: Instant) {
        self.ending_until = Some(now + END_PATIENCE);
        for index in 0..self.brokers.len() {
            self.close_session(index, now);
        }
        self.finish_end(now);
    }

    /// Ends once the brokers have answered that the sessions are closed, or have had their time.
    pub(crate) fn finish_end(&mut self, now: Instant) {
        let Some(until) = self.ending_until else { return };
        if self.connections.is_empty() || until <= now {
            for index in 0..self.brokers.len() {
                self.close_routes(index);
            }
            self.is_ended = true;
        }
    }
}
