//! Reading responses and asking for more allocates nothing once buffers have grown: counted by the allocator itself.
//!
//! The contexts of zstd and gzip live on C's heap and are not counted here; they are created once and their one-call
//! decompression allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::BytesMut;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchResponse as Owned, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use millstream_protocol::fetch::request::{FetchOptions, FetchPartition, IsolationLevel};
use millstream_protocol::fetch::response::FetchResponse;
use millstream_protocol::fetch::session::FetchSession;
use millstream_protocol::record::{
    AbortedFilter, Codec, ControlType, Decompressor, Delivery, NewRecord, RecordBatchBuilder, RecordBatches,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator, which upholds the contract; counting touches a
// thread-local integer without destructor, so it neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const VERSION: i16 = 12;
const RECORDS_PER_BATCH: usize = 50;

/// Data of a committed and an aborted transaction in every codec, with headers, and the markers.
fn batches() -> (Vec<u8>, AbortedTransaction) {
    let value: Vec<u8> = (0..1_000).map(|index| (index % 61) as u8).collect();
    let headers: [(&[u8], Option<&[u8]>); 3] = [(b"a", Some(b"1")), (b"a", None), (b"\xff", Some(b"3"))];
    let record = NewRecord { timestamp: 1_000, key: Some(b"key"), value: Some(&value), headers: &headers };
    let mut bytes = Vec::new();
    let mut offset = 0;
    for producer_id in [7, 8] {
        for codec in Codec::ALL {
            let mut builder =
                RecordBatchBuilder::new(offset).codec(codec).producer(producer_id, 0, 0).transactional();
            for _ in 0..RECORDS_PER_BATCH {
                builder.append(&record);
            }
            bytes.extend(builder.finish().unwrap());
            offset += RECORDS_PER_BATCH as i64;
        }
        let outcome = if producer_id == 7 { ControlType::Commit } else { ControlType::Abort };
        let marker = RecordBatchBuilder::end_transaction(offset, producer_id, 0, outcome, 1_000);
        bytes.extend(marker.finish().unwrap());
        offset += 1;
    }
    let first_aborted = (RECORDS_PER_BATCH * Codec::ALL.len() + 1) as i64;
    (bytes, AbortedTransaction::default().with_producer_id(8.into()).with_first_offset(first_aborted))
}

fn response() -> Vec<u8> {
    let (records, aborted) = batches();
    let partition = |index| {
        PartitionData::default()
            .with_partition_index(index)
            .with_records(Some(records.clone().into()))
            .with_aborted_transactions(Some(vec![aborted.clone()]))
    };
    let topic = FetchableTopicResponse::default()
        .with_topic(TopicName(StrBytes::from_static_str("topic")))
        .with_partitions((0..3).map(partition).collect());
    let mut body = BytesMut::new();
    Owned::default().with_responses(vec![topic]).encode(&mut body, VERSION).unwrap();
    body.to_vec()
}

/// Reads all there is; answers how many records, headers and aborted batches it saw.
fn read(
    body: &[u8],
    filter: &mut AbortedFilter,
    decompressor: &mut Decompressor,
    output: &mut [u8],
) -> [usize; 3] {
    let [mut records, mut headers, mut aborted] = [0; 3];
    let response = FetchResponse::parse(VERSION, body).unwrap();
    for partition in response.partitions() {
        filter.load(partition.aborted_transactions);
        for batch in RecordBatches::new(partition.records) {
            let batch = batch.unwrap();
            batch.verify_crc().unwrap();
            match filter.delivery(&batch, decompressor).unwrap() {
                Delivery::Control => continue,
                Delivery::Aborted => {
                    aborted += 1;
                    continue;
                }
                Delivery::Deliver => {}
            }
            let written = decompressor.decompress(batch.codec(), batch.payload(), output).unwrap();
            for record in &batch.records_in(&output[..written]) {
                records += 1;
                headers += record.unwrap().headers.count();
            }
        }
    }
    [records, headers, aborted]
}

#[test]
fn reading_allocates_nothing_once_warm() {
    let body = response();
    let (mut filter, mut decompressor) = (AbortedFilter::new(), Decompressor::new());
    let mut output = vec![0; 1 << 20];
    let first = read(&body, &mut filter, &mut decompressor, &mut output);
    let records = 3 * Codec::ALL.len() * RECORDS_PER_BATCH;
    assert_eq!(first, [records, 3 * records, 3 * Codec::ALL.len()]);

    let before = ALLOCATIONS.get();
    for _ in 0..20 {
        assert_eq!(read(&body, &mut filter, &mut decompressor, &mut output), first);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);

    drop(vec![0u8; 10]);
    assert!(ALLOCATIONS.get() > before, "the allocator counts");
}

/// One round trip of a session of `partitions`: half of them had data, one is paused and one comes back.
fn ask(session: &mut FetchSession, partitions: &[FetchPartition], round: usize, id: i32, out: &mut Vec<u8>) {
    let options = FetchOptions {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: IsolationLevel::ReadCommitted,
        client_id: "client",
        rack: "rack",
    };
    out.clear();
    session.build(13, &options, round as i32, out).unwrap();
    let topic = session.topic_by_id(&[1; 16]).unwrap();
    assert!(session.topic_by_name("topic").is_some());
    for index in (round % 2..partitions.len()).step_by(2) {
        let Some(slot) = session.slot(topic, index as i32) else { continue };
        session.served(slot);
        session.advance(slot, round as i64, 0);
    }
    session.on_response(0, id);
    let paused = round % partitions.len();
    session.forget(paused as u32);
    let resumed = (round + partitions.len() - 1) % partitions.len();
    session.set(resumed as u32, partitions[resumed].clone());
}

#[test]
fn asking_allocates_nothing_once_warm() {
    let partition = |partition| FetchPartition {
        topic: "topic".into(),
        topic_id: [1; 16],
        partition,
        current_leader_epoch: 1,
        fetch_offset: 0,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        max_bytes: 1 << 20,
    };
    let partitions: Vec<_> = (0..100).map(partition).collect();
    // A broker that keeps the session, and one that refuses it.
    for id in [77, 0] {
        let (mut session, mut out) = (FetchSession::new(), Vec::new());
        for (slot, partition) in partitions.iter().enumerate() {
            session.set(slot as u32, partition.clone());
        }
        (0..300).for_each(|round| ask(&mut session, &partitions, round, id, &mut out));
        let before = ALLOCATIONS.get();
        (300..1300).for_each(|round| ask(&mut session, &partitions, round, id, &mut out));
        assert_eq!(ALLOCATIONS.get() - before, 0, "session {id}");
    }
}
