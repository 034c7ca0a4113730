//! `verifiable-consumer`, judged by what Kafka's system tests assert of its lines.

use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use millstream_testbroker::TestBroker;
use millstream_tests::gate::PATIENCE;
use millstream_tests::verifiable::{Judge, Rebalances};

use crate::common::{broker, fill, millstream, stderr, stdout, terminate};

/// The lines of members as they come, and the processes behind them.
struct Group {
    brokers: String,
    flags: Vec<&'static str>,
    members: Vec<Child>,
    judge: Judge,
    lines: Receiver<(usize, String)>,
    sender: Sender<(usize, String)>,
}

impl Group {
    fn new(broker: &TestBroker, rebalances: Rebalances, flags: &[&'static str]) -> Self {
        let (sender, lines) = channel();
        Self {
            brokers: broker.bootstrap(),
            flags: flags.to_vec(),
            members: Vec::new(),
            judge: Judge::new(rebalances),
            lines,
            sender,
        }
    }

    fn start_member(&mut self) {
        let named = ["--bootstrap-server", &self.brokers, "--topic", "t", "--group-id", "g"];
        let mut child = millstream(&[&["verifiable-consumer"], &named[..], &self.flags].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (member, sender) = (self.members.len(), self.sender.clone());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            // The receiver goes when the test ends.
            lines.map_while(Result::ok).try_for_each(|line| sender.send((member, line)).map_err(drop))
        });
        self.members.push(child);
    }

    fn hear_until(&mut self, is_enough: impl Fn(&Judge) -> bool) {
        while !is_enough(&self.judge) {
            let (member, line) = self.lines.recv_timeout(PATIENCE).expect("a line");
            self.judge.hear(member, &line).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    }

    fn stop_member(&mut self, member: usize) -> ExitStatus {
        terminate(&self.members[member]);
        self.hear_until(|judge| judge.has_ended(member));
        self.members[member].wait().unwrap()
    }

    /// The offsets of both partitions that are committed last.
    fn committed(&self) -> Vec<i64> {
        self.judge.committed().values().copied().collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for child in &mut self.members {
            // One that has ended is no news.
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn a_second_member_comes_and_the_first_goes(rebalances: Rebalances, flags: &[&'static str]) {
    let broker = broker(2);
    let mut group = Group::new(&broker, rebalances, flags);
    (0..2).for_each(|partition| fill(&broker, partition, 0..50));
    group.start_member();
    group.hear_until(|judge| judge.records() == 100);
    group.start_member();
    group.hear_until(|judge| judge.shares() == [1, 1]);
    (0..2).for_each(|partition| fill(&broker, partition, 50..80));
    group.hear_until(|judge| judge.records() == 160);
    assert!(group.stop_member(0).success());
    group.hear_until(|judge| judge.shares() == [0, 2]);
    (0..2).for_each(|partition| fill(&broker, partition, 80..90));
    group.hear_until(|judge| judge.records() == 180);
    assert!(group.stop_member(1).success());
    assert_eq!(group.judge.records(), 180, "nothing twice");
    assert_eq!(group.judge.consumed().values().copied().collect::<Vec<_>>(), [90, 90]);
    assert_eq!(group.committed(), [90, 90]);
    assert_eq!(committed(&broker, 0), Some(90));
    assert_eq!(committed(&broker, 1), Some(90));
}

/// What the group has committed, as the broker has it.
fn committed(broker: &TestBroker, partition: i32) -> Option<i64> {
    broker
        .handle()
        .with(|cluster, _| cluster.committed_offset("g", "t", partition).map(|offset| offset.offset))
}

#[test]
fn eager_members_say_what_kafkas_harness_asserts() {
    a_second_member_comes_and_the_first_goes(Rebalances::Eager, &[]);
}

#[test]
fn cooperative_members_say_what_kafkas_harness_asserts() {
    let assignor = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    a_second_member_comes_and_the_first_goes(Rebalances::Incremental, &["--assignment-strategy", assignor]);
}

#[test]
fn a_member_ends_after_as_many_records_as_asked_for_and_has_committed_just_them() {
    let broker = broker(1);
    fill(&broker, 0, 0..50);
    for (wanted, next) in [("25", 25), ("10", 35), ("1", 36)] {
        let output = millstream(&["verifiable-consumer", "--bootstrap-server", &broker.bootstrap()])
            .args(["--topic", "t", "--group-id", "g", "--max-messages", wanted, "--verbose"])
            .output()
            .unwrap();
        let text = stdout(&output);
        let mut judge = Judge::new(Rebalances::Eager);
        text.lines().for_each(|line| judge.hear(0, line).unwrap_or_else(|wrong| panic!("{wrong}\n{text}")));
        assert_eq!(judge.records().to_string(), wanted);
        assert_eq!(text.matches("record_data").count().to_string(), wanted);
        assert!(text.contains(&format!("\"value\":\"0-{}\"", next - 1)), "{text}");
        assert!(judge.has_ended(0));
        assert_eq!(committed(&broker, 0), Some(next));
    }
}

#[test]
fn without_arguments_it_explains_itself_and_a_wrong_one_is_named() {
    let output = millstream(&["verifiable-consumer"]).output().unwrap();
    assert!(stdout(&output).contains("--group-instance-id"));
    let output = millstream(&["verifiable-consumer", "--topics", "t"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--topics"), "{}", stderr(&output));
}
