//! What the peers written in Rust share.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::contract::{Failure, Request};

/// The most that a poll waits for records: between two polls a peer looks whether it has waited in vain for too long.
pub const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// The crates that this program was built with.
const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));

/// The version of a crate as it was built in, `unknown` if it was not.
pub fn version(name: &str) -> &'static str {
    let entry = format!("name = \"{name}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != entry).skip(1);
    let version = lines.next().and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.unwrap_or("unknown")
}

/// Runs a client on tokio's current-thread runtime: a peer has one core, where more threads would only take turns.
///
/// # Errors
/// If the runtime cannot be started, and what the client fails with.
pub fn block_on<T>(client: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(client)
}

/// For a client that reads everything once.
///
/// # Errors
/// If it is asked to do so again.
pub fn refuse_passes(request: &Request) -> Result<(), Failure> {
    match request.passes {
        1 => Ok(()),
        passes => Err(format!("--passes {passes}: this peer reads everything once").into()),
    }
}

/// Settings as an [`Outcome`](crate::contract::Outcome) lists them.
pub fn settings<'a>(all: impl IntoIterator<Item = (&'a str, Value)>) -> BTreeMap<String, Value> {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_is_built_in_has_a_version() {
        assert_eq!(version("millstream-bench"), env!("CARGO_PKG_VERSION"));
        assert_eq!(version("millstream-be"), "unknown");
    }

    #[test]
    fn reading_everything_twice_is_refused() {
        let once = Request::new("h:1", "t", 1, 1);
        let twice = Request { passes: 2, ..once.clone() };
        assert!(refuse_passes(&once).is_ok());
        assert!(refuse_passes(&twice).is_err_and(|error| error.to_string().contains("--passes 2")));
    }
}
