//! What the pool and its frames promise, one by one; `model` tests them in every order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::pool::MemoryStats;
use super::*;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn limits() -> MemoryLimits {
    MemoryLimits {
        share_bytes: 4 * MIB,
        decode_reserve_bytes: MIB,
        response_max_bytes: 16 * MIB,
        huge_pages: false,
    }
}

fn pool() -> FramePool {
    FramePool::new(limits(), Box::new(|| {}))
}

fn frame(pool: &FramePool, len: usize) -> Frame {
    match pool.admit(&mut None, len) {
        Admission::Frame(frame) => frame,
        other => panic!("{len} bytes: {other:?}"),
    }
}

fn filled(pool: &FramePool, bytes: &[u8]) -> Frame {
    let mut frame = frame(pool, bytes.len());
    frame.fill(0, bytes);
    frame.set_len(bytes.len());
    frame
}

#[test]
fn all_that_is_free_can_be_reserved_and_nothing_more() {
    let pool = pool();
    assert_eq!(pool.free_bytes(), 3 * MIB, "the share without the decode reserve");
    let reservation = pool.reserve(pool.free_bytes()).expect("it is free");
    assert_eq!(pool.free_bytes(), 0);
    assert!(pool.reserve(1).is_none());
    drop(reservation);
    assert_eq!(pool.free_bytes(), 3 * MIB);
}

#[test]
fn a_response_within_its_reservation_gets_its_frame_and_the_rest_is_released() {
    let pool = pool();
    let mut reservation = pool.reserve(3 * MIB);
    let Admission::Frame(frame) = pool.admit(&mut reservation, MIB) else { panic!("it was reserved") };
    assert!(reservation.is_none());
    assert_eq!((frame.len(), frame.capacity()), (0, MIB));
    assert_eq!(pool.stats().reserved, 0);
    assert_eq!(pool.free_bytes(), 2 * MIB);
}

#[test]
fn responses_that_outgrow_their_reservations_do_not_block_each_other() {
    let pool = pool();
    let mut first = pool.reserve(3 * MIB / 2);
    let mut second = pool.reserve(3 * MIB / 2);
    // Nothing is free and both need more: whoever waits gives back what it has.
    assert!(matches!(pool.admit(&mut first, 2 * MIB), Admission::Wait));
    assert!(pool.reserve(1).is_none(), "nobody overtakes the line");
    let Admission::Frame(frame) = pool.admit(&mut second, 3 * MIB / 2) else { panic!("it was reserved") };
    assert!(matches!(pool.admit(&mut first, 2 * MIB), Admission::Wait));
    drop(frame);
    assert!(matches!(pool.admit(&mut first, 2 * MIB), Admission::Frame(_)));
    assert_eq!(pool.stats().waiting, 0);
}

#[test]
fn a_response_larger_than_the_share_is_admitted_alone_once_all_is_released() {
    let pool = pool();
    let small = frame(&pool, KIB);
    let mut large = pool.reserve(MIB);
    assert!(matches!(pool.admit(&mut large, 8 * MIB), Admission::Wait));
    assert_eq!(pool.free_bytes(), 0);
    drop(small);
    let Admission::Alone(frame) = pool.admit(&mut large, 8 * MIB) else { panic!("all is released") };
    assert_eq!(frame.capacity(), 8 * MIB);
    assert!(pool.reserve(1).is_none(), "nothing beside it");
    assert!(matches!(pool.admit(&mut None, 8 * MIB), Admission::Wait), "one at a time");
    drop(frame);
    assert_eq!(pool.stats().cached, 0, "it is not kept");
    assert_eq!(pool.free_bytes(), 3 * MIB, "the dropped place left the line");
}

#[test]
fn landing_buffers_do_not_hinder_a_response_that_must_be_alone() {
    let pool = pool();
    let _landing = pool.landing();
    assert!(matches!(pool.admit(&mut None, 3 * MIB), Admission::Alone(_)));
}

#[test]
fn a_response_beyond_the_maximum_is_too_large() {
    let pool = pool();
    assert!(matches!(pool.admit(&mut None, 16 * MIB), Admission::Alone(_)));
    assert!(matches!(pool.admit(&mut None, 16 * MIB + 1), Admission::TooLarge));
}

#[test]
fn decompression_at_its_limit_has_room_whatever_fetching_holds() {
    let pool = pool();
    let _all = pool.reserve(pool.free_bytes()).expect("free");
    let scratch = pool.scratch(MIB).expect("its own room");
    assert!(pool.scratch(1).is_none(), "the reserve is used up and nothing is free");
    drop(scratch);
    assert!(pool.scratch(MIB).is_some());
}

#[test]
fn a_decode_reserve_that_is_no_size_class_still_holds_its_length() {
    let odd = 5000_usize;
    let pool = FramePool::new(
        MemoryLimits { decode_reserve_bytes: odd.next_multiple_of(4096), share_bytes: 16 * KIB, ..limits() },
        Box::new(|| {}),
    );
    let _all = pool.reserve(pool.free_bytes()).expect("free");
    assert!(pool.scratch(odd).is_some());
}

#[test]
fn freed_memory_is_reused_and_never_exceeds_the_share_together_with_what_is_used() {
    let pool = pool();
    let first = frame(&pool, 100 * KIB);
    let at = first.as_slice().as_ptr();
    drop(first);
    assert_eq!(pool.stats().cached, 112 * KIB);
    let second = frame(&pool, 97 * KIB);
    assert_eq!(second.as_slice().as_ptr(), at, "reused");
    drop(second);
    let large = frame(&pool, 3 * MIB);
    let stats = pool.stats();
    assert!(stats.in_use + stats.cached <= 4 * MIB, "{stats:?}");
    drop(large);
}

#[test]
fn a_frame_returns_with_its_last_handle() {
    let pool = pool();
    let frame = frame(&pool, 4 * KIB);
    let clone = frame.clone();
    drop(frame);
    assert_eq!(pool.stats().in_use, 4 * KIB);
    drop(clone);
    assert_eq!(pool.stats().in_use, 0);
}

#[test]
fn filled_bytes_become_readable_by_set_len_and_only_a_sole_handle_is_mutable() {
    let pool = pool();
    let mut frame = frame(&pool, 16);
    frame.fill(0, b"kafka");
    assert_eq!(frame.as_slice(), b"");
    frame.set_len(5);
    frame.fill(5, b" streams");
    frame.set_len(13);
    let mut clone = frame.clone();
    assert_eq!(clone.as_slice(), b"kafka streams");
    assert!(clone.unique_mut().is_none());
    drop(frame);
    clone.unique_mut().expect("the only handle")[0] = b'K';
    clone.set_len(5);
    assert_eq!(clone.as_slice(), b"Kafka");
}

#[test]
#[should_panic(expected = "not within the writable part 4..4096")]
fn readable_bytes_cannot_be_overwritten() {
    let pool = pool();
    filled(&pool, b"data").fill(3, b"x");
}

#[test]
#[should_panic(expected = "cannot shrink")]
fn a_frame_with_other_readers_cannot_shrink() {
    let mut frame = filled(&pool(), b"data");
    let _reader = frame.clone();
    frame.set_len(1);
}

#[test]
fn a_slice_of_a_frame_is_found_in_it_and_others_are_not() {
    let pool = pool();
    let frame = filled(&pool, b"key=value");
    assert_eq!(frame.range_of(&frame.as_slice()[4..]), Some(4..9));
    assert_eq!(frame.range_of(b"key"), None);
}

#[test]
fn retained_bytes_outlive_the_frame_and_count_until_the_last_slice_is_dropped() {
    let rung = Arc::new(AtomicUsize::new(0));
    let bell = Arc::clone(&rung);
    let pool = FramePool::new(limits(), Box::new(move || _ = bell.fetch_add(1, Ordering::SeqCst)));
    let frame = filled(&pool, b"key=value");
    let value = frame.retain(4..9);
    let key = frame.retain(0..3);
    drop(frame);
    assert_eq!(pool.stats().retained, 4 * KIB);

    let part = thread::spawn(move || {
        assert_eq!(&value[..], b"value");
        let part = value.slice(1..3);
        drop(value);
        part
    });
    let part = part.join().expect("no panic");
    drop(key);
    assert_eq!(&part[..], b"al");
    assert_eq!(pool.bring_home(), 0);
    thread::spawn(move || drop(part)).join().expect("no panic");

    assert_eq!(rung.load(Ordering::SeqCst), 1);
    assert!(pool.has_arrivals());
    assert_eq!(pool.stats().in_use, 4 * KIB);
    assert_eq!(pool.bring_home(), 1);
    assert_eq!(pool.stats(), MemoryStats { cached: 4 * KIB, ..MemoryStats::default() });
}

#[test]
fn a_frame_whose_slices_are_dropped_first_needs_no_way_home() {
    let pool = pool();
    let mut frame = filled(&pool, b"data");
    let slice = frame.retain(0..4);
    assert!(frame.unique_mut().is_none(), "a slice is out");
    drop(slice);
    assert!(frame.unique_mut().is_some());
    let again = frame.retain(0..4);
    drop(again);
    drop(frame);
    assert!(!pool.has_arrivals());
    assert_eq!(pool.stats(), MemoryStats { cached: 4 * KIB, ..MemoryStats::default() });
}

#[test]
fn slices_and_frames_stay_valid_when_their_pool_is_gone() {
    let pool = pool();
    let local = filled(&pool, b"local");
    let retained = filled(&pool, b"retained");
    let slice = retained.retain(0..8);
    drop(retained);
    drop(pool);
    assert_eq!(local.as_slice(), b"local");
    let last = local.retain(1..3);
    drop(local);
    thread::spawn(move || assert_eq!((&slice[..], &last[..]), (&b"retained"[..], &b"oc"[..])))
        .join()
        .expect("no panic");
}

#[test]
fn slices_dropped_on_many_threads_bring_every_frame_home_once() {
    const FRAMES: usize = 64;
    const THREADS: usize = 4;
    let pool = pool();
    for round in 0..20_u8 {
        let frames: Vec<Frame> = (0..FRAMES).map(|_| filled(&pool, &[round; 100])).collect();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let slices: Vec<SharedSlice> = frames.iter().map(|frame| frame.retain(10..90)).collect();
                scope.spawn(move || {
                    for slice in slices {
                        assert!(slice.clone().iter().all(|&byte| byte == round));
                    }
                });
            }
            drop(frames);
        });
        pool.bring_home();
        assert_eq!(pool.stats().in_use, 0);
        assert_eq!(pool.stats().cached, FRAMES * 4 * KIB);
    }
}

#[test]
fn a_pooled_frame_costs_no_new_memory_in_steady_state() {
    let pool = pool();
    let at: Vec<*const u8> = (0..100).map(|_| frame(&pool, 1000).as_slice().as_ptr()).collect();
    assert!(at.windows(2).all(|pair| pair[0] == pair[1]));
}
