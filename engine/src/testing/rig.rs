//! A shard with one lane and nothing else: what it is given, and what it says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::VirtualClock;
use super::record::{FETCH_VERSION, TestBatch, fetch_response};
use crate::error::LaneError;
use crate::handler::LaneFactory;
use crate::lease::Lease;
use crate::link::{CloseReason, Command, Event, LaneId, OpenLane, Topic};
use crate::pulse::Pulse;
use crate::shard::{Clock, Shard, ShardSettings, ShardSetup};

/// The one lane of the shard.
const LANE: LaneId = LaneId { slot: 0, opening: 1 };

/// A task that is dispatched more often than this without ever waiting never will.
const DISPATCHES_MAX: usize = 1 << 20;

pub(super) struct Rig {
    shard: Shard,
    clock: VirtualClock,
    topic: Arc<Topic>,
    partition: i32,
    /// Where the log begins.
    start_offset: i64,
    /// All record batches so far, how many bytes of them the lane was given, and the offset after them.
    log: Vec<u8>,
    offered: usize,
    end_offset: i64,
    /// Everything below is handled.
    pub(super) commit_offset: i64,
    seeks: u32,
    pub(super) failed: Option<LaneError>,
    commit_requested: bool,
    stop_requested: bool,
    is_closing: bool,
    closed: Option<LaneClosed>,
}

/// Where a rig's lane is.
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) start_offset: i64,
}

/// The last word of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneClosed {
    pub(super) commit_offset: Option<i64>,
    pub(super) is_abandoned: bool,
}

/// What was asked for since the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) commit: bool,
    pub(super) stop: bool,
}

impl Rig {
    /// Opens the lane.
    pub(super) fn new(place: Place, settings: ShardSettings, factory: LaneFactory) -> Self {
        let clock = VirtualClock::new();
        let shard = Shard::new(ShardSetup {
            index: 0,
            settings,
            factory,
            pulse: Arc::new(Pulse::new(clock.now())),
            lease: Arc::new(Lease::endless(clock.now())),
            bell: Arc::new(|| {}),
            seed: 0,
        });
        let topic = Arc::new(Topic { name: place.topic.into(), id: [0; 16] });
        let mut rig = Self {
            shard,
            clock,
            topic,
            partition: place.partition,
            start_offset: place.start_offset,
            log: Vec::new(),
            offered: 0,
            end_offset: place.start_offset,
            commit_offset: place.start_offset,
            seeks: 0,
            failed: None,
            commit_requested: false,
            stop_requested: false,
            is_closing: false,
            closed: None,
        };
        let open = OpenLane {
            lane: LANE,
            topic: Arc::clone(&rig.topic),
            partition: rig.partition,
            leader: None,
            start_offset: rig.start_offset,
            start_epoch: -1,
            no_position: None,
            paused: false,
            seek: 0,
        };
        rig.shard.on_command(Command::Open(open), rig.clock.now());
        rig.go_on();
        rig
    }

    /// The lane begins at this offset, and so does the log.
    pub(super) fn begin_at(&mut self, offset: i64) {
        (self.end_offset, self.commit_offset) = (offset, offset);
    }

    /// Puts a batch at the end of the log.
    pub(super) fn append(&mut self, batch: &TestBatch) {
        let now_ms = self.clock.wall_ms(self.clock.now());
        let (bytes, offsets) = batch.encode(self.end_offset, now_ms);
        self.log.extend(bytes);
        self.end_offset = offsets.end;
    }

    /// Lets everything happen that needs no time, up to a wish to stop.
    ///
    /// # Panics
    ///
    /// When the log does not fit into the memory that is free, or user code never comes to rest.
    pub(super) fn go_on(&mut self) {
        let mut dispatches = 0;
        loop {
            self.shard.turn(self.clock.now());
            self.listen();
            self.offer();
            let before = dispatches;
            while !self.stop_requested && self.shard.dispatch(&self.clock) {
                self.listen();
                dispatches += 1;
                assert!(dispatches < DISPATCHES_MAX, "the task never waits for anything");
            }
            self.listen();
            if self.stop_requested || (dispatches == before && !self.shard.has_arrivals()) {
                break;
            }
        }
        if let Some(mark) = self.shard.poll_mark() {
            self.commit_offset = mark.next_offset;
        }
    }

    /// Goes on at another offset.
    pub(super) fn seek(&mut self, offset: i64) {
        self.seeks += 1;
        let seek = Command::Seek { lane: LANE, seek: self.seeks, offset, leader_epoch: -1 };
        self.shard.on_command(seek, self.clock.now());
        // Without what runs it, it stands where it has failed.
        if self.shard.is_fetched(LANE) {
            self.failed = None;
            self.commit_offset = offset;
            self.offered = 0;
        }
        self.go_on();
    }

    /// Gives the lane up. Time passes until it has closed, up to the deadline.
    pub(super) fn close(&mut self, reason: CloseReason, time_left: Duration) -> LaneClosed {
        self.is_closing = true;
        let deadline = self.clock.now() + time_left;
        self.shard.on_command(Command::Close { lane: LANE, reason, deadline }, self.clock.now());
        for _ in 0..DISPATCHES_MAX {
            // Nobody else listens to a wish to stop any more.
            self.stop_requested = false;
            self.go_on();
            if let Some(closed) = self.closed {
                return closed;
            }
            self.clock.set(self.next_deadline(deadline));
        }
        panic!("the task never ends");
    }

    /// Lets time pass, and everything happen meanwhile.
    pub(super) fn advance(&mut self, by: Duration) {
        let until = self.clock.now() + by;
        for _ in 0..DISPATCHES_MAX {
            if self.clock.now() == until {
                return;
            }
            self.clock.set(self.next_deadline(until));
            self.go_on();
        }
        panic!("the task sleeps for no time at all, again and again");
    }

    pub(super) fn take_asked(&mut self) -> Asked {
        let commit = std::mem::take(&mut self.commit_requested);
        Asked { commit, stop: std::mem::take(&mut self.stop_requested) }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn retained_bytes(&self) -> usize {
        self.shard.memory().retained
    }

    /// Whether nothing was done to the lane yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.log.is_empty() && self.seeks == 0
    }

    pub(super) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    #[track_caller]
    pub(super) fn check_open(&self) {
        assert!(!self.is_closing, "the partition is closed: its handler gets no more records");
    }

    /// When the shard has something to do next, but not after `limit`.
    fn next_deadline(&self, limit: Instant) -> Instant {
        let now = self.clock.now();
        self.shard.deadline().filter(|at| *at > now && *at < limit).unwrap_or(limit)
    }

    /// Gives the lane what it was not given yet, if it takes anything.
    fn offer(&mut self) {
        if self.offered == self.log.len() || !self.shard.is_fetched(LANE) {
            return;
        }
        let batches = self.log[self.offered..].to_vec();
        let response = fetch_response(&self.topic.name, self.partition, self.end_offset, batches);
        if let Err(reason) = self.shard.offer(LANE, FETCH_VERSION, &response, self.clock.now()) {
            panic!("the records cannot be received: {reason}");
        }
        self.offered = self.log.len();
    }

    fn listen(&mut self) {
        while let Some(event) = self.shard.poll_event() {
            match event {
                Event::CommitRequested => self.commit_requested = true,
                Event::StopRequested => self.stop_requested = true,
                Event::Failed { error, .. } => self.failed = Some(error),
                Event::Closed { mark, is_abandoned, .. } => {
                    let commit_offset = mark.map(|mark| mark.next_offset);
                    self.closed = Some(LaneClosed { commit_offset, is_abandoned });
                }
                // Nothing is in the log yet: all positions in it are one.
                Event::StartWanted { lane, seek, .. } => {
                    let (offset, leader_epoch) = (self.start_offset, -1);
                    let found = Command::Seek { lane, seek, offset, leader_epoch };
                    self.shard.on_command(found, self.clock.now());
                }
                _ => {}
            }
        }
    }
}
