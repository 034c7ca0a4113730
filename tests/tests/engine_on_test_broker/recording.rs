//! Runs that are recorded, and replayed without a broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use millstream::recording::{RecordingError, Replayed, replay};
use millstream::{EngineBuilder, Error, Outcome, Partitions, StartPosition};
use millstream_protocol::record::Codec;
use millstream_testbroker::{ApiKey, Config, Effect, Fault, TestBroker};
use millstream_tests::cores::two_cores;
use millstream_tests::cutter::Cutter;
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, batch, committed, end_of, engine};

use super::broker_with;

/// Bytes before the payload of a block: its length, the CRC of that, the CRC of the payload.
const BLOCK_HEADER_BYTES: usize = 12;
/// Bytes before the first block.
const PREAMBLE_BYTES: usize = 10;

/// A file that is removed when this is dropped.
struct Recording(PathBuf);

impl Recording {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("millstream-recording-{}-{number}", std::process::id())))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn replay(&self) -> Replayed {
        replay(&self.0).unwrap()
    }

    /// Plays it with other bytes in the file.
    fn replay_with(&self, bytes: &[u8]) -> Result<Replayed, RecordingError> {
        let changed = Self::new();
        fs::write(&changed.0, bytes).unwrap();
        replay(&changed.0)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.0).unwrap()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
}

/// Where the blocks of a recording begin, and the bytes of their payloads.
fn blocks(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut at = PREAMBLE_BYTES;
    while let Some(header) = bytes.get(at..at + BLOCK_HEADER_BYTES) {
        let length = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
        blocks.push((at, length));
        at += BLOCK_HEADER_BYTES + length;
    }
    blocks
}

/// Makes the CRCs of all blocks right again.
fn repair(bytes: &mut [u8]) {
    for (at, length) in blocks(bytes) {
        let payload = at + BLOCK_HEADER_BYTES..at + BLOCK_HEADER_BYTES + length;
        let crc = crc32c::crc32c(&bytes[payload]);
        bytes[at + 8..at + BLOCK_HEADER_BYTES].copy_from_slice(&crc.to_be_bytes());
    }
}

fn assigned(broker: &TestBroker, recording: &Recording) -> EngineBuilder {
    engine(broker).assign(TOPIC, Partitions::All, StartPosition::Earliest).record(recording.path())
}

#[track_caller]
fn assert_same(replayed: &Replayed, records: u64) {
    assert_eq!(replayed.divergence, None, "{replayed:?}");
    assert_eq!(replayed.cut_off_at, None, "{replayed:?}");
    assert!(replayed.shards.iter().all(|shard| shard.stopped.is_none()), "{replayed:?}");
    assert_eq!(replayed.shards.iter().map(|shard| shard.records).sum::<u64>(), records, "{replayed:?}");
}

#[test]
fn a_run_with_every_codec_is_replayed_to_the_same_outcome() {
    let broker = broker_with(Config::default(), 3, 200);
    let codecs = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for (from, codec) in (200..).step_by(50).zip(codecs) {
        let batch = batch(1, from..from + 50, codec);
        broker.handle().append(TOPIC, 1, Bytes::from(batch)).unwrap();
    }
    for transport in ["auto", "poll"] {
        let (recording, journal) = (Recording::new(), Journal::default());
        let running = assigned(&broker, &recording)
            .property("transport", transport)
            .property("max.poll.records", "7")
            .build()
            .unwrap()
            .start(journal.factory())
            .unwrap();
        journal.wait_until(|entries| entries.total() == 800);
        running.handle().shutdown(PATIENCE).unwrap();
        journal.entries().assert_exactly([(0, 0..200), (1, 0..400), (2, 0..200)]);
        let replayed = recording.replay();
        assert_same(&replayed, 800);
        let [shard] = &replayed.shards[..] else { panic!("{replayed:?}") };
        assert!(shard.batches >= 800 / 7 && shard.marks > 0 && shard.requests > 2, "{shard:?}");
        assert_eq!(recording.replay().shards[0].sum, shard.sum);
    }
}

#[test]
fn every_shard_of_a_run_is_replayed() {
    let Some(cores) = two_cores() else { return };
    let broker = broker_with(Config::default(), 4, 100);
    let (recording, journal) = (Recording::new(), Journal::default());
    let running = assigned(&broker, &recording)
        .property("cores", cores)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    end_of(running).unwrap();
    journal.entries().assert_exactly((0..4).map(|partition| (partition, 0..100)));
    let replayed = recording.replay();
    assert_same(&replayed, 400);
    assert_eq!(replayed.shards.iter().map(|shard| shard.records).collect::<Vec<_>>(), [200, 200]);
}

#[test]
fn connections_that_are_cut_anywhere_are_cut_again_in_the_replay() {
    let broker = broker_with(Config::default(), 1, 2_000);
    let limits: Vec<usize> = (0..4).chain((60..2_000).step_by(97)).chain([5_000, 20_000]).collect();
    let cutter = Cutter::start(broker.address(1).unwrap(), limits.clone()).unwrap();
    let address = cutter.address();
    broker
        .handle()
        .with(|cluster, _| cluster.set_address(1, &address.ip().to_string(), address.port()))
        .unwrap();
    let (recording, journal) = (Recording::new(), Journal::default());
    let running = assigned(&broker, &recording)
        .property("max.partition.fetch.bytes", "8192")
        .property("reconnect.backoff.ms", "1")
        .property("reconnect.backoff.max.ms", "2")
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    journal.wait_until(|entries| entries.total() >= 2_000);
    running.handle().shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly([(0, 0..2_000)]);
    assert!(cutter.cuts() >= limits.len() / 2, "{} cuts", cutter.cuts());
    assert_same(&recording.replay(), 2_000);
}

#[test]
fn leaders_that_move_seeks_and_pauses_are_replayed() {
    let broker = broker_with(Config { brokers: vec![1, 2, 3], ..Config::default() }, 2, 50);
    broker.handle().inject(Fault::new(ApiKey::Fetch, Effect::DisconnectBefore).times(2));
    let (recording, journal) = (Recording::new(), Journal::default());
    let running = assigned(&broker, &recording).build().unwrap().start(journal.factory()).unwrap();
    let handle = running.handle();
    for round in 1..=3 {
        journal.wait_until(|entries| entries.total() == 100 * round);
        handle.pause(&[(TOPIC, 1)]).unwrap();
        let leader = broker.handle().offsets(TOPIC, 0).unwrap().leader;
        broker.handle().move_leader(TOPIC, 0, leader % 3 + 1).unwrap();
        (0..2).for_each(|partition| append(&broker.handle(), partition, 50));
        handle.resume(&[(TOPIC, 1)]).unwrap();
    }
    journal.wait_until(|entries| entries.total() == 400);
    handle.seek(TOPIC, 1, StartPosition::Offset(150)).unwrap();
    journal.wait_until(|entries| entries.total() == 450);
    handle.shutdown(PATIENCE).unwrap();
    assert_same(&recording.replay(), 450);
}

#[test]
fn members_of_a_group_are_replayed_each_from_a_recording_of_its_own() {
    let broker = broker_with(Config::default(), 4, 100);
    let (journal, recordings) = (Journal::default(), [Recording::new(), Recording::new()]);
    let members = recordings.each_ref().map(|recording| {
        engine(&broker)
            .property("heartbeat.interval.ms", "20")
            .group(GROUP)
            .topics([TOPIC])
            .record(recording.path())
            .build()
            .unwrap()
            .start(journal.factory())
            .unwrap()
    });
    journal.wait_until(|entries| (0..4).all(|partition| entries.count(partition) >= 100));
    for member in &members {
        member.handle().shutdown(PATIENCE).unwrap();
    }
    (0..4).for_each(|partition| assert_eq!(committed(&broker.handle(), partition), Some(100)));
    let total: usize = journal.entries().total();
    let replayed = recordings.each_ref().map(Recording::replay);
    let records: u64 = replayed.iter().flat_map(|one| &one.shards).map(|shard| shard.records).sum();
    assert_eq!(records, total as u64);
    replayed.iter().for_each(|one| assert_same(one, one.shards.iter().map(|shard| shard.records).sum()));
}

#[test]
fn a_handler_that_fails_fails_again_and_one_that_stops_stops() {
    let broker = broker_with(Config::default(), 1, 100);
    for fails in [true, false] {
        let (recording, journal) = (Recording::new(), Journal::default());
        let factory = journal.scripted(move |record| match (record.offset(), fails) {
            (70, true) => Err("seventy".into()),
            (70, false) => Ok(Outcome::Stop),
            _ => Ok(Outcome::Done),
        });
        let running = assigned(&broker, &recording).build().unwrap().start(factory).unwrap();
        let ended = end_of(running);
        assert_eq!(matches!(ended, Err(Error::Lane(_))), fails, "{ended:?}");
        assert!(journal.entries().count(0) >= 70);
        let replayed = recording.replay();
        assert_eq!((&replayed.divergence, replayed.cut_off_at), (&None, None), "{replayed:?}");
    }
}

/// A recording of 300 records in one partition.
fn recorded(check_crcs: &str) -> Recording {
    let broker = broker_with(Config::default(), 1, 300);
    let (recording, journal) = (Recording::new(), Journal::default());
    let running = assigned(&broker, &recording)
        .property("check.crcs", check_crcs)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start(journal.factory())
        .unwrap();
    end_of(running).unwrap();
    journal.entries().assert_exactly([(0, 0..300)]);
    recording
}

#[test]
fn a_byte_that_is_flipped_is_an_error_that_says_where() {
    let recording = recorded("true");
    let bytes = recording.bytes();
    for (at, length) in blocks(&bytes) {
        for flipped in [at, at + 5, at + 9, at + BLOCK_HEADER_BYTES + length / 2] {
            let mut bytes = bytes.clone();
            bytes[flipped] ^= 0x40;
            match recording.replay_with(&bytes) {
                Err(RecordingError::Malformed { offset, .. }) => assert_eq!(offset, at as u64),
                other => panic!("byte {flipped}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_record_that_is_changed_under_a_right_crc_is_the_first_difference() {
    // With its own CRC checked the batch is fetched again; without that a handler is given something else.
    for (check_crcs, is_given) in [("true", false), ("false", true)] {
        let recording = recorded(check_crcs);
        let mut bytes = recording.bytes();
        let value = b"numbers/0@123";
        let at = bytes.windows(value.len()).position(|window| window == value).expect("it was recorded");
        bytes[at + value.len() - 1] = b'4';
        repair(&mut bytes);
        let divergence = recording.replay_with(&bytes).unwrap().divergence.expect("a difference");
        assert!(divergence.shard == 0 && divergence.offset > at as u64, "{divergence}");
        let batches = [&divergence.recorded, &divergence.replayed];
        let are_batches = batches.iter().all(|text| text.starts_with("a handler is given 300 records"));
        assert_eq!(are_batches, is_given, "{divergence}");
        assert_ne!(divergence.recorded, divergence.replayed);
    }
}

#[test]
fn whatever_is_changed_under_right_crcs_the_replay_comes_to_an_end() {
    let recording = recorded("true");
    let whole = recording.bytes();
    let payloads: Vec<usize> = blocks(&whole)
        .into_iter()
        .flat_map(|(at, length)| at + BLOCK_HEADER_BYTES..at + BLOCK_HEADER_BYTES + length)
        .collect();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut ends = [0; 3];
    for _ in 0..200 {
        let mut bytes = whole.clone();
        for _ in 0..rng.u32(1..4) {
            let at = payloads[rng.usize(..payloads.len())];
            bytes[at] = rng.u8(..);
        }
        repair(&mut bytes);
        let end = match recording.replay_with(&bytes) {
            Ok(Replayed { divergence: None, .. }) => 0,
            Ok(_) => 1,
            Err(_) => 2,
        };
        ends[end] += 1;
    }
    assert!(ends[1] > 0 && ends[2] > 0, "the same, something else, unreadable: {ends:?}");
}

#[test]
fn a_file_that_is_cut_off_is_replayed_up_to_its_last_whole_block() {
    let recording = recorded("true");
    let bytes = recording.bytes();
    let blocks = blocks(&bytes);
    for &(at, length) in &blocks[1..] {
        for cut in [at, at + 1, at + BLOCK_HEADER_BYTES, at + BLOCK_HEADER_BYTES + length - 1] {
            let replayed = recording.replay_with(&bytes[..cut]).unwrap();
            assert_eq!((replayed.divergence, replayed.cut_off_at), (None, Some(at as u64)));
        }
    }
    let begun = recording.replay_with(&bytes[..blocks[0].0 + 3]);
    assert!(matches!(begun, Err(RecordingError::Malformed { .. })), "{begun:?}");
}

#[test]
fn what_cannot_be_replayed_ends_the_recording_and_not_the_run() {
    let broker = broker_with(Config::default(), 1, 100);
    let (recording, journal) = (Recording::new(), Journal::default());
    let kept = journal.clone();
    let running = assigned(&broker, &recording)
        .stop_at_end(true)
        .build()
        .unwrap()
        .start_async(move |mut lane| {
            let kept = kept.clone();
            async move {
                while let Some(batch) = lane.next_batch().await {
                    for record in &batch {
                        kept.record(&record);
                    }
                }
                Ok::<_, std::convert::Infallible>(())
            }
        })
        .unwrap();
    end_of(running).unwrap();
    journal.entries().assert_exactly([(0, 0..100)]);
    let replayed = recording.replay();
    assert_eq!((replayed.divergence.as_ref(), replayed.cut_off_at), (None, None), "{replayed:?}");
    let stopped = replayed.shards[0].stopped.as_deref().unwrap_or_default();
    assert!(stopped.contains("tasks"), "{replayed:?}");
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let broker = broker_with(Config::default(), 1, 1);
    let recording = Recording::new();
    fs::write(recording.path(), "mine").unwrap();
    let refused = assigned(&broker, &recording).build().unwrap().start(Journal::default().factory());
    assert!(
        matches!(&refused, Err(Error::Io { what, .. }) if what.contains("cannot be made")),
        "{refused:?}"
    );
    assert_eq!(recording.bytes(), b"mine");
    assert!(matches!(replay(recording.path()), Err(RecordingError::NotARecording)));
}
