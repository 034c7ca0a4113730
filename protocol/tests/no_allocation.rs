//! The read path allocates nothing once its buffers have grown: counted by the allocator itself.
//!
//! zstd's context lives on C's heap and is not counted here; it is created once and its one-call decompression allocates
//! nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::BytesMut;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchResponse as Owned, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use millstream_protocol::fetch::response::FetchResponse;
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
