//! The pieces that are counted.

use std::hint::black_box;

use millstream::Batch;
use millstream::pieces::{Handing, Latencies, Marks};
use millstream_bench::contract::Tally;
use millstream_bench::material::{
    FETCH_VERSION, Frame, SESSION_ID, Shape, ask, fetch_response, frame, session, walk, walk_headers,
};
use millstream_protocol::fetch::response::FetchResponse;
use millstream_protocol::record::{Codec, Decompressor, RecordBatches};

/// As much as a few record batches: enough for a steady count, little enough for valgrind.
const FRAME_BYTES: usize = 128 * 1024;
/// Repetitions of pieces that take some ten instructions.
const REPEATED: u64 = 1_000;

/// A piece and how to set it up.
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    set_up: SetUp,
}

type SetUp = fn() -> Work;

/// A piece that is ready to run.
pub(crate) struct Work {
    /// How many units of work one run is.
    pub(crate) units: u64,
    /// What a unit is.
    pub(crate) unit: &'static str,
    pub(crate) run: Box<dyn FnMut()>,
}

impl Piece {
    pub(crate) fn prepare(&self) -> Work {
        (self.set_up)()
    }
}

/// All pieces.
pub(crate) fn all() -> Vec<Piece> {
    let pieces: [(&'static str, SetUp); 22] = [
        ("walk_16_b", || walking(Shape::Values(16))),
        ("walk_100_b", || walking(Shape::Values(100))),
        ("walk_1000_b", || walking(Shape::Values(1000))),
        ("walk_mixed", || walking(Shape::Mixed)),
        ("walk_100_b_key_headers", || walking(Shape::KeyAndHeaders(100))),
        ("headers_100_b_key_headers", reading_headers),
        ("handle_100_b", || handling(Shape::Values(100))),
        ("handle_mixed", || handling(Shape::Mixed)),
        ("handle_100_b_key_headers", || handling(Shape::KeyAndHeaders(100))),
        ("batch_headers", validating),
        ("crc_16_kib", checking),
        ("fetch_response_4", || walking_response(4)),
        ("fetch_response_64", || walking_response(64)),
        ("fetch_request_full_64", || asking(64, Asked::Full)),
        ("fetch_request_changed_4_of_64", || asking(64, Asked::Changed)),
        ("fetch_request_unchanged_64", || asking(64, Asked::Unchanged)),
        ("histogram_record", recording),
        ("mark_push_pop", marking),
        ("gzip_decompress", || decompressing(Codec::Gzip)),
        ("lz4_decompress", || decompressing(Codec::Lz4)),
        ("snappy_decompress", || decompressing(Codec::Snappy)),
        ("zstd_decompress", || decompressing(Codec::Zstd)),
    ];
    pieces.map(|(name, set_up)| Piece { name, set_up }).into()
}

fn work(units: u64, unit: &'static str, run: impl FnMut() + 'static) -> Work {
    Work { units, unit, run: Box::new(run) }
}

fn walking(shape: Shape) -> Work {
    let Frame { bytes, records, .. } = frame(shape, Codec::None, FRAME_BYTES);
    work(records, "record", move || {
        black_box(walk(black_box(&bytes)));
    })
}

fn reading_headers() -> Work {
    let Frame { bytes, records, .. } = frame(Shape::KeyAndHeaders(100), Codec::None, FRAME_BYTES);
    work(records, "record", move || {
        black_box(walk_headers(black_box(&bytes)));
    })
}

/// From opened batches to the handler of a comparison: what a record costs once its batch is checked.
fn handling(shape: Shape) -> Work {
    let Frame { bytes, records, .. } = frame(shape, Codec::None, FRAME_BYTES);
    let handing = Handing::new(&bytes).expect("the batches were built whole");
    work(records, "record", move || {
        let mut tally = black_box(Tally::default());
        handing.hand_to(|batch| tally = counted(batch, tally));
        assert_eq!(black_box(tally).records(), records);
    })
}

fn counted(batch: &Batch<'_>, mut tally: Tally) -> Tally {
    for record in batch {
        let headers = record.headers().map(|header| (header.key, header.value));
        tally.record(record.key(), record.value(), headers);
    }
    tally
}

fn validating() -> Work {
    let Frame { bytes, batches, .. } = frame(Shape::Values(100), Codec::None, FRAME_BYTES);
    work(batches, "batch", move || {
        let offsets = RecordBatches::new(black_box(&bytes)).flatten().map(|batch| batch.next_offset());
        black_box(offsets.sum::<i64>());
    })
}

fn checking() -> Work {
    let Frame { bytes, batches, .. } = frame(Shape::Values(100), Codec::None, FRAME_BYTES);
    work(batches, "batch", move || {
        let good = RecordBatches::new(black_box(&bytes)).flatten().filter(|batch| batch.verify_crc().is_ok());
        assert_eq!(good.count() as u64, batches);
    })
}

fn walking_response(partitions: i32) -> Work {
    let body = fetch_response(partitions);
    work(partitions as u64, "partition", move || {
        let response = FetchResponse::parse(FETCH_VERSION, black_box(&body)).expect("it was built whole");
        black_box(response.partitions().map(|partition| partition.records.len()).sum::<usize>());
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// For everything, as after a lost session.
    Full,
    /// After a response with records of four partitions.
    Changed,
    /// After a response without records.
    Unchanged,
}

fn asking(partitions: u32, asked: Asked) -> Work {
    let mut session = session(partitions);
    let mut out = Vec::new();
    ask(&mut session, &mut out);
    let mut offset = 0;
    work(1, "request", move || {
        match asked {
            Asked::Full => session.on_failure(),
            Asked::Changed | Asked::Unchanged => {
                session.on_response(0, SESSION_ID);
            }
        }
        if asked == Asked::Changed {
            offset += 1;
            for slot in 0..4 {
                session.served(slot);
                session.advance(slot, offset, 1);
            }
        }
        ask(&mut session, &mut out);
    })
}

fn recording() -> Work {
    let mut latencies = Latencies::default();
    work(REPEATED, "latency", move || {
        for index in 0..REPEATED {
            latencies.record(black_box(index * 977), index as i64);
        }
    })
}

fn marking() -> Work {
    const BURST: u64 = 10;
    let mut marks = Marks::new(64);
    work(REPEATED, "mark", move || {
        for _ in 0..REPEATED / BURST {
            for index in 0..BURST {
                marks.push(black_box(index as i64));
            }
            while let Some(offset) = marks.pop() {
                black_box(offset);
            }
        }
    })
}

fn decompressing(codec: Codec) -> Work {
    let Frame { bytes, batches, .. } = frame(Shape::Values(100), codec, FRAME_BYTES / 4);
    let mut decompressor = Decompressor::new();
    let mut output = vec![0; 64 * 1024];
    work(batches, "batch", move || {
        for batch in RecordBatches::new(black_box(&bytes)).flatten() {
            let length = decompressor.decompress(batch.codec(), batch.payload(), &mut output);
            black_box(length.expect("the batches were built whole"));
        }
    })
}
