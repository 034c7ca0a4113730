//! What a batch costs beside its bytes, each beside its own limit: a latency recorded, a mark passed to the control
//! thread, a Fetch written, a response and its batches' headers walked.
//!
//! What is wrong with it: both ends of the ring are on one thread, so no cache line travels between cores; and all of
//! it stays in the core's first cache, as it does not beside a megabyte of records.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream::pieces::{Latencies, Marks};
use millstream_bench::material::{
    FETCH_VERSION, Frame, SESSION_ID, Shape, ask, fetch_response, frame, session,
};
use millstream_protocol::fetch::response::FetchResponse;
use millstream_protocol::record::{Codec, RecordBatches};

/// Buckets of the plain histogram that is the limit.
const BUCKETS: usize = 1 << 12;

fn shard_to_control(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("per batch");
    let mut marks = Marks::new(64);
    group.bench_function("mark pushed and popped", |bencher| {
        bencher.iter(|| {
            marks.push(black_box(7));
            marks.pop()
        });
    });
    let mut latencies = Latencies::default();
    let mut number = 0u64;
    group.bench_function("latency recorded", |bencher| {
        bencher.iter(|| {
            number = number.wrapping_add(977) & 0xf_ffff;
            latencies.record(number, 1);
        });
    });
    let mut buckets = [0u32; BUCKETS];
    group.bench_function("limit: a count in an array raised", |bencher| {
        bencher.iter(|| {
            number = number.wrapping_add(977) & 0xf_ffff;
            buckets[black_box(number) as usize % BUCKETS] += 1;
        });
    });
    group.bench_function("beside it: the clock read", |bencher| bencher.iter(Instant::now));
    let Frame { bytes, batches, .. } = frame(Shape::Values(100), Codec::None, 1 << 20);
    group.throughput(Throughput::Elements(batches));
    group.bench_function("header read and checked", |bencher| {
        bencher
            .iter(|| RecordBatches::new(black_box(&bytes)).flatten().map(|batch| batch.next_offset()).max());
    });
    group.finish();
}

fn fetches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("per fetch");
    for partitions in [4, 64] {
        let body = fetch_response(partitions);
        group.bench_function(format!("response of {partitions} partitions walked"), |bencher| {
            bencher.iter(|| {
                let response =
                    FetchResponse::parse(FETCH_VERSION, black_box(&body)).expect("it was built whole");
                response.partitions().map(|partition| partition.records.len()).sum::<usize>()
            });
        });
    }
    for (changed, name) in [(0, "nothing new"), (4, "4 of 64 moved on")] {
        let (mut session, mut out, mut offset) = (session(64), Vec::new(), 0);
        ask(&mut session, &mut out);
        group.bench_function(format!("request written, {name}"), |bencher| {
            bencher.iter(|| {
                session.on_response(0, SESSION_ID);
                offset += 1;
                for slot in 0..changed {
                    session.served(slot);
                    session.advance(slot, offset, 1);
                }
                ask(&mut session, &mut out);
            });
        });
    }
    group.finish();
}

criterion_group!(bookkeeping, shard_to_control, fetches);
criterion_main!(bookkeeping);
