//! What happens to a cluster and its members during one run, drawn from the seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_testbroker::{ApiKey, Effect, Fault, ResponseError};

use super::Options;

/// Producers stop, and disturbances too, this long after the start.
pub(super) const DISTURBED: Duration = Duration::from_secs(20);
/// Record batches that are appended.
const APPENDS_MIN: usize = 60;
const APPENDS_MAX: usize = 160;
/// Moves of partitions between shards that are asked for.
const MOVES_MAX: usize = 40;
/// A stopped broker comes back, and a member that went, within this time.
const ABSENCE_MAX: Duration = Duration::from_secs(4);
/// A delay that is injected at most.
const FAULT_DELAY_MAX: Duration = Duration::from_millis(800);

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// A producer appends a batch.
    Append,
    /// An engine starts in this place.
    Start(usize),
    /// The engine in this place is told to stop in order.
    Stop(usize),
    /// The process in this place is gone from one moment to the next.
    Crash(usize),
    /// A handler of the engine in this place fails.
    FailHandler(usize),
    /// A handler of the engine in this place takes so much longer for a batch.
    Stall(usize, Duration),
    /// The engine in this place is to move a partition to another of its shards, if it owns it.
    MovePartition(usize),
    /// A partition is led by another broker.
    MoveLeader,
    /// A broker closes all of its connections.
    DropConnections(i32),
    /// A broker forgets its fetch sessions.
    EvictSessions(i32),
    StopBroker(i32),
    StartBroker(i32),
    /// The group is looked after by another broker.
    MoveCoordinator(i32),
    /// A request fails.
    Inject(Fault),
}

/// What is still to happen, by time.
#[derive(Debug)]
pub(super) struct Script {
    actions: BTreeMap<(Instant, usize), Action>,
}

impl Script {
    /// Draws a run: a member that is there from the beginning, another one that joins, one of them that goes and
    /// comes back, and trouble with the brokers meanwhile.
    pub(super) fn new(options: &Options, start: Instant, rng: &mut fastrand::Rng) -> Self {
        let mut script = Self { actions: BTreeMap::new() };
        let end_ms = DISTURBED.as_millis() as u64;
        let at = |ms: u64| start + Duration::from_millis(ms);
        let brokers = options.brokers;
        script.add(start, Action::Start(0));
        script.add(at(rng.u64(500..6_000)), Action::Start(1));
        for _ in 0..rng.usize(APPENDS_MIN..=APPENDS_MAX) {
            script.add(at(rng.u64(..end_ms)), Action::Append);
        }
        script.add_departure(start, rng);
        for _ in 0..rng.usize(1..=3) {
            script.add(at(rng.u64(..end_ms)), Action::MoveLeader);
        }
        for _ in 0..rng.usize(1..=2) {
            script.add(at(rng.u64(..end_ms)), Action::DropConnections(rng.i32(1..=brokers)));
        }
        for _ in 0..rng.usize(..=2) {
            script.add(at(rng.u64(..end_ms)), Action::EvictSessions(rng.i32(1..=brokers)));
        }
        if rng.bool() {
            script.add(at(rng.u64(..end_ms)), Action::MoveCoordinator(rng.i32(1..=brokers)));
        }
        if rng.u32(..3) == 0 {
            let (broker, stopped_ms) =
                (rng.i32(1..=brokers), rng.u64(..end_ms - ABSENCE_MAX.as_millis() as u64));
            let back_ms = stopped_ms + rng.u64(1..ABSENCE_MAX.as_millis() as u64);
            script.add(at(stopped_ms), Action::StopBroker(broker));
            script.add(at(back_ms), Action::StartBroker(broker));
        }
        for _ in 0..rng.usize(..=3) {
            script.add(at(rng.u64(..end_ms)), Action::Inject(fault(rng)));
        }
        for _ in 0..rng.usize(..=MOVES_MAX) {
            script.add(at(rng.u64(..end_ms)), Action::MovePartition(rng.usize(..2)));
        }
        script
    }

    /// When something happens next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.actions.keys().next().map(|(at, _)| *at)
    }

    /// What happens by now, one at a time.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Action> {
        if self.deadline()? > now {
            return None;
        }
        self.actions.pop_first().map(|(_, action)| action)
    }

    pub(super) fn add(&mut self, at: Instant, action: Action) {
        let serial = self.actions.len();
        // Serials only keep actions of one moment apart.
        let free = (serial..).find(|serial| !self.actions.contains_key(&(at, *serial)));
        self.actions.insert((at, free.unwrap_or(serial)), action);
    }

    fn add_departure(&mut self, start: Instant, rng: &mut fastrand::Rng) {
        let place = rng.usize(..2);
        let end_ms = DISTURBED.as_millis() as u64;
        let goes_at = start + Duration::from_millis(rng.u64(7_000..end_ms - 5_000));
        let back_at = goes_at + ABSENCE_MAX.mul_f64(rng.f64());
        match rng.u32(..6) {
            0 => self.add(goes_at, Action::Stop(place)),
            1 | 2 => self.add(goes_at, Action::Crash(place)),
            3 => self.add(goes_at, Action::FailHandler(place)),
            4 => {
                let stall = Duration::from_millis(rng.u64(1_000..9_000));
                self.add(goes_at, Action::Stall(place, stall));
            }
            _ => return,
        }
        // Does nothing where the member has not gone.
        self.add(back_at.max(start + DISTURBED - Duration::from_secs(1)), Action::Start(place));
    }
}

/// A request of any kind that fails in one of the ways that clients have to live with.
fn fault(rng: &mut fastrand::Rng) -> Fault {
    let apis = [
        ApiKey::Fetch,
        ApiKey::Metadata,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
        ApiKey::FindCoordinator,
        ApiKey::Heartbeat,
        ApiKey::JoinGroup,
        ApiKey::SyncGroup,
        ApiKey::ListOffsets,
    ];
    let api = apis[rng.usize(..apis.len())];
    let effect = match rng.u32(..4) {
        0 => Effect::DisconnectBefore,
        1 => Effect::DisconnectAfter,
        2 => Effect::Delay(FAULT_DELAY_MAX.mul_f64(rng.f64())),
        _ => Effect::Error(match api {
            ApiKey::Fetch | ApiKey::ListOffsets => ResponseError::NotLeaderOrFollower,
            ApiKey::Metadata => ResponseError::LeaderNotAvailable,
            ApiKey::FindCoordinator => ResponseError::CoordinatorNotAvailable,
            _ => ResponseError::CoordinatorLoadInProgress,
        }),
    };
    Fault::new(api, effect)
}
