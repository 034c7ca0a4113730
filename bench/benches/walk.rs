//! How fast records are read out of received batches, each beside its own limit: the walk beside a plain scan of the
//! same varints, the CRC beside reading and copying the same bytes.
//!
//! What is wrong with it: one thread reads the same bytes again and again, so a frame of 1 MiB comes out of the core's
//! own cache and even one of 16 MiB may come out of a shared one, while a frame fresh from the kernel does not. Each
//! record's offset, timestamp, key length and first byte of the value are touched, as a light handler would; nothing
//! else is. The branches of one record size are all predicted; mixed sizes cost more, as `mixed` shows.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream_bench::material::{Frame, Shape, frame, walk, walk_headers};
use millstream_protocol::record::{Codec, RecordBatches};

const MIB: usize = 1 << 20;
const SHAPES: [Shape; 5] =
    [Shape::Values(16), Shape::Values(100), Shape::Values(1000), Shape::Mixed, Shape::KeyAndHeaders(100)];

fn walks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("walk, per record");
    for shape in SHAPES {
        let Frame { bytes, records, .. } = frame(shape, Codec::None, MIB);
        let name = |what| BenchmarkId::new(what, shape.name());
        group.throughput(Throughput::Elements(records));
        group.bench_function(name("walk"), |bencher| bencher.iter(|| walk(black_box(&bytes))));
        group.bench_function(name("limit: varints only"), |bencher| {
            bencher.iter(|| scan(black_box(&bytes)));
        });
    }
    let Frame { bytes, records, .. } = frame(Shape::KeyAndHeaders(100), Codec::None, MIB);
    group.throughput(Throughput::Elements(records));
    group.bench_function("walk and headers/100_b_key_headers", |bencher| {
        bencher.iter(|| walk_headers(black_box(&bytes)));
    });
    group.finish();
}

fn checks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("CRC-32C, per byte");
    for mib in [1, 16] {
        let Frame { bytes, .. } = frame(Shape::Values(100), Codec::None, mib * MIB);
        let mut copy = vec![0; bytes.len()];
        let name = |what| BenchmarkId::new(what, format!("{mib} MiB in batches of 16 KiB"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name("crc"), |bencher| bencher.iter(|| check(black_box(&bytes))));
        group.bench_function(name("crc and walk"), |bencher| {
            bencher.iter(|| check_and_walk(black_box(&bytes)));
        });
        group.bench_function(name("limit: read"), |bencher| bencher.iter(|| read(black_box(&bytes))));
        group.bench_function(name("limit: copy"), |bencher| {
            bencher.iter(|| copy.copy_from_slice(black_box(&bytes)));
        });
    }
    group.finish();
}

/// The lengths and deltas of each record, up to its value's length, without a look at what they mean.
fn scan(frame: &[u8]) -> u64 {
    let mut sum = 0u64;
    for batch in RecordBatches::new(frame).flatten() {
        let records = batch.payload();
        let mut at = 0;
        for _ in 0..batch.record_count() {
            let length = varint(records, &mut at);
            let end = at + length as usize / 2;
            at += 1;
            sum = sum.wrapping_add(varint(records, &mut at)).wrapping_add(varint(records, &mut at));
            let key = varint(records, &mut at);
            at += if key & 1 == 0 { key as usize / 2 } else { 0 };
            sum = sum.wrapping_add(varint(records, &mut at));
            at = end;
        }
    }
    sum
}

#[inline(always)]
fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

fn check(frame: &[u8]) -> usize {
    RecordBatches::new(frame).flatten().filter(|batch| batch.verify_crc().is_ok()).count()
}

/// Each batch is walked right after its CRC was checked, as the data path does.
fn check_and_walk(frame: &[u8]) -> u64 {
    let checked = RecordBatches::new(frame).flatten().filter(|batch| batch.verify_crc().is_ok());
    checked.fold(0, |sum, batch| sum ^ walk(batch.bytes()))
}

fn read(frame: &[u8]) -> u64 {
    let words = frame.chunks_exact(8);
    words.fold(0, |sum, word| sum ^ word.first_chunk().map_or(0, |word| u64::from_le_bytes(*word)))
}

criterion_group!(walking, walks, checks);
criterion_main!(walking);
