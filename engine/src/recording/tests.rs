//! Recordings that nobody has recorded: what is read is not trusted.

use super::format::{MAGIC, Put, VERSION, block_header};
use super::step::tag;
use super::*;

/// A recording of one shard with the steps that `put` says.
fn recording(settings: &[(&str, &str)], put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut beginning = vec![block::BEGINNING];
    beginning.put_text("0.0.0");
    beginning.put_number(1);
    beginning.put_number(settings.len() as u64);
    for (name, value) in settings {
        beginning.put_text(name);
        beginning.put_text(value);
    }
    let mut steps = vec![block::STEPS, 0];
    put(&mut steps);
    file(&[beginning, steps, vec![block::END]])
}

fn file(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_be_bytes());
    for payload in payloads {
        file.extend(block_header(payload));
        file.extend(payload);
    }
    file
}

const SETTINGS: &[(&str, &str)] = &[("bootstrap.servers", "k:1")];

fn start(steps: &mut Vec<u8>) {
    steps.put_byte(tag::START);
    steps.put_number(7);
}

/// A command to open slot 0.
fn open(steps: &mut Vec<u8>) {
    steps.put_byte(tag::COMMAND);
    steps.put_byte(3);
    steps.extend([0, 1]);
    steps.put_text("t");
    steps.extend([0; 16]);
    steps.extend([0; 7]);
}

/// What the factory has answered, and the handler about its limit.
fn made(steps: &mut Vec<u8>) {
    steps.extend([tag::MADE, 0, 0, 1]);
    steps.extend([tag::HOOK, 1, 1]);
}

fn problem(file: &[u8]) -> String {
    play(file).unwrap_err().to_string()
}

#[test]
fn a_shard_that_does_nothing_does_the_same_again() {
    let whole = recording(SETTINGS, |steps| {
        start(steps);
        steps.extend([tag::TURN, 5, tag::LOOK, tag::NO_MARK, tag::ENDED]);
    });
    let replayed = play(&whole[..]).unwrap();
    assert_eq!((replayed.divergence, replayed.cut_off_at), (None, None));
    assert_eq!((replayed.shards.len(), replayed.shards[0].turns), (1, 1));
    assert_eq!(replayed.shards[0].lasted, Duration::from_nanos(5));
}

#[test]
fn what_cannot_have_been_recorded_is_an_error_that_says_where() {
    for (named, put) in [
        ("not made", &[tag::LOOK][..]),
        ("no step here", &[tag::START, 1, 99]),
        ("no step here", &[tag::START, 1, tag::START, 1]),
        ("no command", &[tag::START, 1, tag::COMMAND, 77]),
        ("has ended", &[tag::START, 1, tag::ENDED, tag::LOOK]),
        ("within a field", &[tag::START, 1, tag::MARK, 0]),
        ("things are announced", &[tag::START, 1, tag::EVENT, 100]),
    ] {
        let problem = problem(&recording(SETTINGS, |steps| steps.extend(put)));
        assert!(problem.contains(named) && problem.starts_with("at byte "), "{named}: {problem}");
    }
    assert!(problem(&file(&[])).contains("before it says what was recorded"));
    assert!(problem(&file(&[vec![block::END]])).contains("first block"));
}

#[test]
fn a_configuration_that_is_not_valid_or_too_large_is_refused() {
    assert!(problem(&recording(&[], start)).starts_with("its configuration: "));
    let unknown = [("bootstrap.servers", "k:1"), ("no.such.property", "1")];
    assert!(problem(&recording(&unknown, start)).contains("no.such.property"));
    let large = [("bootstrap.servers", "k:1"), ("memory.budget.bytes", "17179869184")];
    let problem = problem(&recording(&large, start));
    assert!(problem.contains("memory.budget.bytes=17179869184"), "{problem}");
}

#[test]
fn a_step_that_the_core_does_not_take_now_is_a_divergence() {
    let divergence = |put: &[u8]| {
        let recorded = recording(SETTINGS, |steps| {
            start(steps);
            steps.extend(put);
        });
        play(&recorded[..]).unwrap().divergence.unwrap()
    };
    let mark = divergence(&[tag::TURN, 9, tag::MARK, 0, 1, 2, 0, 0]);
    assert!(mark.recorded.contains("next_offset: 1") && mark.replayed.contains("no progress"), "{mark}");
    assert_eq!((mark.shard, mark.after), (0, Duration::from_nanos(9)));
    let event = divergence(&[tag::EVENT, 1, b'e']);
    assert_eq!((&*event.recorded, &*event.replayed), ("e", "no event"));
    let asked = divergence(&[tag::LOOK, tag::ASKED, 4, 3]);
    assert_eq!(
        (&*asked.recorded, &*asked.replayed),
        ("to close connection 3", "nothing is asked of the network")
    );
    let sent = divergence(&[tag::SENT, 3, 1]);
    assert_eq!(
        (&*sent.recorded, &*sent.replayed),
        ("a request has left on connection 3", "none was asked for")
    );
    let received = divergence(&[tag::RECEIVED, 3, 1, 1, 0]);
    assert_eq!(received.replayed, "none was asked for");
    let made = divergence(&[tag::TURN, 1, tag::MADE, 0, 0, 1]);
    assert_eq!(
        (&*made.recorded, &*made.replayed),
        ("a call of the handlers' factory", "that does not happen")
    );
    let dispatched = divergence(&[tag::DISPATCH, tag::DISPATCHED, 1]);
    assert_eq!(dispatched.replayed, "there is no batch to dispatch");
}

#[test]
fn a_handler_that_is_not_made_as_it_was_is_a_divergence() {
    let recorded = recording(SETTINGS, |steps| {
        start(steps);
        open(steps);
        steps.put_byte(tag::LOOK);
    });
    let divergence = play(&recorded[..]).unwrap().divergence.unwrap();
    assert_eq!(divergence.replayed, "the factory is called for t-0");
}

#[test]
fn a_panic_of_the_engine_is_told_and_ends_the_replay() {
    let recorded = recording(SETTINGS, |steps| {
        start(steps);
        for _ in 0..2 {
            open(steps);
            made(steps);
        }
    });
    let divergence = play(&recorded[..]).unwrap().divergence.unwrap();
    assert!(divergence.replayed.starts_with("the engine panics: slot 0 is opened"), "{divergence}");
}
