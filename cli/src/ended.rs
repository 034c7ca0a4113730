//! Ends that a handler brings about, and which of them were wanted.

use std::io;

use millstream::{Error, LaneErrorCause};

use crate::exit::Failure;

/// Why a handler ends the run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// All records that were asked for have been handled, and some of this batch were not asked for.
    #[error("as many records as asked for were handled")]
    CountReached,
    /// Standard output takes no more.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

/// Tells the ends that were wanted from the failures.
pub(crate) fn was_wanted(ended: Result<(), Error>) -> Result<(), Failure> {
    let Err(Error::Lane(failed)) = &ended else { return Ok(ended?) };
    let LaneErrorCause::Handler(error) = failed.cause() else { return Ok(ended?) };
    match error.downcast_ref::<Ended>() {
        Some(Ended::CountReached) => Ok(()),
        Some(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Some(Ended::Output(error)) => Err(Failure::Failed(format!("standard output: {error}"))),
        None => Ok(ended?),
    }
}
