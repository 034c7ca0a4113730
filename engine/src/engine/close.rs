//! How an engine is closed: how long it may take, and whether its member leaves the group.

use std::time::{Duration, Instant};

use millstream_protocol::group::MembershipOperation;

use super::handle::{Finished, Handle, off_shard};
use crate::error::Error;
use crate::report::Report;

/// How to close an engine, for [`Handle::close`].
///
/// ```no_run
/// # fn restart(handle: &millstream::Handle) -> Result<(), millstream::Error> {
/// use std::time::Duration;
///
/// use millstream::CloseOptions;
///
/// // Back within session.timeout.ms under the same group.instance.id, with the same partitions.
/// handle.close(CloseOptions::new(Duration::from_secs(20)).remain_in_group())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct CloseOptions {
    grace: Duration,
    membership: MembershipOperation,
}

impl CloseOptions {
    /// Handlers get `grace` to finish the batches in hand. A dynamic member leaves its group, a static one
    /// (`group.instance.id`) does not.
    pub fn new(grace: Duration) -> Self {
        Self { grace, membership: MembershipOperation::Default }
    }

    /// The member leaves its group also where it is a static one: others get its partitions at once.
    pub fn leave_group(self) -> Self {
        Self { membership: MembershipOperation::Leave, ..self }
    }

    /// The member keeps its place also where it is a dynamic one: its partitions rest until `session.timeout.ms` is
    /// over.
    pub fn remain_in_group(self) -> Self {
        Self { membership: MembershipOperation::Remain, ..self }
    }
}

impl Handle {
    /// Stops the engine in order as [`Handle::shutdown`] does, and says whether its member leaves the group.
    ///
    /// # Errors
    /// As [`Handle::shutdown`].
    pub fn close(&self, options: CloseOptions) -> Result<Report, Error> {
        off_shard("Handle::close")?;
        self.begin_close(options).wait()
    }

    /// As [`Handle::close`], without waiting.
    pub fn begin_close(&self, options: CloseOptions) -> Finished {
        self.order_stop(Instant::now() + options.grace, options.membership);
        self.finished()
    }
}
