//! Every codec, keys, headers and tombstones; a current Kafka and one without topic ids; many partitions.

use millstream::{Partitions, StartPosition};
use millstream_tests::engine::Contents;
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce};
use millstream_tests::require_kafka;

use super::{FIRST_TIMESTAMP_MS, contents, engine, java, kafka, read_assigned_to_end, read_to_end, spec};

#[test]
fn a_million_records_of_each_codec_are_handed_out_once_and_in_order() {
    let Some((kafka, java)) = kafka() else { return };
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        consume_all(kafka, java, &written(codec, &format!("million-{codec}"), 1_000_000));
    }
}

#[test]
fn keys_headers_and_tombstones_come_as_they_were_written() {
    let Some((kafka, java)) = kafka() else { return };
    for codec in ["none", "zstd"] {
        let plain = written(codec, &format!("full-records-{codec}"), 5_000);
        let full = Produce { value_size: (0, 3000), keys: 7, headers: 4, tombstone_every: 10, ..plain };
        consume_all(kafka, java, &full);
    }
}

#[test]
fn a_broker_without_topic_ids_is_consumed_in_every_codec() {
    let Some(java) = java() else { return };
    let kafka = require_kafka!(spec().version("2.8.2"));
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let written = written(codec, &format!("old-{codec}"), 20_000);
        consume_all(&kafka, java, &Produce { keys: 5, headers: 3, tombstone_every: 7, ..written });
    }
}

#[test]
fn two_shards_share_200_partitions_and_hand_out_each_of_them() {
    let Some((kafka, java)) = kafka() else { return };
    let written = Produce { partitions: 200, ..written("lz4", "wide", 100_000) };
    kafka.create_topic("wide", 200, &[]).unwrap();
    java.produce(&kafka.bootstrap(), &written).unwrap();
    let engine = engine(kafka).property("cores", "0,1");
    let (seen, _) =
        read_assigned_to_end(engine.assign("wide", Partitions::All, StartPosition::Earliest), "wide");
    assert_eq!(contents(&seen), Contents::of(&written));
    for shard in 0..2 {
        assert_eq!(seen.iter().filter(|partition| partition.shard == shard).count(), 100);
    }
}

fn written(codec: &str, topic: &str, records: u64) -> Produce {
    Produce {
        codec: codec.to_owned(),
        timestamp_ms: Some(FIRST_TIMESTAMP_MS),
        ..Produce::new(topic, 4, records)
    }
}

fn consume_all(kafka: &KafkaCluster, java: &JavaTools, written: &Produce) {
    kafka.create_topic(&written.topic, written.partitions as i32, &[]).unwrap();
    let produced = java.produce(&kafka.bootstrap(), written).unwrap();
    let (seen, _) = read_to_end(engine(kafka), &written.topic);
    let values: Vec<_> = seen.iter().map(|partition| partition.contents.values).collect();
    assert_eq!(values, produced.committed.partitions, "{}", written.topic);
    assert_eq!(contents(&seen), Contents::of(written), "{}", written.topic);
}
