//! Logs of the libraries, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// The variable that holds the filter, as in `MILLSTREAM_LOG=millstream=debug`.
const VARIABLE: &str = "MILLSTREAM_LOG";
/// What is logged where the variable is not set. Why the engine ended is said by the command itself, in one line.
const DEFAULT_FILTER: &str = "error,millstream::events=off";

/// Logs from now on.
pub(crate) fn start() -> Result<(), Failure> {
    let filter = std::env::var(VARIABLE).unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Failure::Config(format!("environment variable {VARIABLE}: {error}")))?;
    // Only fails where a subscriber is set already, and nobody else sets one.
    _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).try_init();
    Ok(())
}
