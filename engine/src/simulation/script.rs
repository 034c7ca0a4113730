//! What happens to a cluster and its members during one run, drawn from the seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millstream_testbroker::{ApiKey, Effect, Fault, ResponseError};

use super::network::Way;
use super::plan::Plan;

/// Producers stop, and disturbances too, this long after the start.
pub(super) const DISTURBED: Duration = Duration::from_secs(20);
const DISTURBED_MS: u64 = DISTURBED.as_millis() as u64;
/// Record batches that are appended.
const APPENDS_MIN: usize = 40;
const APPENDS_MAX: usize = 140;
/// Moves of partitions between shards that are asked for, where they are.
const MOVES_MAX: usize = 40;
/// A stopped broker comes back, and a member that went, within this time.
const ABSENCE_MAX_MS: u64 = 4_000;
/// The longest that a network is cut, or that a member stands still: longer than its session.
const CUT_MAX_MS: u64 = 9_000;
/// The longest that a member stands still that has work to do: others have gone on with it by then.
const FREEZE_MAX_MS: u64 = 14_000;
/// A delay that is injected at most.
const FAULT_DELAY_MAX: Duration = Duration::from_millis(800);
/// When everybody has come to rest. Partitions that were added while a static member was away that leads its group are
/// noticed with the next change, as in Kafka's own client.
const GROW_LAST_AFTER_MS: u64 = 12_000;
/// The most that the calendar is set forward or back.
const CALENDAR_MAX_MS: i64 = 3_600_000;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// A producer appends a batch.
    Append,
    /// A producer ends its transaction.
    Decide,
    /// An engine starts in this place.
    Start(usize),
    /// The engine in this place is told to stop in order.
    Stop(usize),
    /// The process in this place is gone from one moment to the next; its host closes its connections, or is gone too.
    Crash {
        place: usize,
        with_host: bool,
    },
    /// The process in this place stands still.
    Freeze(usize, Duration),
    /// The same, as soon as one of its shards has records to hand out.
    FreezeAtWork(usize, Duration),
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
    /// The connections between a place and a broker are dead, and neither is told.
    KillConnections {
        place: usize,
        broker: i32,
    },
    /// Nothing gets through between a place and a broker, or all brokers, for a while.
    Cut {
        place: usize,
        broker: Option<i32>,
        way: Way,
        lasting: Duration,
    },
    /// A broker forgets its fetch sessions.
    EvictSessions(i32),
    /// A broker stops; with its power gone nobody is told.
    StopBroker {
        broker: i32,
        power: bool,
    },
    StartBroker(i32),
    /// All responses of a broker wait this long from now on.
    SlowBroker(i32, Duration),
    /// The group is looked after by another broker.
    MoveCoordinator(i32),
    /// A request fails.
    Inject(Fault),
    /// A log loses its beginning.
    Delete,
    /// A log loses its end.
    Truncate,
    /// There is one more partition.
    Grow,
    /// The calendar is set by so many milliseconds.
    SetCalendar(i64),
    /// Disturbances are over: what was not put right is.
    Calm,
    /// There is one more partition, which has records, in all quiet.
    GrowLast,
}

/// What is still to happen, by time.
#[derive(Debug)]
pub(super) struct Script {
    start: Instant,
    actions: BTreeMap<(Instant, usize), Action>,
    added: usize,
}

impl Script {
    /// Draws a run: members that come one after the other, records all the while, and the troubles of the plan.
    pub(super) fn new(plan: &Plan, start: Instant, rng: &mut fastrand::Rng) -> Self {
        let mut script = Self { start, actions: BTreeMap::new(), added: 0 };
        script.add(0, Action::Start(0));
        for place in 1..plan.places {
            script.add(rng.u64(100..9_000), Action::Start(place));
        }
        let appends = rng.usize(APPENDS_MIN..=APPENDS_MAX);
        script.several(appends..=appends, rng, |_| Action::Append);
        script.add_members(plan, rng);
        script.add_brokers(plan, rng);
        script.add_network(plan, rng);
        script.add_logs(plan, rng);
        script.add(DISTURBED_MS, Action::Calm);
        if plan.troubles.growth {
            script.add(DISTURBED_MS + GROW_LAST_AFTER_MS, Action::GrowLast);
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

    fn add(&mut self, at_ms: u64, action: Action) {
        self.added += 1;
        self.actions.insert((self.start + Duration::from_millis(at_ms), self.added), action);
    }

    /// Some number of actions, at any time.
    fn several(
        &mut self,
        count: std::ops::RangeInclusive<usize>,
        rng: &mut fastrand::Rng,
        mut action: impl FnMut(&mut fastrand::Rng) -> Action,
    ) {
        for _ in 0..rng.usize(count) {
            let at_ms = rng.u64(..DISTURBED_MS);
            let action = action(rng);
            self.add(at_ms, action);
        }
    }

    fn add_members(&mut self, plan: &Plan, rng: &mut fastrand::Rng) {
        let places = plan.places;
        if plan.troubles.members {
            for _ in 0..rng.usize(1..=3) {
                let place = rng.usize(..places);
                let goes_ms = rng.u64(2_000..DISTURBED_MS - ABSENCE_MAX_MS);
                let action = match rng.u32(..7) {
                    0 => Action::Stop(place),
                    1 | 2 => Action::Crash { place, with_host: rng.bool() },
                    3 | 4 => Action::FreezeAtWork(
                        place,
                        Duration::from_millis(rng.u64(ABSENCE_MAX_MS..FREEZE_MAX_MS)),
                    ),
                    _ => Action::Freeze(place, Duration::from_millis(rng.u64(100..CUT_MAX_MS))),
                };
                self.add(goes_ms, action);
                // Does nothing where the member has not gone.
                self.add(goes_ms + rng.u64(1..ABSENCE_MAX_MS), Action::Start(place));
            }
        }
        if plan.troubles.handlers {
            self.several(1..=2, rng, |rng| {
                Action::Stall(rng.usize(..places), Duration::from_millis(rng.u64(300..9_000)))
            });
            self.several(0..=2, rng, |rng| Action::FailHandler(rng.usize(..places)));
            self.several(0..=2, rng, |rng| Action::Start(rng.usize(..places)));
        }
        if plan.troubles.shards {
            self.several(1..=MOVES_MAX, rng, |rng| Action::MovePartition(rng.usize(..places)));
        }
        if plan.troubles.calendar {
            self.several(1..=3, rng, |rng| Action::SetCalendar(rng.i64(-CALENDAR_MAX_MS..=CALENDAR_MAX_MS)));
        }
    }

    fn add_brokers(&mut self, plan: &Plan, rng: &mut fastrand::Rng) {
        let broker = |rng: &mut fastrand::Rng| rng.i32(1..=plan.brokers);
        if plan.troubles.moves {
            self.several(1..=4, rng, |_| Action::MoveLeader);
            self.several(0..=2, rng, |rng| Action::DropConnections(broker(rng)));
            self.several(0..=2, rng, |rng| Action::EvictSessions(broker(rng)));
            self.several(0..=2, rng, |rng| Action::MoveCoordinator(broker(rng)));
        }
        if plan.troubles.brokers {
            for _ in 0..rng.usize(1..=2) {
                let (broker, power) = (broker(rng), rng.bool());
                let stopped_ms = rng.u64(..DISTURBED_MS - ABSENCE_MAX_MS);
                self.add(stopped_ms, Action::StopBroker { broker, power });
                self.add(stopped_ms + rng.u64(1..ABSENCE_MAX_MS), Action::StartBroker(broker));
            }
        }
        if plan.troubles.requests {
            self.several(1..=5, rng, |rng| Action::Inject(fault(plan, rng)));
            self.several(0..=1, rng, |rng| {
                Action::SlowBroker(broker(rng), FAULT_DELAY_MAX.mul_f64(rng.f64()))
            });
        }
    }

    fn add_network(&mut self, plan: &Plan, rng: &mut fastrand::Rng) {
        if !plan.troubles.network {
            return;
        }
        self.several(0..=2, rng, |rng| Action::KillConnections {
            place: rng.usize(..plan.places),
            broker: rng.i32(1..=plan.brokers),
        });
        self.several(1..=2, rng, |rng| Action::Cut {
            place: rng.usize(..plan.places),
            broker: rng.bool().then(|| rng.i32(1..=plan.brokers)),
            way: [Way::Both, Way::Both, Way::ToBroker, Way::ToClient][rng.usize(..4)],
            lasting: Duration::from_millis(rng.u64(50..CUT_MAX_MS)),
        });
    }

    fn add_logs(&mut self, plan: &Plan, rng: &mut fastrand::Rng) {
        if plan.troubles.retention {
            self.several(1..=3, rng, |_| Action::Delete);
        }
        if plan.troubles.truncation {
            self.several(1..=3, rng, |_| Action::Truncate);
        }
        if plan.troubles.transactions {
            self.several(5..=30, rng, |_| Action::Decide);
        }
        if plan.troubles.growth {
            self.several(1..=2, rng, |_| Action::Grow);
        }
    }
}

/// A request of any kind that fails in one of the ways that clients have to live with.
fn fault(plan: &Plan, rng: &mut fastrand::Rng) -> Fault {
    let of_members: &[ApiKey] = match plan.is_consumer_protocol {
        true => &[ApiKey::ConsumerGroupHeartbeat],
        false => &[ApiKey::Heartbeat, ApiKey::JoinGroup, ApiKey::SyncGroup],
    };
    let apis = [
        ApiKey::Fetch,
        ApiKey::Metadata,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
        ApiKey::FindCoordinator,
        ApiKey::ListOffsets,
    ];
    let apis = [&apis, of_members].concat();
    let api = apis[rng.usize(..apis.len())];
    let effect = match rng.u32(..5) {
        0 => Effect::DisconnectBefore,
        1 => Effect::DisconnectAfter,
        2 => Effect::Delay(FAULT_DELAY_MAX.mul_f64(rng.f64())),
        3 => Effect::Throttle(FAULT_DELAY_MAX.mul_f64(rng.f64())),
        _ => Effect::Error(match api {
            ApiKey::Fetch | ApiKey::ListOffsets => ResponseError::NotLeaderOrFollower,
            ApiKey::Metadata => ResponseError::LeaderNotAvailable,
            ApiKey::FindCoordinator => ResponseError::CoordinatorNotAvailable,
            _ => ResponseError::CoordinatorLoadInProgress,
        }),
    };
    Fault::new(api, effect).times(rng.u32(1..=3))
}
