//! A Kafka cluster inside the process, with the faults that a test asks for.

mod fault;

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millstream_testbroker as testbroker;
use millstream_tuning::Host;

pub use fault::{Fault, Request};

use super::record::TestBatch;
use crate::engine::{Engine, EngineBuilder};
use fault::api_key;

/// A Kafka cluster of its own on loopback ports of this process: real long polling, fetch sessions, consumer groups and
/// transactions, in memory; gone when it is dropped. Any Kafka client can use it.
///
/// It is behind the feature `test-broker`: `cargo add --dev millstream --features test-broker`.
///
/// ```
/// use millstream::testing::{Deliveries, Expected, TestBroker, record};
/// use std::time::Duration;
///
/// const PATIENCE: Duration = Duration::from_secs(30);
///
/// let broker = TestBroker::start()?;
/// broker.create_topic("orders", 2)?;
/// broker.append("orders", 0, [record("a").key("1"), record("b").key("2")])?;
///
/// let deliveries = Deliveries::new();
/// let engine = broker.engine().group("checks").topics(["orders"]).build()?.start(deliveries.factory())?;
/// broker.append("orders", 1, [record("c")])?;
///
/// let expected = Expected::new()
///     .batch("orders", 0, [record("a").key("1"), record("b").key("2")])
///     .batch("orders", 1, [record("c")]);
/// deliveries.wait_for(expected.total(), PATIENCE).assert_each_once_in_order(&expected);
/// engine.handle().shutdown(PATIENCE)?;
/// assert_eq!(broker.committed("checks", "orders", 0), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TestBroker {
    ids: Range<i32>,
    broker: testbroker::TestBroker,
    handle: testbroker::Handle,
}

/// Why the test broker could not do what was asked: it says what, and what to do.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct TestBrokerError(testbroker::Error);

impl TestBroker {
    /// Starts a cluster of one broker, with the id 1. Topics are created with one partition when they are first named.
    ///
    /// # Errors
    /// When it cannot listen or start a thread.
    pub fn start() -> Result<Self, TestBrokerError> {
        Self::start_cluster(1)
    }

    /// Starts a cluster of so many brokers, with the ids from 1 on. Each partition is on all of them.
    ///
    /// # Errors
    /// When there is to be none, or it cannot listen or start a thread.
    pub fn start_cluster(brokers: u8) -> Result<Self, TestBrokerError> {
        let ids = 1..i32::from(brokers) + 1;
        let config = testbroker::Config {
            brokers: ids.clone().collect(),
            replication_factor: brokers.into(),
            ..testbroker::Config::default()
        };
        let broker = testbroker::TestBroker::start(config).map_err(TestBrokerError)?;
        let handle = broker.handle();
        Ok(Self { ids, broker, handle })
    }

    /// `host:port` of every broker, as `bootstrap.servers` wants it.
    pub fn bootstrap(&self) -> String {
        let addresses = self.ids.clone().filter_map(|id| self.broker.address(id).ok());
        addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// An engine that consumes from here: one shard, from the beginning of the log where nothing is committed, and with
    /// short times between tries, commits and heartbeats. What is set behind this wins.
    pub fn engine(&self) -> EngineBuilder {
        let core = Host::probe().allowed_cores().and_then(|cores| cores.first().copied());
        Engine::builder()
            .property("bootstrap.servers", self.bootstrap())
            .property("cores", core.map_or_else(|| "auto".to_owned(), |core| core.to_string()))
            .property("auto.offset.reset", "earliest")
            .property("auto.commit.interval.ms", "20")
            .property("fetch.max.wait.ms", "100")
            .property("heartbeat.interval.ms", "50")
            .property("retry.backoff.ms", "10")
            .property("retry.backoff.max.ms", "50")
            .property("reconnect.backoff.ms", "10")
            .property("reconnect.backoff.max.ms", "50")
    }

    /// Creates a topic. Its partitions are led by the brokers in turn.
    ///
    /// # Errors
    /// When there is one of this name, or name or number are not valid.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), TestBrokerError> {
        self.handle.create_topic(topic, partitions).map(drop).map_err(TestBrokerError)
    }

    /// Raises the number of a topic's partitions.
    ///
    /// # Errors
    /// When there is no such topic, or it has as many already.
    pub fn add_partitions(&self, topic: &str, partitions: i32) -> Result<(), TestBrokerError> {
        self.handle.with(|cluster, _| cluster.add_partitions(topic, partitions)).map_err(TestBrokerError)
    }

    /// Deletes a topic with its records.
    ///
    /// # Errors
    /// When there is no such topic.
    pub fn delete_topic(&self, topic: &str) -> Result<(), TestBrokerError> {
        self.handle.with(|cluster, now| cluster.delete_topic(topic, now)).map_err(TestBrokerError)
    }

    /// Appends a record batch, as a producer does, and tells the offsets that the broker gave its records; what the
    /// batch says of its own base offset does not count.
    ///
    /// # Errors
    /// When there is no such topic or partition.
    ///
    /// # Panics
    /// When the batch's offsets do not grow, or it is too large for one batch.
    pub fn append(
        &self,
        topic: &str,
        partition: i32,
        batch: impl Into<TestBatch>,
    ) -> Result<Range<i64>, TestBrokerError> {
        let (bytes, offsets) = batch.into().encode(0, wall_ms());
        let base_offset = self.handle.append(topic, partition, bytes.into()).map_err(TestBrokerError)?;
        Ok(base_offset..base_offset + (offsets.end - offsets.start))
    }

    /// Removes the records of a partition below this offset, as retention does.
    ///
    /// # Errors
    /// When there is no such topic or partition.
    pub fn delete_records(&self, topic: &str, partition: i32, below: i64) -> Result<(), TestBrokerError> {
        self.handle
            .with(|cluster, now| cluster.delete_records(topic, partition, below, now))
            .map_err(TestBrokerError)
    }

    /// The offset after the last record of a partition.
    ///
    /// # Errors
    /// When there is no such topic or partition.
    pub fn end_offset(&self, topic: &str, partition: i32) -> Result<i64, TestBrokerError> {
        Ok(self.offsets(topic, partition)?.high_watermark)
    }

    /// What a group has committed of a partition: the offset of the next record to handle.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.handle.with(|cluster, _| committed(cluster, group, topic, partition))
    }

    /// Waits until a group has committed this offset of a partition, or a higher one. False when `patience` is over
    /// first.
    #[must_use]
    pub fn wait_for_commit(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        offset: i64,
        patience: Duration,
    ) -> bool {
        self.handle.wait_until(patience, |cluster| {
            committed(cluster, group, topic, partition).is_some_and(|at| at >= offset)
        })
    }

    /// Waits until a group has so many members, all with their assignments. False when `patience` is over first.
    #[must_use]
    pub fn wait_for_members(&self, group: &str, members: usize, patience: Duration) -> bool {
        self.handle.wait_until(patience, |cluster| {
            let Some(group) = cluster.group(group) else { return members == 0 };
            let wanted =
                if members == 0 { testbroker::GroupState::Empty } else { testbroker::GroupState::Stable };
            group.members.len() == members && group.state == wanted
        })
    }

    /// The broker that leads a partition; -1 while none does.
    ///
    /// # Errors
    /// When there is no such topic or partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<i32, TestBrokerError> {
        Ok(self.offsets(topic, partition)?.leader)
    }

    /// Makes another broker the leader of a partition.
    ///
    /// # Errors
    /// When there is no such topic, partition or broker.
    pub fn move_leader(&self, topic: &str, partition: i32, broker: i32) -> Result<(), TestBrokerError> {
        self.handle.move_leader(topic, partition, broker).map_err(TestBrokerError)
    }

    /// Stops a broker: its connections are closed, others lead what it led.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn stop_broker(&self, broker: i32) -> Result<(), TestBrokerError> {
        self.handle.stop_broker(broker).map_err(TestBrokerError)
    }

    /// Starts a stopped broker.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn start_broker(&self, broker: i32) -> Result<(), TestBrokerError> {
        self.handle.start_broker(broker).map_err(TestBrokerError)
    }

    /// Closes all connections to a broker, which keeps running.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn disconnect_all(&self, broker: i32) -> Result<(), TestBrokerError> {
        self.handle.with(|cluster, _| cluster.disconnect_all(broker)).map_err(TestBrokerError)
    }

    /// Holds back every response of a broker this long from now on; zero ends that.
    ///
    /// # Errors
    /// When there is no such broker.
    pub fn delay_responses(&self, broker: i32, delay: Duration) -> Result<(), TestBrokerError> {
        self.handle.with(|cluster, _| cluster.set_delay(broker, delay)).map_err(TestBrokerError)
    }

    /// Lets a fault happen to the next requests that it is for.
    pub fn inject(&self, fault: Fault) {
        self.handle.inject(fault.into_inner());
    }

    /// Takes back the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.handle.with(|cluster, _| cluster.clear_faults());
    }

    /// How many requests of a kind have come so far.
    pub fn requests(&self, request: Request) -> u64 {
        self.handle.with(|cluster, _| cluster.counters().requests(api_key(request)))
    }

    /// Waits until so many requests of a kind have come. False when `patience` is over first.
    #[must_use]
    pub fn wait_for_requests(&self, request: Request, count: u64, patience: Duration) -> bool {
        let api = api_key(request);
        self.handle.wait_until(patience, |cluster| cluster.counters().requests(api) >= count)
    }

    fn offsets(&self, topic: &str, partition: i32) -> Result<testbroker::PartitionOffsets, TestBrokerError> {
        self.handle.offsets(topic, partition).map_err(TestBrokerError)
    }
}

impl fmt::Debug for TestBrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn committed(cluster: &testbroker::Cluster, group: &str, topic: &str, partition: i32) -> Option<i64> {
    cluster.committed_offset(group, topic, partition).map(|at| at.offset)
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
