//! What the coordinator's answers, and its errors, do to a member.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;

use super::partitions::assigned;
use super::requests::Unsaid;
use super::{ConsumerGroup, Coordinator, InFlight, SESSION_MAX, State};
use crate::group::{GroupError, GroupRequestKind, LostReason};
use crate::request::{ErrorCode, RequestError, decode_response};

/// Heartbeats are not sent more often than this, whatever the broker says, …
const INTERVAL_MIN: Duration = Duration::from_millis(50);
/// … nor less often than this: twice what a broker can be told to ask for by default.
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// How long a member waits for its former self to be put out: a session of twice the default, the time that its joins
/// take included.
const UNRELEASED_PATIENCE: Duration = SESSION_MAX.saturating_mul(2);
/// Characters of a broker's words that are kept.
const MESSAGE_MAX_CHARS: usize = 500;

impl ConsumerGroup {
    /// Takes the answer to a request: the frame without its length prefix. An answer that nothing waits for (any more)
    /// has no effect.
    ///
    /// # Errors
    /// [`RequestError`] for a malformed answer: the caller drops the connection. The member already treats it as
    /// disconnected.
    pub fn on_response(
        &mut self,
        kind: GroupRequestKind,
        frame: &Bytes,
        now: Instant,
    ) -> Result<(), RequestError> {
        if kind == GroupRequestKind::Leave {
            // Whatever the answer is, the member is out or will be when its session ends.
            if matches!(self.state, State::Leaving { sent: true, .. }) {
                self.finish_leaving();
            }
            return Ok(());
        }
        let Some(sent) = self.in_flight.take() else { return Ok(()) };
        let response = decode_response::<ConsumerGroupHeartbeatRequest>(sent.version, frame)
            .inspect_err(|_| self.on_malformed(now))?;
        if !self.is_member() {
            return Ok(());
        }
        match ErrorCode(response.error_code) {
            ErrorCode::NONE => self.on_success(response, sent, now),
            code => {
                // It was not taken in.
                self.unheard_since.take_if(|since| *since == sent.sent_at);
                self.on_error(code, response.error_message, now);
            }
        }
        Ok(())
    }

    fn on_malformed(&mut self, now: Instant) {
        self.may_hold_instance = true;
        self.on_disconnected(now);
    }

    fn on_success(&mut self, response: ConsumerGroupHeartbeatResponse, sent: InFlight, now: Instant) {
        let member_id = response.member_id.filter(|id| !id.is_empty());
        let has_id = member_id.is_some() || !self.identity.member_id.is_empty();
        // No member of a group has such an epoch or is without an id, so this is no answer to be relied on.
        if response.member_epoch <= 0 || !has_id {
            return self.on_disconnected(now);
        }
        if let Some(member_id) = member_id {
            self.identity.member_id = member_id;
        }
        self.identity.epoch = response.member_epoch;
        self.may_hold_instance = true;
        self.unreleased_since = None;
        self.proven_at = Some(sent.sent_at);
        let interval_ms = u64::try_from(response.heartbeat_interval_ms).unwrap_or(0);
        self.interval = Duration::from_millis(interval_ms).clamp(INTERVAL_MIN, INTERVAL_MAX);
        self.next_heartbeat = Some(sent.sent_at + self.interval);
        self.backoff.reset();
        if self.state == State::Joining {
            self.state = State::Member;
        }
        if sent.is_settled {
            self.revoke_by = None;
        }
        let unheard_since = self.unheard_since.take();
        if let Some(assignment) = &response.assignment {
            self.told_at = unheard_since;
            self.target = assigned(assignment);
            self.reconcile();
        }
    }

    fn on_error(&mut self, code: ErrorCode, message: Option<StrBytes>, now: Instant) {
        // What the request said may not have been taken in.
        self.unsaid = Unsaid::EVERYTHING;
        match code {
            ErrorCode::FENCED_MEMBER_EPOCH | ErrorCode::UNKNOWN_MEMBER_ID => {
                self.expelled(LostReason::Expelled(code), now);
            }
            ErrorCode::UNRELEASED_INSTANCE_ID if self.waits_for_itself(now) => self.delay(now),
            code if code.needs_coordinator() => {
                self.coordinator = Coordinator::Unknown { asked: false };
                self.delay(now);
            }
            code if code.is_retriable() => self.delay(now),
            code => {
                let message = message.map(|text| text.chars().take(MESSAGE_MAX_CHARS).collect());
                let message = message.filter(|text: &String| !text.is_empty());
                let group = self.config.group_id.clone();
                self.lose(LostReason::Expelled(code));
                self.fail(GroupError::Rejected { group, code, advice: advice(code), message });
            }
        }
    }

    /// Whether it may be this very member that holds the instance id, and its session can still be waited for.
    fn waits_for_itself(&mut self, now: Instant) -> bool {
        let since = *self.unreleased_since.get_or_insert(now);
        self.state == State::Joining && self.may_hold_instance && now < since + UNRELEASED_PATIENCE
    }
}

/// What a person can do about an error that retries do not cure.
fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UNSUPPORTED_VERSION => {
            "the brokers do not serve group.protocol=consumer (their feature group.version is off): use classic"
        }
        ErrorCode::UNSUPPORTED_ASSIGNOR => {
            "set group.remote.assignor to one of the broker's group.consumer.assignors, or leave it out"
        }
        ErrorCode::UNRELEASED_INSTANCE_ID => {
            "stop the member that has the instance id, or wait until its session is over, then start again"
        }
        ErrorCode::FENCED_INSTANCE_ID => "give each member a group.instance.id of its own, then start again",
        ErrorCode::GROUP_MAX_SIZE_REACHED => {
            "raise the broker's group.consumer.max.size, or start fewer members"
        }
        ErrorCode::INVALID_REGULAR_EXPRESSION => "write the pattern in the syntax of Google's RE2",
        ErrorCode::GROUP_ID_NOT_FOUND => {
            "a group of another kind has this group.id: use another, or the protocol that it has"
        }
        ErrorCode::INVALID_REQUEST => "the broker does not understand this member: report it as a bug",
        _ => "the member cannot be in its group",
    }
}
