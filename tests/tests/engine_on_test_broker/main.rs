//! The engine against the test broker, over TCP: every record is counted and compared.

mod brokers;
mod caller_driven;
mod consumer_protocol;
mod corruption;
mod deferring;
mod events;
mod failures;
mod group;
mod handle;
mod health;
mod hostile;
mod matching;
mod memory;
mod moving;
mod offload;
mod offsets;
mod recording;
mod replicas;
mod sessions;
mod starting;
mod steering;
mod stopping;
mod tasks;
mod transports;

use millstream_testbroker::{Config, TestBroker};
use millstream_tests::numbers::{TOPIC, append};

/// A broker with the topic, so many partitions with so many records each.
fn broker_with(config: Config, partitions: i32, records: i64) -> TestBroker {
    let broker = TestBroker::start(config).unwrap();
    broker.handle().create_topic(TOPIC, partitions).unwrap();
    for partition in 0..partitions {
        append(&broker.handle(), partition, records);
    }
    broker
}
