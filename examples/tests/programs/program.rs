//! A running example, and orders for it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use millstream_examples::{order, write_orders};
use millstream_testbroker::{Config, TestBroker};

pub(crate) const TOPIC: &str = "orders";
pub(crate) const PARTITIONS: i32 = 4;
pub(crate) const ORDERS: u64 = 4_000;
/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that holds the orders `0..ORDERS`.
pub(crate) fn broker() -> TestBroker {
    let broker = TestBroker::start(Config::default()).unwrap();
    write_orders(&broker.handle(), TOPIC, PARTITIONS, 0..ORDERS).unwrap();
    broker
}

/// The sum of these orders, cents.
pub(crate) fn cents_of(orders: std::ops::Range<u64>) -> u64 {
    orders.map(|number| order(number).1).sum()
}

/// The sum over partitions of what a group has committed: so many orders, because offsets begin at 0.
pub(crate) fn committed(broker: &TestBroker, group: &str) -> i64 {
    let of = |partition| committed_of(broker, group, partition).unwrap_or(0);
    (0..PARTITIONS).map(of).sum()
}

/// What a group has committed of a partition.
pub(crate) fn committed_of(broker: &TestBroker, group: &str, partition: i32) -> Option<i64> {
    broker.handle().with(|cluster, _| Some(cluster.committed_offset(group, TOPIC, partition)?.offset))
}

/// An example that runs; it is killed when this is dropped.
pub(crate) struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    /// Starts the program with these arguments against a broker.
    pub(crate) fn start(path: &str, broker: &TestBroker, arguments: &[&str]) -> Self {
        let mut child = Command::new(path)
            .args(["--bootstrap", &broker.bootstrap(), "--topic", TOPIC])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line of its standard output, without the line's end; empty at the end of it.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Everything that it still says, and how it ended.
    pub(crate) fn finish(mut self) -> (String, ExitStatus) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        (rest, self.child.wait().unwrap())
    }

    /// Asks it to stop, as an orchestrator does.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of a GET; `address` is `host:port`.
pub(crate) fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

/// Asks again until the answer is as wanted.
pub(crate) fn wait_for<T: std::fmt::Debug>(mut ask: impl FnMut() -> T, is_wanted: impl Fn(&T) -> bool) -> T {
    let started = Instant::now();
    loop {
        let answer = ask();
        if is_wanted(&answer) {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "still {answer:?}");
        std::thread::yield_now();
    }
}
