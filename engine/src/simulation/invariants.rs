//! What must hold in every run: each invariant is a function of its own over what the simulation has seen.

use std::fmt;
use std::time::{Duration, Instant};

use super::log::Sighting;

/// A lost lane's shard has to hear of it within this time, while it is not busy with one batch.
const LOST_PATIENCE: Duration = Duration::from_secs(2);

/// The name of something that must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Invariant {
    /// Records are what was appended.
    Content,
    /// Records come in order.
    Order,
    /// No record is skipped.
    NothingSkipped,
    /// Undecided and aborted records stay hidden.
    ReadCommitted,
    /// Nothing comes twice without a cause.
    NothingTwice,
    /// A member has one lane of a partition.
    OneLane,
    /// A partition has one owner.
    OneOwner,
    /// Nothing is dispatched beside an heir.
    HeirAlone,
    /// Lost lanes are not dispatched.
    LostStop,
    /// Lost lanes commit nothing.
    LostCommit,
    /// Marks are contiguous.
    Marks,
    /// Commits stay behind the handlers.
    CommitBehind,
    /// Commits do not go back.
    CommitForward,
    /// Gaps are told.
    GapsTold,
    /// Memory stays in its budget.
    MemoryBudget,
    /// Memory comes home.
    MemoryHome,
    /// Deadlines move on.
    DeadlinesMove,
    /// No wake up is lost.
    WakeUps,
    /// Everything is handled in the end.
    Liveness,
    /// A stop ends in time.
    StopEnds,
    /// Members end without an error.
    EndsWell,
    /// Of the simulation itself: its books and the brokers' logs agree.
    Books,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Content,
        Self::Order,
        Self::NothingSkipped,
        Self::ReadCommitted,
        Self::NothingTwice,
        Self::OneLane,
        Self::OneOwner,
        Self::HeirAlone,
        Self::LostStop,
        Self::LostCommit,
        Self::Marks,
        Self::CommitBehind,
        Self::CommitForward,
        Self::GapsTold,
        Self::MemoryBudget,
        Self::MemoryHome,
        Self::DeadlinesMove,
        Self::WakeUps,
        Self::Liveness,
        Self::StopEnds,
        Self::EndsWell,
        Self::Books,
    ];

    /// As reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Content => "records-are-what-was-appended",
            Self::Order => "records-come-in-order",
            Self::NothingSkipped => "no-record-is-skipped",
            Self::ReadCommitted => "undecided-and-aborted-records-stay-hidden",
            Self::NothingTwice => "nothing-comes-twice-without-a-cause",
            Self::OneLane => "a-member-has-one-lane-of-a-partition",
            Self::OneOwner => "a-partition-has-one-owner",
            Self::HeirAlone => "nothing-is-dispatched-beside-an-heir",
            Self::LostStop => "lost-lanes-are-not-dispatched",
            Self::LostCommit => "lost-lanes-commit-nothing",
            Self::Marks => "marks-are-contiguous",
            Self::CommitBehind => "commits-stay-behind-the-handlers",
            Self::CommitForward => "commits-do-not-go-back",
            Self::GapsTold => "gaps-are-told",
            Self::MemoryBudget => "memory-stays-in-its-budget",
            Self::MemoryHome => "memory-comes-home",
            Self::DeadlinesMove => "deadlines-move-on",
            Self::WakeUps => "no-wake-up-is-lost",
            Self::Liveness => "everything-is-handled-in-the-end",
            Self::StopEnds => "a-stop-ends-in-time",
            Self::EndsWell => "members-end-without-an-error",
            Self::Books => "the-books-agree-with-the-logs",
        }
    }

    /// A violation of it, unless it holds.
    pub(super) fn holds(self, holds: bool, what: impl FnOnce() -> String) -> Verdict {
        if holds { Ok(()) } else { Err(Violation { invariant: self, what: what() }) }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that must never be, and was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// Where, and how it is instead.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What an invariant says to one moment.
pub(super) type Verdict = Result<(), Violation>;

/// A record that a handler is given, key and value, was appended at its offset, now or before the log was cut there.
pub(super) fn records_are_what_was_appended(at: &impl fmt::Display, sighting: Sighting) -> Verdict {
    Invariant::Content
        .holds(sighting != Sighting::Unknown, || format!("{at} is delivered and was not appended there"))
}

/// A lane gives its handler one record after the other from where it was opened or sought, without a gap: only what
/// holds no record for it (markers, aborted records) may lie in between.
pub(super) fn records_come_in_order(
    at: &impl fmt::Display,
    expected: Option<i64>,
    offset: i64,
    record_between: Option<i64>,
) -> Verdict {
    Invariant::Order.holds(
        expected.is_some_and(|next| next <= offset) && record_between.is_none(),
        || match (expected, record_between) {
            (Some(next), Some(between)) => format!("{at} is delivered after {next}, before {between}"),
            (Some(next), None) => format!("{at} is delivered, expected {next}"),
            (None, _) => format!("{at} is delivered without a lane"),
        },
    )
}

/// Whoever is given a record of the log as it is now: everything before it that the log still holds was handled, by
/// whomever.
pub(super) fn no_record_is_skipped(at: &impl fmt::Display, offset: i64, handled_end: i64) -> Verdict {
    Invariant::NothingSkipped
        .holds(offset <= handled_end, || format!("{at} is delivered, and {handled_end} was not handled"))
}

/// Under `read_committed` no record is delivered before its transaction is committed.
pub(super) fn undecided_and_aborted_records_stay_hidden(
    at: &impl fmt::Display,
    sighting: Sighting,
) -> Verdict {
    Invariant::ReadCommitted.holds(!matches!(sighting, Sighting::Undecided | Sighting::Aborted), || {
        format!("{at} is delivered, and its transaction is {sighting:?}")
    })
}

/// A lane begins where the group has committed, or where a lane was closed in order whose commit was not told to have
/// failed: records below come again only to a member whose predecessor has crashed, failed or lost the partition.
pub(super) fn nothing_comes_twice_without_a_cause(
    at: &impl fmt::Display,
    start: i64,
    settled: i64,
) -> Verdict {
    Invariant::NothingTwice
        .holds(start >= settled, || format!("{at} opens at {start}, everything below {settled} is settled"))
}

/// Close before open: a member opens a partition on a shard only when no shard of it has it.
pub(super) fn a_member_has_one_lane_of_a_partition(at: &impl fmt::Display, holder: Option<usize>) -> Verdict {
    Invariant::OneLane
        .holds(holder.is_none(), || format!("{at} opens while shard {} has it", holder.unwrap_or_default()))
}

/// No member opens a partition while another one holds it by a valid grant. Whose lease is over hands nothing out, who
/// stands still as a whole cannot know that the grant is over, and who has crashed holds nothing.
pub(super) fn a_partition_has_one_owner(at: &impl fmt::Display, holders: &[String]) -> Verdict {
    Invariant::OneOwner
        .holds(holders.is_empty(), || format!("{at} opens while {} has it", holders.join(", ")))
}

/// A member begins no batch of a partition that another member has been granted and has opened since, however long it
/// has stood still itself: its lease was over before that.
pub(super) fn nothing_is_dispatched_beside_an_heir(at: &impl fmt::Display, heir: Option<String>) -> Verdict {
    Invariant::HeirAlone
        .holds(heir.is_none(), || format!("{at} is dispatched, {} has it since", heir.unwrap_or_default()))
}

/// A lane that its member has lost gives its handler nothing more than what was in hand. `free_since` is when its
/// thread was last free to look.
pub(super) fn lost_lanes_are_not_dispatched(
    at: &impl fmt::Display,
    lost_at: Option<Instant>,
    free_since: Instant,
    now: Instant,
) -> Verdict {
    let limit = lost_at.map(|lost_at| lost_at.max(free_since) + LOST_PATIENCE);
    Invariant::LostStop.holds(limit.is_none_or(|limit| now <= limit), || {
        format!("{at} is dispatched, its member lost it {:?} ago", lost_at.map(|lost_at| now - lost_at))
    })
}

/// No OffsetCommit leaves for a partition that its member has lost and not opened again.
pub(super) fn lost_lanes_commit_nothing(at: &impl fmt::Display, offset: i64, is_lost: bool) -> Verdict {
    Invariant::LostCommit.holds(!is_lost, || format!("{at}: a commit of {offset} leaves, and it is lost"))
}

/// A lane's mark, and the commit made of it, say at most that is done what its handler has done without a gap.
pub(super) fn marks_are_contiguous(at: &impl fmt::Display, mark: i64, done: i64) -> Verdict {
    Invariant::Marks.holds(mark <= done, || format!("{at} is marked done below {mark}, it is below {done}"))
}

/// The group's committed offset never passes a record that nobody has handled.
pub(super) fn commits_stay_behind_the_handlers(
    at: &impl fmt::Display,
    offset: i64,
    handled_end: i64,
) -> Verdict {
    Invariant::CommitBehind
        .holds(offset <= handled_end, || format!("{at}: {offset} is committed, {handled_end} is not handled"))
}

/// The group's committed offset goes back only where the log was cut.
pub(super) fn commits_do_not_go_back(
    at: &impl fmt::Display,
    offset: i64,
    before: i64,
    cut_at: i64,
) -> Verdict {
    Invariant::CommitForward.holds(offset >= before || offset >= cut_at, || {
        format!("{at}: {before} was committed, then {offset}")
    })
}

/// Records that are passed over because the log has lost them are reported, with their range.
pub(super) fn gaps_are_told(at: &impl fmt::Display, from: i64, to: i64, told: &[(i64, i64)]) -> Verdict {
    let is_told = told.iter().any(|(told_from, told_to)| *told_from <= from && *told_to == to);
    Invariant::GapsTold
        .holds(to <= from || is_told, || format!("{at} goes on at {to} instead of {from}, told was {told:?}"))
}

/// A shard uses no more than its share, a landing buffer for each connection, and one response that was admitted alone.
pub(super) fn memory_stays_in_its_budget(
    at: &impl fmt::Display,
    used_bytes: usize,
    allowed_bytes: usize,
) -> Verdict {
    Invariant::MemoryBudget.holds(used_bytes <= allowed_bytes, || {
        format!("{at}: {used_bytes} bytes of memory are used, {allowed_bytes} allowed")
    })
}

/// When a shard has ended, all of its memory is free.
pub(super) fn memory_comes_home(at: &impl fmt::Display, left_bytes: usize) -> Verdict {
    Invariant::MemoryHome
        .holds(left_bytes == 0, || format!("{at}: {left_bytes} bytes are in use after the end"))
}

/// A core whose deadline was met has another one afterwards, or none: its thread does not spin.
pub(super) fn deadlines_move_on(at: &impl fmt::Display, stays: bool) -> Verdict {
    Invariant::DeadlinesMove.holds(!stays, || format!("{at}: a deadline stays when it is met"))
}

/// A core that waits, woken for no reason, finds nothing to do: whatever there was to do would have woken it.
pub(super) fn no_wake_up_is_lost(at: &impl fmt::Display, found: Option<&str>) -> Verdict {
    Invariant::WakeUps
        .holds(found.is_none(), || format!("{at} slept while it had {}", found.unwrap_or_default()))
}

/// Once disturbances are over, every record is handled and committed within a time.
pub(super) fn everything_is_handled_in_the_end(unsettled: Option<String>, limit: Duration) -> Verdict {
    Invariant::Liveness.holds(unsettled.is_none(), || {
        format!("not within {limit:?} after the disturbances: {}", unsettled.unwrap_or_default())
    })
}

/// Members that are told to stop end within a time.
pub(super) fn a_stop_ends_in_time(left: &[String], limit: Duration) -> Verdict {
    Invariant::StopEnds
        .holds(left.is_empty(), || format!("not ended {limit:?} after being told to: {}", left.join(", ")))
}

/// A member ends with an error only where a handler was told to fail.
pub(super) fn members_end_without_an_error(
    at: &impl fmt::Display,
    error: Option<&str>,
    may_fail: bool,
) -> Verdict {
    Invariant::EndsWell
        .holds(error.is_none() || may_fail, || format!("{at} ended: {}", error.unwrap_or_default()))
}
