//! A broker as one shard sees it: two routes, the fetch session, and the lanes that are fetched from
//! it.

use std::time::{Duration, Instant};

use millstream_protocol::fetch::request::FetchPartition;
use millstream_protocol::fetch::session::FetchSession;

use super::route::{Route, RouteKind};
use super::settings::ShardSettings;
use crate::link::BrokerEndpoint;

/// What happens to a broker's fetch session is told no more often than this; the counters know it all.
const SESSION_TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Everything that a shard keeps of one broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) endpoint: BrokerEndpoint,
    pub(crate) session: FetchSession,
    pub(crate) session_route: Route,
    pub(crate) sessionless_route: Route,
    /// Slots of the lanes that are fetched from this broker: those that it leads, but for those whose records come from
    /// a follower, and those that it follows and whose records come from it.
    pub(crate) lanes: Vec<u32>,
    /// Slots of lanes that may have become fetchable or stopped being it since the last Fetch was built; each once.
    pub(crate) touched: Vec<u32>,
    /// What the sessionless Fetch on its way asked for, in its order.
    pub(crate) sessionless: Vec<(u32, FetchPartition)>,
    /// Sessions lost in a row.
    pub(crate) session_failures: u32,
    /// When something was last told of its sessions.
    session_told_at: Option<Instant>,
    /// Whether the last answer held data: then the next is likely due at once.
    pub(crate) answers_with_data: bool,
    /// When lanes that wait beside a Fetch whose answer is due run out of patience.
    pub(crate) look_again_at: Option<Instant>,
    /// It is told no rack before this, so that it sends the records of what it leads itself.
    pub(crate) leader_only_until: Option<Instant>,
}

impl Broker {
    /// A broker without connections.
    pub(crate) fn new(endpoint: BrokerEndpoint) -> Self {
        Self {
            endpoint,
            session: FetchSession::new(),
            session_route: Route::new(),
            sessionless_route: Route::new(),
            lanes: Vec::new(),
            touched: Vec::new(),
            sessionless: Vec::new(),
            session_failures: 0,
            session_told_at: None,
            answers_with_data: true,
            look_again_at: None,
            leader_only_until: None,
        }
    }

    /// One of the routes.
    pub(crate) fn route(&mut self, kind: RouteKind) -> &mut Route {
        match kind {
            RouteKind::Session => &mut self.session_route,
            RouteKind::Sessionless => &mut self.sessionless_route,
        }
    }

    /// The newest version of Fetch that both sides know, once a connection was set up.
    pub(crate) fn fetch_version(&self) -> Option<i16> {
        self.session_route.fetch_version.or(self.sessionless_route.fetch_version)
    }

    /// Whether it has asked, over either route, for no Fetch for now.
    pub(crate) fn is_muted(&self) -> bool {
        self.session_route.muted_until.is_some() || self.sessionless_route.muted_until.is_some()
    }

    /// Whether it is to send records itself of what it leads, and to name no follower.
    pub(crate) fn is_leader_only(&self, now: Instant) -> bool {
        self.leader_only_until.is_some_and(|until| now < until)
    }

    /// The rack that the next Fetch tells: the broker may name a follower there instead of sending records of what it
    /// leads.
    pub(crate) fn rack_to_tell<'a>(&self, settings: &'a ShardSettings, now: Instant) -> &'a str {
        if self.is_leader_only(now) { "" } else { &settings.rack }
    }

    /// Whether it is time to tell that it keeps no session for us, or has dropped it; it counts as told then.
    pub(crate) fn may_tell_of_session(&mut self, now: Instant) -> bool {
        let is_due =
            self.session_told_at.is_none_or(|at| now.saturating_duration_since(at) >= SESSION_TELL_INTERVAL);
        if is_due {
            self.session_told_at = Some(now);
        }
        is_due
    }

    /// When this broker wants to be looked at again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        // Without lanes nobody wants it up, but a Fetch that is on its way holds memory that others may wait for.
        let is_wanted = !self.lanes.is_empty() || self.session_route.fetching.is_some();
        let session = if is_wanted { self.session_route.deadline() } else { None };
        [session, self.sessionless_route.deadline(), self.look_again_at].into_iter().flatten().min()
    }
}
