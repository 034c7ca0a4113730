//! Signals, in a process of their own: the second one ends it.

use std::process::Command;

use millstream::Signals;
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, append, committed, engine};

#[test]
fn a_signal_that_comes_before_the_engine_is_waited_for_stops_it_in_order() {
    let broker = TestBroker::start(Config::default()).unwrap();
    broker.handle().create_topic(TOPIC, 1).unwrap();
    append(&broker.handle(), 0, 20);
    let signals = Signals::catch().unwrap();
    let journal = Journal::default();
    let running =
        engine(&broker).group(GROUP).topics([TOPIC]).build().unwrap().start(journal.factory()).unwrap();
    journal.wait_until(|entries| entries.total() == 20);
    let pid = std::process::id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    while !signals.is_caught() {
        std::thread::yield_now();
    }
    let handle = running.handle();
    assert!(!handle.is_finished());
    // Nothing else would make it end.
    let report = running.wait_for(signals, PATIENCE).unwrap();
    assert_eq!(report.committed[0].to_string(), "numbers-0@20");
    assert_eq!(committed(&broker.handle(), 0), Some(20));
    journal.entries().assert_exactly([(0, 0..20)]);
}
