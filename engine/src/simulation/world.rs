//! The loop of a run: what happens next, happens.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millstream_protocol::group::MembershipOperation;
use millstream_testbroker::Cluster;

use super::commits::is_commit;
use super::handler::lock;
use super::invariants::{self, Invariant};
use super::ledger::{Ledger, MemberId};
use super::member::Member;
use super::network::{Arrival, Network};
use super::plan::{GROUP, Plan, TOPIC};
use super::planted::Planted;
use super::producer::Producers;
use super::script::{Action, DISTURBED, Script};
use super::time::Time;
use super::{Options, Outcome};
use crate::control::{Request, TopicPartition};
use crate::reply::reply;

/// After the disturbances everything is to be handled and committed within this time.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// And all members are to have ended within this time of being told to.
const STOP_MAX: Duration = Duration::from_secs(40);
/// How long handlers get at a stop.
const GRACE: Duration = Duration::from_secs(20);
/// Steps of a run; more is a loop of ours.
const STEPS_MAX: u64 = 400_000;
/// One step in so many wakes a thread for no reason.
const NUDGE_ONE_IN: u32 = 16;
/// Partitions that are added in all.
const GROWTH_MAX: i32 = 3;

/// A cluster, its members, and everything between them.
pub(super) struct World {
    plan: Plan,
    rng: fastrand::Rng,
    time: Arc<Time>,
    ledger: Arc<Mutex<Ledger>>,
    cluster: Cluster,
    network: Network,
    producers: Producers,
    script: Script,
    members: Vec<Member>,
    started: usize,
    partitions: i32,
    /// Who is in which place.
    places: Vec<Option<MemberId>>,
    /// Whoever ends is started again.
    is_calm: bool,
    /// Members that are told to fail, so that their end by an error is right.
    may_fail: Vec<MemberId>,
}

impl World {
    pub(super) fn new(seed: u64, options: Options) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let time = Arc::new(Time::new());
        let plan = Plan::new(options.planted, &mut rng);
        let ledger = Ledger::new(Arc::clone(&time), plan.partitions as usize, options.is_traced);
        let ledger = Arc::new(Mutex::new(ledger));
        let script = Script::new(&plan, time.start(), &mut rng);
        lock(&ledger).note(time.start(), &plan);
        Self {
            cluster: plan.cluster(&mut rng),
            network: Network::new(rng.u64(..), plan.planted == Some(Planted::BytesUnchecked)),
            producers: Producers::new(rng.u64(..)),
            partitions: plan.partitions,
            places: vec![None; plan.places],
            plan,
            rng,
            time,
            ledger,
            script,
            members: Vec::new(),
            started: 0,
            is_calm: false,
            may_fail: Vec::new(),
        }
    }

    /// Runs to the end, or to the first violation.
    pub(super) fn run(mut self) -> Outcome {
        let start = self.time.start();
        let is_through = |world: &mut Self| world.script.deadline().is_none();
        if self.run_until(start + DISTURBED + QUIET_MAX, is_through) {
            let limit = self.time.now() + QUIET_MAX;
            if !self.run_until(limit, |world| lock(&world.ledger).is_settled()) {
                let mut ledger = lock(&self.ledger);
                let unsettled = ledger.unsettled().filter(|_| !ledger.has_violations());
                ledger.judge(invariants::everything_is_handled_in_the_end(unsettled, QUIET_MAX));
            }
            self.stop_all();
        }
        let lasting = self.time.now() - start;
        let closed = lock(&self.ledger).close();
        Outcome {
            plan: self.plan.to_string(),
            trace: closed.trace,
            history: closed.history,
            violations: closed.violations,
            appended: closed.appended,
            handled_twice: closed.handled_twice,
            moved: closed.moved,
            lasting,
        }
    }

    fn stop_all(&mut self) {
        if lock(&self.ledger).has_violations() {
            return;
        }
        self.is_calm = false;
        for place in 0..self.places.len() {
            self.act(Action::Stop(place));
        }
        let limit = self.time.now() + STOP_MAX;
        if !self.run_until(limit, |world| world.members.is_empty()) && !lock(&self.ledger).has_violations() {
            let left: Vec<String> = self.members.iter().map(|member| member.id.to_string()).collect();
            lock(&self.ledger).judge(invariants::a_stop_ends_in_time(&left, STOP_MAX));
        }
    }

    /// Goes on in time until `is_done`; not beyond `limit` or a violation.
    fn run_until(&mut self, limit: Instant, is_done: impl Fn(&mut Self) -> bool) -> bool {
        for _ in 0..STEPS_MAX {
            if lock(&self.ledger).has_violations() {
                return false;
            }
            if is_done(self) {
                return true;
            }
            let now = self.time.now();
            let members = self.members.iter().filter_map(|member| member.next_at(now));
            let others = [self.network.deadline(), self.script.deadline(), self.cluster.deadline()];
            match members.chain(others.into_iter().flatten()).min() {
                Some(next) if next <= limit => self.time.pass(next),
                _ => return false,
            }
            self.step();
        }
        let now = self.time.now();
        let due: Vec<_> = self.members.iter().map(|member| (member.id, member.due(now))).collect();
        lock(&self.ledger).judge(invariants::deadlines_move_on(&format!("{due:?}"), true));
        false
    }

    fn step(&mut self) {
        let now = self.time.now();
        while let Some(action) = self.script.take_due(now) {
            self.act(action);
        }
        while let Some(arrival) = self.network.arrive(&mut self.cluster, now) {
            match arrival {
                Arrival::Request { connection, member, request } => {
                    let is_commit = is_commit(&request);
                    self.cluster.handle_request(connection, request, now);
                    if is_commit {
                        self.look_at_commits(member);
                    }
                }
                Arrival::Completion { actor, completion } => {
                    if let Some(member) = self.members.iter_mut().find(|member| member.id == actor.member) {
                        member.complete(actor.shard, completion);
                    }
                }
            }
        }
        for output in self.cluster.poll(now) {
            self.network.deliver(output, now);
        }
        for member in &mut self.members {
            member.step(&mut self.network, now);
        }
        if !self.members.is_empty() && self.rng.u32(..NUDGE_ONE_IN) == 0 {
            let index = self.rng.usize(..self.members.len());
            self.members[index].nudge(&mut self.network, now);
        }
        self.bury();
    }

    fn act(&mut self, action: Action) {
        let now = self.time.now();
        if !matches!(action, Action::Append) {
            lock(&self.ledger).note(now, &format_args!("{action:?}"));
        }
        if let Err(error) = self.carry_out(action, now) {
            lock(&self.ledger).note(now, &format_args!("not done: {error}"));
        }
    }

    fn carry_out(&mut self, action: Action, now: Instant) -> Result<(), String> {
        match action {
            Action::Append => self.append(),
            Action::Decide => self.decide(),
            Action::Start(place) => self.start(place),
            Action::Stop(place) => self.stop(place),
            Action::Crash { place, with_host } => self.crash(place, with_host),
            Action::Freeze(place, lasting) => {
                if let Some(member) = self.at(place) {
                    member.freeze(now, now + lasting);
                }
            }
            Action::FreezeAtWork(place, lasting) => {
                if let Some(member) = self.at(place) {
                    member.freeze_at_work(lasting);
                }
            }
            Action::FailHandler(place) => {
                let shard = self.rng.usize(..self.plan.shards);
                if let Some(member) = self.at(place) {
                    lock(&member.shards[shard].mood).fails = true;
                    let id = member.id;
                    self.may_fail.push(id);
                }
            }
            Action::Stall(place, stall) => {
                let shard = self.rng.usize(..self.plan.shards);
                if let Some(member) = self.at(place) {
                    lock(&member.shards[shard].mood).stalls = Some(stall);
                }
            }
            Action::MovePartition(place) => {
                let at = TopicPartition::new(TOPIC, self.rng.i32(0..self.partitions));
                let to = self.rng.usize(..self.plan.shards);
                if let Some(member) = self.at(place) {
                    // The trace says what becomes of it.
                    let (promise, _) = reply();
                    member.request(Request::Move { at, to, reply: promise }, now);
                }
            }
            Action::KillConnections { place, broker } => {
                let member = self.places[place];
                self.network.kill(member, Some(broker));
            }
            Action::Cut { place, broker, way, lasting } => {
                if let Some(member) = self.places[place] {
                    self.network.cut(member, broker, way, now + lasting);
                }
            }
            Action::SetCalendar(by_ms) => self.time.set_calendar(by_ms),
            Action::Delete => return self.delete(),
            Action::Truncate => return self.truncate(),
            Action::Calm => return self.calm(),
            Action::Grow if self.partitions < self.plan.partitions + GROWTH_MAX => return self.grow(),
            Action::GrowLast => {
                self.grow()?;
                self.append_last(self.partitions - 1);
            }
            _ => return self.disturb_cluster(action, now),
        }
        Ok(())
    }

    fn disturb_cluster(&mut self, action: Action, now: Instant) -> Result<(), String> {
        let cluster = &mut self.cluster;
        let result = match action {
            Action::MoveLeader => {
                let partition = self.rng.i32(0..self.partitions);
                let broker = self.rng.i32(1..=self.plan.brokers);
                cluster.move_leader(TOPIC, partition, broker, now)
            }
            Action::DropConnections(broker) => cluster.disconnect_all(broker),
            Action::EvictSessions(broker) => cluster.evict_sessions(broker),
            Action::StopBroker { broker, power } => {
                if power {
                    self.network.kill(None, Some(broker));
                }
                cluster.stop_broker(broker, now)
            }
            Action::StartBroker(broker) => cluster.start_broker(broker, now),
            Action::SlowBroker(broker, delay) => cluster.set_delay(broker, delay),
            Action::MoveCoordinator(broker) => cluster.move_coordinator(GROUP, broker, now),
            Action::Inject(fault) => {
                cluster.inject(fault, now);
                Ok(())
            }
            // The others are not the cluster's.
            _ => Ok(()),
        };
        result.map_err(|error| error.to_string())
    }

    /// The disturbances are over: everything runs and answers again, transactions are decided, and each partition gets
    /// a last batch.
    fn calm(&mut self) -> Result<(), String> {
        self.is_calm = true;
        self.cluster.clear_faults();
        let now = self.time.now();
        for broker in 1..=self.plan.brokers {
            self.cluster.set_delay(broker, Duration::ZERO).map_err(|error| error.to_string())?;
            self.cluster.start_broker(broker, now).map_err(|error| error.to_string())?;
        }
        while self.producers.undecided() > 0 {
            self.decide();
        }
        for partition in 0..self.partitions {
            self.append_last(partition);
        }
        for member in &mut self.members {
            member.shards.iter().for_each(|shard| lock(&shard.mood).fails = false);
        }
        for place in 0..self.places.len() {
            if place == 0 || self.rng.bool() {
                self.start(place);
            }
        }
        Ok(())
    }

    fn append(&mut self) {
        let now = self.time.now();
        let time = (now, self.time.wall_ms(now));
        let mut ledger = lock(&self.ledger);
        let appended =
            self.producers.append(&self.plan, self.partitions, &mut self.cluster, &mut ledger, time);
        ledger.judge(appended.or_else(|error| Invariant::Books.holds(false, || error)));
    }

    /// Each partition gets a last batch that is no transaction's.
    fn append_last(&mut self, partition: i32) {
        let now = self.time.now();
        let time = (now, self.time.wall_ms(now));
        let mut ledger = lock(&self.ledger);
        let (producers, cluster) = (&mut self.producers, &mut self.cluster);
        let appended = producers.append_plain(partition, &self.plan, cluster, &mut ledger, time);
        ledger.judge(appended.or_else(|error| Invariant::Books.holds(false, || error)));
    }

    fn grow(&mut self) -> Result<(), String> {
        self.partitions += 1;
        lock(&self.ledger).grow(self.partitions as usize);
        self.cluster.add_partitions(TOPIC, self.partitions).map_err(|error| error.to_string())
    }

    fn decide(&mut self) {
        let now = self.time.now();
        let time = (now, self.time.wall_ms(now));
        let mut ledger = lock(&self.ledger);
        let decided = self.producers.decide(&self.plan, &mut self.cluster, &mut ledger, time);
        ledger.judge(decided.or_else(|error| Invariant::Books.holds(false, || error)));
    }

    /// A log loses its beginning, up to any place.
    fn delete(&mut self) -> Result<(), String> {
        let (now, partition) = (self.time.now(), self.rng.i32(0..self.partitions));
        let start = self.rng.i64(0..=lock(&self.ledger).log_end(partition));
        self.cluster.delete_records(TOPIC, partition, start, now).map_err(|error| error.to_string())?;
        let offsets = self.cluster.offsets(TOPIC, partition).map_err(|error| error.to_string())?;
        lock(&self.ledger).deleted(partition, offsets.log_start_offset);
        Ok(())
    }

    /// A log loses its end, from any place on, by an unclean election.
    fn truncate(&mut self) -> Result<(), String> {
        let (now, partition) = (self.time.now(), self.rng.i32(0..self.partitions));
        let before = self.cluster.offsets(TOPIC, partition).map_err(|error| error.to_string())?;
        let end = self.rng.i64(before.log_start_offset..=before.high_watermark);
        self.cluster.truncate(TOPIC, partition, end, now).map_err(|error| error.to_string())?;
        let offsets = self.cluster.offsets(TOPIC, partition).map_err(|error| error.to_string())?;
        lock(&self.ledger).truncated(partition, offsets.high_watermark);
        Ok(())
    }

    fn start(&mut self, place: usize) {
        if self.at(place).is_some() {
            return;
        }
        let id = MemberId(self.started);
        self.started += 1;
        self.places[place] = Some(id);
        let member = Member::new(
            id,
            Arc::new(self.plan.config(place)),
            self.plan.shards,
            &self.ledger,
            &self.time,
            self.plan.planted,
            &mut self.rng,
        );
        lock(&self.ledger).note(self.time.now(), &format_args!("{id} starts in place {place}"));
        self.members.push(member);
    }

    fn stop(&mut self, place: usize) {
        let now = self.time.now();
        if let Some(member) = self.at(place) {
            let request =
                Request::Shutdown { deadline: now + GRACE, membership: MembershipOperation::Default };
            member.request(request, now);
        }
    }

    fn crash(&mut self, place: usize, with_host: bool) {
        let Some(id) = self.at(place).map(|member| member.id) else { return };
        lock(&self.ledger).crashed(id);
        if with_host {
            self.network.kill(Some(id), None);
        }
        self.network.drop_member(id, self.time.now());
        self.members.retain(|member| member.id != id);
        self.places[place] = None;
    }

    /// Takes away the members that have ended.
    fn bury(&mut self) {
        let gone: Vec<usize> =
            (0..self.members.len()).filter(|&index| self.members[index].is_gone()).collect();
        for index in gone.into_iter().rev() {
            let mut member = self.members.remove(index);
            self.network.drop_member(member.id, self.time.now());
            self.places.iter_mut().for_each(|place| {
                place.take_if(|id| *id == member.id);
            });
            let mut ledger = lock(&self.ledger);
            for shard in &mut member.shards {
                let left = shard.memory_left();
                ledger.judge(invariants::memory_comes_home(&member.id, left));
            }
            let may_fail = self.may_fail.contains(&member.id) || member.came_too_early;
            let error = member.ended.as_ref().and_then(|ended| ended.as_ref().err()).map(String::as_str);
            ledger.judge(invariants::members_end_without_an_error(&member.id, error, may_fail));
            // Its handlers are dropped with it, and say so.
            drop(ledger);
        }
        if self.is_calm && self.members.is_empty() {
            self.start(0);
        }
    }

    fn at(&mut self, place: usize) -> Option<&mut Member> {
        let id = self.places[place]?;
        self.members.iter_mut().find(|member| member.id == id)
    }

    fn look_at_commits(&mut self, member: MemberId) {
        for partition in 0..self.partitions {
            if let Some(committed) = self.cluster.committed_offset(GROUP, TOPIC, partition) {
                lock(&self.ledger).committed(member, partition, committed.offset);
            }
        }
    }
}
