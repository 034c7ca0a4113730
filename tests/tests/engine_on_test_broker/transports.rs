//! The engine where io_uring is denied, and over the transport that is asked for.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::thread;

use millstream::{Engine, Error, TransportKind};
use millstream_testbroker::{Config, TestBroker};
use millstream_tests::gate::PATIENCE;
use millstream_tests::journal::Journal;
use millstream_tests::numbers::{GROUP, TOPIC, committed, engine};
use millstream_tests::seccomp::{DENIED, deny_io_uring};

use super::broker_with;

/// Consumes two partitions and stops in order; returns which transport it was over.
fn consume_over(transport: &str) -> Result<TransportKind, Error> {
    let broker = broker_with(Config::default(), 2, 500);
    let journal = Journal::default();
    let running = start(&broker, transport, &journal)?;
    journal.wait_until(|entries| (0..2).all(|partition| entries.count(partition) == 500));
    let stats = running.handle().stats()?;
    assert_eq!(stats.transport, running.handle().transport());
    assert!(stats.shards[0].io_received_bytes > stats.shards[0].received_bytes, "{stats:?}");
    running.handle().shutdown(PATIENCE)?;
    journal.entries().assert_exactly([(0, 0..500), (1, 0..500)]);
    for partition in 0..2 {
        assert_eq!(committed(&broker.handle(), partition), Some(500));
    }
    Ok(stats.transport)
}

fn start(broker: &TestBroker, transport: &str, journal: &Journal) -> Result<Engine, Error> {
    let builder = engine(broker).property("transport", transport).group(GROUP).topics([TOPIC]);
    builder.build()?.start(journal.factory())
}

/// Runs `test` on a thread where io_uring is denied: threads that it starts inherit that.
fn where_io_uring_is_denied(test: impl FnOnce() + Send + 'static) {
    let denied = thread::spawn(|| {
        if let Err(error) = deny_io_uring() {
            eprintln!("skipped: this host permits no seccomp filter: {error}");
            assert!(std::env::var_os("CI").is_none(), "with CI set it is needed");
            return;
        }
        test();
    });
    denied.join().expect("no panic");
}

#[test]
fn where_io_uring_is_denied_auto_takes_epoll_and_every_record_is_handled_once() {
    where_io_uring_is_denied(|| assert_eq!(consume_over("auto").unwrap(), TransportKind::Poll));
}

#[test]
fn where_io_uring_is_denied_uring_is_an_error_that_names_the_fix() {
    where_io_uring_is_denied(|| {
        let broker = TestBroker::start(Config::default()).unwrap();
        let Err(error) = start(&broker, "uring", &Journal::default()) else {
            panic!("no ring can be made");
        };
        assert!(matches!(error, Error::Host(_)), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("to mend it:") && text.contains("transport=auto"), "{text}");
    });
}

#[test]
fn epoll_can_be_asked_for_where_io_uring_is_there() {
    assert_eq!(consume_over("poll").unwrap(), TransportKind::Poll);
}

#[test]
fn auto_takes_io_uring_unless_it_is_denied() {
    let expected =
        if std::env::var_os(DENIED).is_some() { TransportKind::Poll } else { TransportKind::Uring };
    assert_eq!(consume_over("auto").unwrap(), expected);
}
