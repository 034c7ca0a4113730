//! Members of one group under seeded faults: no partition is owned twice, and all are owned in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::{ApiKey, Effect, Fault, ResponseError};

use super::world::World;
use crate::control::{Request, Subscription};
use crate::position::StartPosition;

const PARTITIONS: i32 = 6;
const SEEDS: u64 = 60;
const STEPS: usize = 60;
const MAX_MEMBERS: usize = 4;
const SECOND: Duration = Duration::from_secs(1);
const SETTINGS: [(&str, &str); 5] = [
    ("bootstrap.servers", "127.0.0.1:9001,127.0.0.1:9002,127.0.0.1:9003"),
    ("group.id", "g"),
    ("auto.offset.reset", "earliest"),
    ("auto.commit.interval.ms", "500"),
    ("session.timeout.ms", "10000"),
];

struct Chaos {
    world: World,
    rng: fastrand::Rng,
    /// Offsets handled by partition, by whichever member.
    handled: BTreeMap<i32, i64>,
    is_stopped: [bool; 3],
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut world = World::new(3, &[("t", PARTITIONS)]);
        for partition in 0..PARTITIONS {
            (0..200).for_each(|_| world.produce("t", partition));
        }
        let rng = fastrand::Rng::with_seed(seed);
        let mut chaos = Self { world, rng, handled: BTreeMap::new(), is_stopped: [false; 3] };
        chaos.join();
        chaos
    }

    fn join(&mut self) {
        let subscription =
            Subscription::Group { topics: vec![Arc::from("t")], start: StartPosition::Committed };
        self.world.start(&SETTINGS, subscription, 2);
    }

    fn step(&mut self) {
        match self.rng.u32(0..10) {
            0 if self.alive() < MAX_MEMBERS => self.join(),
            1 if self.alive() > 1 => self.leave(),
            2 | 3 => self.fault(),
            4 => self.toggle_broker(),
            _ => self.progress(),
        }
        let time = Duration::from_millis(self.rng.u64(1..2000));
        self.world.run_until(time, |world| {
            assert_owned_once(world);
            false
        });
    }

    fn alive(&self) -> usize {
        self.world.members.iter().filter(|member| member.ended.is_none()).count()
    }

    fn leave(&mut self) {
        let alive = self.world.members.iter().position(|member| member.ended.is_none()).unwrap();
        let deadline = self.world.now + 5 * SECOND;
        self.world.request(alive, Request::Shutdown { deadline, membership: MembershipOperation::Default });
    }

    fn fault(&mut self) {
        let apis = [
            (ApiKey::JoinGroup, ResponseError::CoordinatorLoadInProgress),
            (ApiKey::SyncGroup, ResponseError::RebalanceInProgress),
            (ApiKey::Heartbeat, ResponseError::RebalanceInProgress),
            (ApiKey::OffsetCommit, ResponseError::CoordinatorNotAvailable),
            (ApiKey::OffsetFetch, ResponseError::UnstableOffsetCommit),
            (ApiKey::Metadata, ResponseError::LeaderNotAvailable),
            (ApiKey::FindCoordinator, ResponseError::CoordinatorNotAvailable),
        ];
        let (api, error) = apis[self.rng.usize(..apis.len())];
        let effect = match self.rng.u32(0..4) {
            0 => Effect::DisconnectBefore,
            1 => Effect::DisconnectAfter,
            2 => Effect::Delay(Duration::from_millis(self.rng.u64(1..3000))),
            _ => Effect::Error(error),
        };
        self.world.cluster.inject(Fault::new(api, effect).times(self.rng.u32(1..4)), self.world.now);
    }

    /// At most one broker is down at a time.
    fn toggle_broker(&mut self) {
        let now = self.world.now;
        match self.is_stopped.iter().position(|stopped| *stopped) {
            Some(down) => {
                self.is_stopped[down] = false;
                self.world.cluster.start_broker(down as i32 + 1, now).unwrap();
            }
            None => {
                let up = self.rng.usize(..3);
                self.is_stopped[up] = true;
                self.world.cluster.stop_broker(up as i32 + 1, now).unwrap();
            }
        }
    }

    fn progress(&mut self) {
        for index in 0..self.world.members.len() {
            let open: Vec<_> = self.world.members[index].open.values().cloned().collect();
            for (_, lane, mark) in open {
                let from = mark.map_or(lane.start_offset, |mark| mark.next_offset);
                let to = (from + self.rng.i64(0..3)).min(200);
                if to > from {
                    self.world.mark(index, "t", lane.partition, to);
                    let handled = self.handled.entry(lane.partition).or_default();
                    *handled = to.max(*handled);
                }
            }
        }
    }

    /// Without faults everything comes to rest, and nothing was committed that was not handled.
    fn finish(mut self) {
        let now = self.world.now;
        self.world.cluster.clear_faults();
        if let Some(down) = self.is_stopped.iter().position(|stopped| *stopped) {
            self.world.cluster.start_broker(down as i32 + 1, now).unwrap();
        }
        let is_whole = |world: &World| {
            assert_owned_once(world);
            world.members.iter().map(|member| member.open.len()).sum::<usize>() == PARTITIONS as usize
        };
        assert!(self.world.run_until(120 * SECOND, is_whole), "some partition is owned by nobody");
        for partition in 0..PARTITIONS {
            let committed = self.world.cluster.committed_offset("g", "t", partition).map_or(0, |c| c.offset);
            let handled = self.handled.get(&partition).copied().unwrap_or(0);
            assert!(committed <= handled, "t-{partition}: {committed} committed, {handled} handled");
        }
        for member in &self.world.members {
            assert!(!matches!(member.ended, Some(Err(_))), "{:?}", member.ended);
            assert!(member.sent.len() < 5000, "{} requests", member.sent.len());
        }
    }
}

fn assert_owned_once(world: &World) {
    let mut owned = BTreeSet::new();
    for (_, lane, _) in world.members.iter().flat_map(|member| member.open.values()) {
        assert!(owned.insert(lane.partition), "t-{} is owned twice", lane.partition);
    }
}

#[test]
fn under_seeded_faults_no_partition_is_owned_twice_and_all_are_owned_in_the_end() {
    for seed in 0..SEEDS {
        let mut chaos = Chaos::new(seed);
        // The seed is what a failure is found again by.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            (0..STEPS).for_each(|_| chaos.step());
            chaos.finish();
        }));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
