//! How fast records of 100 B are read out of received batches: the walk, the CRC, and both.
//!
//! What is wrong with it: one thread reads the same bytes again and again, so a frame of 1 MiB comes out of the core's
//! own cache and even one of 16 MiB may come out of a shared one, while a frame fresh from the kernel does not. Each
//! record's offset, timestamp, key length and first byte of the value are touched, as a light handler would; nothing
//! else is. The branches of one record size are all predicted; mixed sizes cost more, as `walk_mixed` shows.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream_protocol::record::{NewRecord, RecordBatchBuilder, RecordBatches};

const VALUE_BYTES: usize = 100;
/// The default `batch.size` of Kafka's Java producer.
const BATCH_BYTES: usize = 16 * 1024;
const FRAME_BYTES: [usize; 2] = [1 << 20, 16 << 20];

struct Frame {
    bytes: Vec<u8>,
    records: u64,
}

/// Batches of about 16 KiB until the frame is full. `value_bytes` gives each record's size by its number.
fn frame(frame_bytes: usize, value_bytes: impl Fn(u64) -> usize) -> Frame {
    let value = vec![b'v'; 4 * VALUE_BYTES];
    let mut frame = Frame { bytes: Vec::with_capacity(frame_bytes + BATCH_BYTES), records: 0 };
    while frame.bytes.len() < frame_bytes {
        let mut builder = RecordBatchBuilder::new(frame.records as i64);
        while builder.uncompressed_bytes() < BATCH_BYTES {
            let value = Some(&value[..value_bytes(frame.records)]);
            let timestamp = 1_700_000_000_000 + frame.records as i64 / 300;
            builder.append(&NewRecord { timestamp, value, ..NewRecord::default() });
            frame.records += 1;
        }
        frame.bytes.extend(builder.finish().expect("a batch of 16 KiB is within all limits"));
    }
    frame
}

fn walk(frame: &Frame) -> u64 {
    let mut sum = 0u64;
    for batch in RecordBatches::new(&frame.bytes) {
        let records = batch.ok().and_then(|batch| batch.records()).expect("the frame was built whole");
        for record in &records {
            let record = record.expect("the frame was built whole");
            let first = record.value.and_then(|value| value.first()).copied().unwrap_or(0);
            sum = sum.wrapping_add(record.offset as u64 ^ record.timestamp as u64);
            sum = sum.wrapping_add(u64::from(first) + record.key.map_or(0, <[u8]>::len) as u64);
        }
    }
    sum
}

fn check(frame: &Frame) -> usize {
    RecordBatches::new(&frame.bytes).flatten().filter(|batch| batch.verify_crc().is_ok()).count()
}

fn benches(criterion: &mut Criterion) {
    for frame_bytes in FRAME_BYTES {
        let same = frame(frame_bytes, |_| VALUE_BYTES);
        let mixed =
            frame(frame_bytes, |number| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57) as usize * 3);
        let mut group = criterion.benchmark_group("records");
        let name = |name| BenchmarkId::new(name, format!("{}MiB", frame_bytes >> 20));
        group.throughput(Throughput::Elements(same.records));
        group.bench_function(name("walk"), |bencher| bencher.iter(|| walk(black_box(&same))));
        group.bench_function(name("crc"), |bencher| bencher.iter(|| check(black_box(&same))));
        group.bench_function(name("walk_and_crc"), |bencher| {
            bencher.iter(|| (check(black_box(&same)), walk(black_box(&same))));
        });
        group.throughput(Throughput::Elements(mixed.records));
        group.bench_function(name("walk_mixed"), |bencher| bencher.iter(|| walk(black_box(&mixed))));
        group.finish();
    }
}

criterion_group!(walking, benches);
criterion_main!(walking);
