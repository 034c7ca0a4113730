//! Members driven by hand against a small coordinator, in virtual time.

mod cooperative;
mod coordinator;
mod errors;
mod leases;
mod membership;

use std::time::Duration;

use coordinator::{Answer, TestCoordinator};
use kafka_protocol::messages::ApiKey;

use super::*;
use crate::request::supported_versions;

const MS: Duration = Duration::from_millis(1);
/// A run of the world ends after so many steps; none of the tests needs a tenth of it.
const MAX_STEPS: usize = 10_000;

/// Members, their coordinator, and what happened to each.
struct World {
    now: Instant,
    groups: Vec<ClassicGroup>,
    coordinator: TestCoordinator,
    versions: VersionTable,
    counts: PartitionCounts,
    log: Vec<Vec<String>>,
    /// Nobody is told partition counts.
    withholds_counts: bool,
    /// Whether `Revoke` is answered at once.
    revokes: bool,
    /// Requests of these members get no answer.
    deaf: Vec<usize>,
    /// Kinds of requests sent, per member.
    sent: Vec<Vec<GroupRequestKind>>,
}

impl World {
    fn new(members: usize) -> World {
        let config = || ClassicConfig { seed: 1, ..ClassicConfig::new("g") };
        World::with((0..members).map(|_| config()).collect())
    }

    fn with(configs: Vec<ClassicConfig>) -> World {
        let members = configs.len();
        let mut groups: Vec<_> = configs.into_iter().map(ClassicGroup::new).collect();
        groups.iter_mut().for_each(|group| group.subscribe([Arc::from("t")]));
        World {
            now: Instant::now(),
            groups,
            coordinator: TestCoordinator::default(),
            versions: table(i16::MAX),
            counts: [(Arc::from("t"), 4)].into(),
            log: vec![Vec::new(); members],
            withholds_counts: false,
            revokes: true,
            deaf: Vec::new(),
            sent: vec![Vec::new(); members],
        }
    }

    /// Runs until nothing happens any more at this instant.
    fn settle(&mut self) {
        let mut answers: VecDeque<Answer> = VecDeque::new();
        for _ in 0..MAX_STEPS {
            let mut idle = true;
            for at in 0..self.groups.len() {
                while let Some(action) = self.groups[at].poll(self.now) {
                    idle = false;
                    answers.extend(self.act(at, action));
                }
            }
            if let Some((to, kind, frame)) = answers.pop_front() {
                self.groups[to].on_response(kind, &frame, self.now).unwrap();
            } else if idle {
                return;
            }
        }
        panic!("the members never come to rest: {:?}", self.log);
    }

    /// Lets `time` pass, stopping wherever a member wants to be called.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        for _ in 0..MAX_STEPS {
            match self.groups.iter().filter_map(ClassicGroup::deadline).min() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => {
                    self.now = end;
                    self.settle();
                    return;
                }
            }
            self.settle();
        }
        panic!("deadlines do not move on: {:?}", self.log);
    }

    fn act(&mut self, at: usize, action: GroupAction) -> Vec<Answer> {
        match action {
            GroupAction::NeedCoordinator => {
                self.log[at].push("coordinator?".to_owned());
                self.groups[at].coordinator_known(&self.versions).unwrap();
            }
            GroupAction::NeedMetadata { .. } if self.withholds_counts => {}
            GroupAction::NeedMetadata { .. } => self.groups[at].set_partition_counts(&self.counts),
            GroupAction::Send(request) => {
                self.sent[at].push(request.kind());
                let mut frame = Vec::new();
                request.encode(1, "client", &mut frame).unwrap();
                if !self.deaf.contains(&at) {
                    let mut answers = self.coordinator.handle(at, &frame);
                    if request.kind() == GroupRequestKind::HeartbeatBeside {
                        answers.iter_mut().for_each(|(_, kind, _)| *kind = GroupRequestKind::HeartbeatBeside);
                    }
                    return answers;
                }
            }
            GroupAction::Revoke { partitions } => {
                self.log[at].push(format!("revoke {}", list(&partitions)));
                if self.revokes {
                    self.groups[at].revoked(self.now);
                }
            }
            GroupAction::Assigned { partitions, generation, .. } => {
                self.log[at].push(format!("assigned {} in {generation}", list(&partitions)));
            }
            GroupAction::Lost { partitions, reason } => {
                self.log[at].push(format!("lost {}: {reason}", list(&partitions)));
            }
            GroupAction::NeedTopicNames { .. } => unreachable!("classic groups name their topics"),
            GroupAction::Left => self.log[at].push("left".to_owned()),
            GroupAction::Fatal(error) => self.log[at].push(format!("fatal {error}")),
        }
        Vec::new()
    }

    /// What happened to a member since it was last asked.
    fn news(&mut self, at: usize) -> Vec<String> {
        std::mem::take(&mut self.log[at])
    }

    fn owned(&self, at: usize) -> String {
        list(self.groups[at].owned())
    }

    /// A member that has joined alone and owns everything.
    fn joined() -> World {
        let mut world = World::new(1);
        world.groups[0].start();
        world.pass(500 * MS);
        assert_eq!(world.owned(0), "t-0 t-1 t-2 t-3");
        world.news(0);
        world.sent[0].clear();
        world
    }
}

fn list(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(|partition| partition.to_string()).collect::<Vec<_>>().join(" ")
}

/// A broker that offers the group requests up to what we speak, JoinGroup no further than `join`.
fn table(join: i16) -> VersionTable {
    let apis = [ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::Heartbeat, ApiKey::LeaveGroup];
    VersionTable::new(apis.map(|api| {
        let (first, last) = supported_versions(api).unwrap();
        (api as i16, first, if api == ApiKey::JoinGroup { last.min(join) } else { last })
    }))
}
