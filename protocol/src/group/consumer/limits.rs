//! How long a member may count on what it owns, and what it does when that is over.

use std::time::{Duration, Instant};

use super::{ConsumerGroup, Coordinator, SESSION_INTERVALS, SESSION_MAX, State};
use crate::group::LostReason;

impl ConsumerGroup {
    /// Until when what is owned is certainly nobody else's, as far as the session's length is known here: counted from
    /// the sending of the last good heartbeat. `None` while nothing is granted.
    ///
    /// Whoever comes late to this, however late (its process may have stood still), hands out nothing more until it is
    /// renewed.
    pub fn lease_end(&self) -> Option<Instant> {
        self.session_end().map(|end| self.revoke_by.map_or(end, |by| by.min(end)))
    }

    /// The session's end by this member's count, while it has a session to lose.
    pub(super) fn session_end(&self) -> Option<Instant> {
        self.proven_at.filter(|_| self.is_in_group()).map(|at| at + self.session())
    }

    pub(super) fn session(&self) -> Duration {
        (self.interval * SESSION_INTERVALS).min(SESSION_MAX)
    }

    /// When the coordinator puts the member out at the earliest, unless it hears that partitions are given up.
    pub(super) fn revocation_end(&self) -> Option<Instant> {
        self.revoke_by.filter(|_| self.is_in_group())
    }

    /// Partitions are to be given up. Where others are already, and the coordinator has not heard that they are, its
    /// patience began with those.
    pub(super) fn limit_revocation(&mut self) {
        let told = self.told_at.map(|at| at + self.config.rebalance_timeout);
        self.revoke_by = self.revoke_by.or(told);
    }

    /// Gives up what has taken too long: the session, a revocation, or the way out of the group.
    pub(super) fn check_limits(&mut self, now: Instant) {
        if let State::Leaving { until, .. } = self.state
            && now >= until
        {
            self.finish_leaving();
        }
        if self.session_end().is_some_and(|end| now >= end) {
            // The coordinator may be there and silent: it is looked for anew, over a new connection.
            let session_ms = self.session().as_millis();
            self.in_flight = None;
            self.coordinator = Coordinator::Unknown { asked: false };
            self.expelled(LostReason::SessionOver { session_ms }, now);
        } else if self.revocation_end().is_some_and(|end| now >= end) {
            // Whether it is put out already or not: it is out when it has said that it leaves.
            let limit_ms = self.config.rebalance_timeout.as_millis();
            self.lose(LostReason::RevokedTooLate { limit_ms });
            self.begin_leaving(now);
        }
    }
}
