//! A group under watch: its members are processes, ours and Java's, and what they report is booked as it comes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::chronicle::Chronicle;
use super::deliveries::Deliveries;
use super::event::EngineEvent;
use super::member::EngineMember;
use super::recording::MemberRecording;
use crate::anomalies::Op;
use crate::kafka::{JavaTools, Member, MemberEvent, OwnedPartition, Produce};

/// How long a test waits for what must happen.
const LIMIT: Duration = Duration::from_secs(90);
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Events of one member between two looks at the others.
const EVENTS_PER_TURN: usize = 64;

/// A group that reads one topic, and what its members have done so far.
///
/// Whatever goes wrong is a panic that names the member and quotes its log: this is for tests.
pub struct GroupUnderWatch {
    program: &'static str,
    bootstrap: String,
    group: String,
    topic: String,
    /// Partitions of the topic: those that are written to, unless it is said otherwise.
    pub partitions: usize,
    /// What all members have handled.
    pub deliveries: Deliveries,
    /// In the order of their start.
    pub members: Vec<WatchedMember>,
    chronicle: Chronicle,
    /// Engines that join record what they are given, for a look after a failure.
    pub records: bool,
}

/// One member.
pub struct WatchedMember {
    name: String,
    process: Process,
    /// Of an engine that records.
    recording: Option<MemberRecording>,
    is_over: bool,
    /// The partitions that it owns, with the offset that it began at (0 in a Java member, which does not tell).
    pub owned: BTreeMap<i32, i64>,
    /// The next offset of each partition that it has handled records of.
    pub positions: BTreeMap<i32, i64>,
    /// The partitions that it has lost last, with the next offset of each then.
    pub lost_at: BTreeMap<i32, i64>,
    /// What it has reported, records left out.
    pub events: Vec<EngineEvent>,
}

enum Process {
    Engine(EngineMember),
    Java(Member),
}

impl GroupUnderWatch {
    /// A group without members that reads what `written` says; `program` is the binary `engine_member`.
    pub fn new(program: &'static str, bootstrap: &str, group: &str, written: &Produce) -> Self {
        Self {
            program,
            bootstrap: bootstrap.to_owned(),
            group: group.to_owned(),
            topic: written.topic.clone(),
            partitions: written.partitions as usize,
            deliveries: Deliveries::new(written),
            members: Vec::new(),
            chronicle: Chronicle::new(written),
            records: false,
        }
    }

    /// Starts an engine; returns its index.
    pub fn join(&mut self, name: &str, properties: &[(&str, &str)]) -> usize {
        let recording = self.records.then(|| MemberRecording::new(name));
        let file = recording.as_ref().map(|recording| recording.path().to_string_lossy().into_owned());
        let mut arguments = properties.to_vec();
        arguments.extend(file.as_deref().map(|file| ("--record", file)));
        let process =
            EngineMember::start(self.program, name, &self.bootstrap, &self.group, &self.topic, &arguments);
        self.add(name, Process::Engine(process.expect("an engine that starts")), recording)
    }

    /// Starts a Java consumer; returns its index.
    pub fn join_java(&mut self, java: &JavaTools, name: &str, properties: &[(&str, &str)]) -> usize {
        let client_id = [("client.id", name)];
        let properties: Vec<(String, String)> = client_id
            .iter()
            .chain(properties)
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let process = java.member(&self.bootstrap, &self.group, &[&self.topic], &properties);
        self.add(name, Process::Java(process.expect("a Java consumer that starts")), None)
    }

    fn add(&mut self, name: &str, process: Process, recording: Option<MemberRecording>) -> usize {
        self.members.push(WatchedMember {
            name: name.to_owned(),
            process,
            recording,
            is_over: false,
            owned: BTreeMap::new(),
            positions: BTreeMap::new(),
            lost_at: BTreeMap::new(),
            events: Vec::new(),
        });
        self.members.len() - 1
    }

    /// Books what comes until `done`.
    ///
    /// # Panics
    /// If that does not happen in time, or a member ends that was not told to.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !done(self) {
            if Instant::now() > deadline {
                panic!("not within {LIMIT:?}: {what}\n{}", self.describe());
            }
            if !self.book_what_came() {
                std::thread::sleep(POLL_INTERVAL);
            }
        }
    }

    /// Waits until these members, and no other, own all partitions, evenly to one.
    pub fn wait_until_shared_by(&mut self, members: &[usize]) {
        let partitions = self.partitions;
        let least = partitions / members.len();
        self.wait_until(&format!("the partitions are shared by {members:?}"), |group| {
            let owned = |index: &usize| group.members[*index].owned.len();
            members.iter().all(|index| owned(index) >= least)
                && (0..group.members.len()).map(|index| owned(&index)).sum::<usize>() == partitions
        });
    }

    /// Waits until every record that was written was handled.
    pub fn wait_until_complete(&mut self) {
        self.wait_until("every record is handled", |group| group.deliveries.is_complete());
    }

    /// Sends SIGTERM to engines, and to Java members the command to stop; waits until all have ended well.
    ///
    /// # Panics
    /// If one does not.
    pub fn stop(&mut self, members: &[usize]) {
        for &index in members {
            match &mut self.members[index].process {
                Process::Engine(engine) => engine.terminate(),
                Process::Java(java) => java.stop().expect("a Java member that takes commands"),
            }
        }
        let all_over = |group: &Self| members.iter().all(|&index| group.members[index].is_over);
        self.wait_until(&format!("members {members:?} have stopped"), all_over);
        for &index in members {
            let member = &mut self.members[index];
            member.owned.clear();
            if let Process::Engine(engine) = &mut member.process {
                engine.succeeded().expect("an orderly end");
            }
        }
    }

    /// Plays what engines have recorded, whichever way they have ended.
    ///
    /// # Panics
    /// If something happens otherwise, or one cannot be read.
    pub fn assert_recordings_replay(&self) {
        for member in &self.members {
            let Some(recording) = &member.recording else { continue };
            let replayed = millstream::recording::replay(recording.path());
            let replayed = replayed.unwrap_or_else(|error| panic!("{}: {error}", member.name));
            assert_eq!(replayed.divergence, None, "{}: {replayed:?}", member.name);
        }
    }

    /// Ends an engine by SIGKILL, and books what it had reported. Returns what it owned.
    pub fn kill9(&mut self, index: usize) -> BTreeMap<i32, i64> {
        let engine = self.engine(index);
        engine.kill9();
        let events = engine.remaining_events().expect("events");
        let Self { members, deliveries, chronicle, .. } = self;
        let member = &mut members[index];
        for event in events {
            chronicle.of_engine(index, &event);
            member.book(event, deliveries);
        }
        chronicle.note(Op::Crashed { member: index });
        member.is_over = true;
        std::mem::take(&mut member.owned)
    }

    /// Asks an engine for a commit and returns what came of it.
    pub fn commit(&mut self, index: usize) -> EngineEvent {
        let answered = self.members[index].events.len();
        self.engine(index).commit().expect("a member that takes commands");
        let answer = |group: &Self| {
            let new = group.members[index].events.get(answered..).unwrap_or_default();
            let is_answer = |event: &&EngineEvent| {
                matches!(event, EngineEvent::Committed { .. } | EngineEvent::CommitFailed { .. })
            };
            new.iter().find(is_answer).cloned()
        };
        self.wait_until("the commit is answered", |group| answer(group).is_some());
        answer(self).expect("the answer that was waited for")
    }

    /// Takes down what no member reports.
    pub fn note(&mut self, op: Op) {
        self.chronicle.note(op);
    }

    /// Takes down that these of the records, by their places among all, are written once more.
    pub fn note_written_again(&mut self, places: Range<u64>) {
        self.chronicle.sent(places);
    }

    /// Has the finders of anomalies judge what the members have reported, all of it by now.
    ///
    /// # Panics
    /// If they find anything.
    pub fn assert_no_anomaly(&mut self) {
        let found = self.chronicle.anomalies();
        assert!(found.is_empty(), "{found:#?}\n{}", self.describe());
    }

    /// An engine's process.
    ///
    /// # Panics
    /// If it is a Java member.
    pub fn engine(&mut self, index: usize) -> &mut EngineMember {
        let member = &mut self.members[index];
        match &mut member.process {
            Process::Engine(engine) => engine,
            Process::Java(_) => panic!("{} is a Java member", member.name),
        }
    }

    /// A Java member's process.
    ///
    /// # Panics
    /// If it is an engine.
    pub fn java(&mut self, index: usize) -> &mut Member {
        let member = &mut self.members[index];
        match &mut member.process {
            Process::Java(java) => java,
            Process::Engine(_) => panic!("{} is an engine", member.name),
        }
    }

    /// Books what is there; returns whether anything was.
    fn book_what_came(&mut self) -> bool {
        let mut came = false;
        for index in 0..self.members.len() {
            came |= (0..EVENTS_PER_TURN).take_while(|_| self.book_next(index)).count() > 0;
        }
        came
    }

    /// Books one event of a member, if there is one.
    fn book_next(&mut self, index: usize) -> bool {
        let Self { members, deliveries, chronicle, .. } = self;
        let member = &mut members[index];
        if member.is_over {
            return false;
        }
        match &member.process {
            Process::Engine(engine) => match engine.event_at_hand().expect("an engine that runs") {
                Some(event) => {
                    chronicle.of_engine(index, &event);
                    member.book(event, deliveries);
                }
                None => return false,
            },
            Process::Java(java) => match java.event_at_hand().expect("a Java member that runs") {
                Some(event) => {
                    chronicle.of_java(index, &event);
                    member.book_java(event, deliveries);
                }
                None => return false,
            },
        }
        true
    }

    fn describe(&self) -> String {
        let mut text = format!(
            "handled {} records; missing {:?}\n",
            self.deliveries.covered(),
            self.deliveries.missing()
        );
        for member in &self.members {
            let log = match &member.process {
                Process::Engine(engine) => engine.log(),
                Process::Java(_) => String::new(),
            };
            let events = &member.events[member.events.len().saturating_sub(20)..];
            text += &format!("-- {} owns {:?}; last events {events:?}\n{log}\n", member.name, member.owned);
        }
        text
    }
}

impl WatchedMember {
    fn book(&mut self, event: EngineEvent, deliveries: &mut Deliveries) {
        match &event {
            EngineEvent::Records { partition, first_offset, hashes } => {
                assert!(self.owned.contains_key(partition), "{} handles {partition}, not its own", self.name);
                deliveries.handled(*partition, *first_offset, hashes);
                self.positions.insert(*partition, first_offset + hashes.len() as i64);
                return;
            }
            EngineEvent::Assigned { partition, start_offset } => {
                self.owned.insert(*partition, *start_offset);
            }
            EngineEvent::Revoked { partition } => {
                self.owned.remove(partition);
            }
            EngineEvent::Lost { partition } => {
                let start = self.owned.remove(partition).unwrap_or_default();
                let position = self.positions.get(partition).copied().unwrap_or(start);
                self.lost_at.insert(*partition, position);
            }
            EngineEvent::Ended { .. } | EngineEvent::Failed { .. } => self.is_over = true,
            _ => {}
        }
        self.events.push(event);
    }

    fn book_java(&mut self, event: MemberEvent, deliveries: &mut Deliveries) {
        let numbers = |partitions: Vec<OwnedPartition>| partitions.into_iter().map(|owned| owned.partition);
        match event {
            MemberEvent::Records { partition, first_offset, last_offset, tally, .. } => {
                deliveries.handled_in_java(partition, first_offset, last_offset, tally);
                self.positions.insert(partition, last_offset + 1);
            }
            MemberEvent::Assigned { partitions } => {
                self.owned.extend(numbers(partitions).map(|partition| (partition, 0)));
            }
            MemberEvent::Revoked { partitions } | MemberEvent::Lost { partitions } => {
                for partition in numbers(partitions) {
                    self.owned.remove(&partition);
                }
            }
            MemberEvent::Held => self.events.push(EngineEvent::Holding { is_on: true }),
            MemberEvent::Released => self.events.push(EngineEvent::Holding { is_on: false }),
            MemberEvent::Stopped => self.is_over = true,
            MemberEvent::Committed | MemberEvent::Ignored | MemberEvent::Unknown => {}
        }
    }
}
