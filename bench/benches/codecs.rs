//! How fast each codec decompresses a record batch of 16 KiB and one of 256 KiB, through the interface that the engine
//! uses, beside other implementations of the same format and beside a copy of the output, which is the limit.
//!
//! What is wrong with it: the same few batches come again and again, so they lie in the core's cache, and branches are
//! predicted better than on data that is new. Values are made up (words and digits); real ones compress otherwise.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flate2::FlushDecompress;
use millstream_bench::material::values;
use millstream_protocol::record::{Codec, Decompressor, NewRecord, RecordBatch, RecordBatchBuilder};

const VALUE_BYTES: usize = 100;
/// Of a member without name, comment or other extras.
const GZIP_HEADER_BYTES: usize = 10;
const CONTENT_BYTES: [usize; 2] = [16 << 10, 256 << 10];

/// A batch as it is sent, and its records as they were before.
struct Compressed {
    batch: Vec<u8>,
    content: Vec<u8>,
}

impl Compressed {
    fn new(codec: Codec, content_bytes: usize) -> Self {
        let values = values(content_bytes);
        let mut builder = RecordBatchBuilder::new(0).codec(codec);
        for value in values.chunks_exact(VALUE_BYTES) {
            builder.append(&NewRecord { timestamp: 1, value: Some(value), ..NewRecord::default() });
        }
        let batch = builder.finish().expect("the batch is within all limits");
        let mut compressed = Self { batch, content: vec![0; 2 * content_bytes] };
        let mut content = std::mem::take(&mut compressed.content);
        let bytes = Decompressor::new().decompress(codec, compressed.payload(), &mut content);
        content.truncate(bytes.expect("we compressed it"));
        Self { content, ..compressed }
    }

    fn payload(&self) -> &[u8] {
        RecordBatch::parse(&self.batch).ok().flatten().expect("we built it").payload()
    }
}

fn codecs(criterion: &mut Criterion) {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut group = criterion.benchmark_group(format!("{codec}, per byte decompressed"));
        for content_bytes in CONTENT_BYTES {
            let compressed = Compressed::new(codec, content_bytes);
            let (payload, content) = (compressed.payload(), &compressed.content);
            let mut output = vec![0; content.len() + 64];
            let name = |what: &str| {
                let ratio = content.len() as f64 / payload.len() as f64;
                BenchmarkId::new(what, format!("{} KiB, {ratio:.1} to 1", content_bytes >> 10))
            };
            group.throughput(Throughput::Bytes(content.len() as u64));
            let mut ours = Decompressor::new();
            group.bench_function(name("ours"), |bencher| {
                bencher.iter(|| ours.decompress(codec, black_box(payload), &mut output));
            });
            match codec {
                Codec::Gzip => {
                    let mut other = flate2::Decompress::new(false);
                    group.bench_function(name("zlib-rs, without the checksum"), |bencher| {
                        bencher.iter(|| {
                            other.reset(false);
                            let stream = &black_box(payload)[GZIP_HEADER_BYTES..];
                            other.decompress(stream, &mut output, FlushDecompress::Finish)
                        });
                    });
                }
                Codec::Lz4 => {
                    // One block without a frame in both, as large as the content.
                    let block = lz4_flex::block::compress(content);
                    group.bench_function(name("lz4_flex, one block"), |bencher| {
                        bencher.iter(|| lz4_flex::block::decompress_into(black_box(&block), &mut output));
                    });
                    let size = i32::try_from(content.len()).ok();
                    group.bench_function(name("lz4 in C, one block"), |bencher| {
                        bencher
                            .iter(|| lz4::block::decompress_to_buffer(black_box(&block), size, &mut output));
                    });
                }
                _ => {}
            }
            group.bench_function(name("limit: copy"), |bencher| {
                bencher.iter(|| output[..content.len()].copy_from_slice(black_box(content)));
            });
        }
        group.finish();
    }
}

criterion_group!(decompressing, codecs);
criterion_main!(decompressing);
