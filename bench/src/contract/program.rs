//! The main function of a peer program.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use super::{Asked, Outcome, Request};

/// Why a peer gives up.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A client under comparison. Its default is how it is run unless its own options say otherwise.
pub trait Peer: Default {
    /// Name and version, on one line.
    fn version() -> String;

    /// Takes an option that only this client has; false if it has none of that name.
    ///
    /// # Errors
    /// If its value is missing or wrong.
    fn own_option(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        let _ = (name, parser);
        Ok(false)
    }

    /// Reads what is asked for. `started` is when the process began.
    ///
    /// # Errors
    /// Whatever kept it from reading everything.
    fn read(self, request: &Request, started: Instant) -> Result<Outcome, Failure>;
}

/// Runs a peer: options in, one line of JSON out.
pub fn run<P: Peer>() -> ExitCode {
    let started = Instant::now();
    match line::<P>(started).and_then(|line| Ok(writeln!(std::io::stdout(), "{line}")?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if stderr is closed.
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn line<P: Peer>(started: Instant) -> Result<String, Failure> {
    let mut peer = P::default();
    let mut parser = lexopt::Parser::from_env();
    match Request::parse(&mut parser, |name, parser| peer.own_option(name, parser))? {
        Asked::Version => Ok(P::version()),
        Asked::Read(request) => Ok(serde_json::to_string(&peer.read(&request, started)?)?),
    }
}
