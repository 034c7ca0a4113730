//! What probes are told of a running engine.

use millstream::{EngineEvent, HealthProblem, Outcome, Partitions, StartPosition};
use millstream_testbroker::Config;
use millstream_tests::gate::{Gate, PATIENCE};
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, engine};

use super::broker_with;

#[test]
fn a_probe_is_answered_while_a_handler_holds_the_only_shard() {
    let broker = broker_with(Config::default(), 2, 10);
    let (journal, gate) = (Journal::default(), Gate::default());
    let at_gate = gate.clone();
    let running = engine(&broker)
        .group(GROUP)
        .topics([TOPIC])
        .build()
        .unwrap()
        .start(journal.scripted(move |_| {
            at_gate.pass();
            Ok(Outcome::Done)
        }))
        .unwrap();
    gate.wait_reached();
    // Nobody opens the gate before this has come to an answer.
    let health = running.handle().health();
    assert_eq!(health.to_string(), "live, ready");
    let health = running.handle().begin_health().wait().unwrap();
    assert_eq!(health.to_string(), "live, ready");
    gate.open();
    journal.wait_until(|entries| entries.total() == 20);
    running.handle().shutdown(PATIENCE).unwrap();
    let health = running.handle().health();
    assert_eq!((&health.not_live[..], health.is_ready()), (&[HealthProblem::Ended][..], false));
    journal.entries().assert_exactly([(0, 0..10), (1, 0..10)]);
}

#[test]
fn a_handler_that_hangs_is_named_as_long_as_it_does_and_each_time() {
    let broker = broker_with(Config::default(), 1, 20);
    let (journal, gates) = (Journal::default(), [Gate::default(), Gate::default()]);
    let at_gates = gates.clone();
    let running = engine(&broker)
        .property("max.poll.interval.ms", "50")
        .property("max.poll.records", "10")
        .assign(TOPIC, Partitions::All, StartPosition::Earliest)
        .build()
        .unwrap()
        .start(journal.scripted(move |record| {
            if let Some(gate) =
                at_gates.get(record.offset() as usize / 10).filter(|_| record.offset() % 10 == 0)
            {
                gate.pass();
            }
            Ok(Outcome::Done)
        }))
        .unwrap();
    let handle = running.handle();
    let mut events = handle.events();
    for gate in gates {
        gate.wait_reached();
        let overdue = events.find(|event| matches!(event, EngineEvent::HandlerOverdue { .. })).unwrap();
        assert!(overdue.to_string().starts_with("numbers-0: "), "{overdue}");
        let health = handle.health();
        let [HealthProblem::HandlerOverdue { shard: 0, ref topic, partition: 0, lasting_ms: 50.., .. }] =
            health.not_live[..]
        else {
            panic!("{health}")
        };
        assert_eq!(topic, TOPIC);
        gate.open();
    }
    journal.wait_until(|entries| entries.total() == 20);
    handle.stats().unwrap();
    assert_eq!(handle.health().to_string(), "live, ready");
    handle.shutdown(PATIENCE).unwrap();
    journal.entries().assert_exactly([(0, 0..20)]);
}
