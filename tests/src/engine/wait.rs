//! Waiting with an end: a test that hangs says what it waited for.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use millstream::{Engine, Error, Report};

/// Far longer than anything takes, on a machine that is busy with other things too.
const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until the engine ends by itself.
///
/// # Errors
/// What made it end.
///
/// # Panics
/// If it does not end within a minute.
pub fn ended(engine: Engine) -> Result<Report, Error> {
    let handle = engine.handle();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(engine.wait()));
    told.recv_timeout(LIMIT).unwrap_or_else(|_| {
        panic!("the engine did not end by itself within {LIMIT:?}; it stands at {:?}", handle.stats())
    })
}

/// Polls until there is a value.
///
/// # Panics
/// If there is none within a minute; `what` says in words what was waited for.
pub fn wait_until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        std::thread::sleep(POLL_INTERVAL);
    }
}
