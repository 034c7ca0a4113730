//! Which broker keeps the group, and when to ask for it.

use std::sync::Arc;
use std::time::Instant;

use millstream_protocol::backoff::Backoff;
use millstream_protocol::request::ErrorCode;

use super::brokers::{BrokerAddress, Failure};
use super::wire::Answer;

/// The group's coordinator, as far as it is known.
#[derive(Debug)]
pub(super) struct Coordinator {
    group: Arc<str>,
    known: Option<BrokerAddress>,
    /// When to ask; `None` while a question is on its way or nobody wants to know.
    due: Option<Instant>,
    is_asked: bool,
    backoff: Backoff,
}

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The coordinator is known.
    Coordinator,
    /// It is asked for again later.
    NotYet,
    /// It will never be known.
    Refused(ErrorCode),
}

impl Coordinator {
    /// Knows nothing, and nobody wants to know.
    pub(super) fn new(group: Arc<str>, backoff: Backoff) -> Self {
        Self { group, known: None, due: None, is_asked: false, backoff }
    }

    /// The group.
    pub(super) fn group(&self) -> &Arc<str> {
        &self.group
    }

    /// The coordinator; asks for it when it is not known.
    pub(super) fn want(&mut self, now: Instant) -> Option<&BrokerAddress> {
        if self.known.is_none() && !self.is_asked && self.due.is_none() {
            self.due = Some(now);
        }
        self.known.as_ref()
    }

    /// Whether it is known.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// What is known is not so any more.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    /// Whether a question is due; it counts as sent then.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.due = None;
            self.is_asked = true;
        }
        is_due
    }

    /// When the next question is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Takes in what came of a question.
    pub(super) fn on_answer(
        &mut self,
        result: Result<Answer, Failure>,
        now: Instant,
        rng: &mut fastrand::Rng,
    ) -> Found {
        self.is_asked = false;
        let code = match result {
            Ok(Answer::Coordinator(Ok(coordinator))) => {
                tracing::debug!(group = %self.group, broker = coordinator.id, "coordinator found");
                self.known = Some(coordinator);
                self.backoff.reset();
                return Found::Coordinator;
            }
            Ok(Answer::Coordinator(Err(code))) => code,
            Ok(_) | Err(_) => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        };
        if !code.needs_coordinator() && !code.is_retriable() {
            return Found::Refused(code);
        }
        self.due = Some(now + self.backoff.failed(rng));
        Found::NotYet
    }
}
