//! A route to a broker: a connection, how it is set up and kept up, and the Fetch that is on its way over it.

use std::time::Instant;

use crate::memory::Reservation;
use crate::net::{ConnId, Connection};

/// Which of a broker's two routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    /// Carries the fetch session; its Fetch may be parked at the broker for `fetch.max.wait.ms`.
    Session,
    /// Carries Fetches without a session for lanes that cannot wait for the parked one.
    Sessionless,
}

/// A Fetch that is on its way.
#[derive(Debug)]
pub(crate) struct Fetching {
    /// Its version.
    pub(crate) version: i16,
    /// When it was handed to the connection.
    pub(crate) sent_at: Instant,
    /// The memory set aside for its response, until that is admitted.
    pub(crate) reservation: Option<Reservation>,
    /// Some lane of it was known to have more at the broker, so that the answer is due at once.
    pub(crate) expects_data: bool,
}

/// One route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) connection: Option<Connection>,
    /// Newest Fetch version that both sides know; `None` until the connection is set up.
    pub(crate) fetch_version: Option<i16>,
    /// The ApiVersions version that was asked with.
    pub(crate) asked_version: i16,
    pub(crate) fetching: Option<Fetching>,
    /// Not to be opened again before this, after a failure.
    pub(crate) retry_at: Option<Instant>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// The broker has asked for no Fetch before this.
    pub(crate) muted_until: Option<Instant>,
}

impl Route {
    /// A route that was never used.
    pub(crate) fn new() -> Self {
        Self {
            connection: None,
            fetch_version: None,
            asked_version: 0,
            fetching: None,
            retry_at: None,
            failures: 0,
            muted_until: None,
        }
    }

    /// The connection's id, while there is one.
    pub(crate) fn conn(&self) -> Option<ConnId> {
        self.connection.as_ref().map(Connection::id)
    }

    /// Whether a Fetch can be sent at once.
    pub(crate) fn is_idle(&self) -> bool {
        self.fetch_version.is_some() && self.fetching.is_none()
    }

    /// Whether the connection may be opened now.
    pub(crate) fn may_open(&self, now: Instant) -> bool {
        self.connection.is_none() && self.retry_at.is_none_or(|at| at <= now)
    }

    /// When this route wants to be looked at again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let connection = self.connection.as_ref().map_or(self.retry_at, Connection::deadline);
        [connection, self.muted_until].into_iter().flatten().min()
    }
}
