//! Bugs that are planted on purpose, each found by the simulation within a stated number of seeds.

use millstream::simulation::Planted;
use millstream_tests::simulation::first_found;

/// Each bug, how many seeds may be looked at, and by what it may be found first.
const BUGS: [(Planted, u64, &[&str]); 21] = [
    (Planted::MarkTooFar, 5, &["marks-are-contiguous"]),
    (Planted::MarkForgotten, 30, &["everything-is-handled-in-the-end"]),
    (Planted::MarkOfFormerOpening, 60, &["marks-are-contiguous", "commits-do-not-go-back"]),
    (Planted::ClosedForgotten, 20, &["members-end-without-an-error", "everything-is-handled-in-the-end"]),
    (Planted::WakeUpLost, 10, &["no-wake-up-is-lost"]),
    (Planted::OperationsForgotten, 120, &["no-wake-up-is-lost", "everything-is-handled-in-the-end"]),
    (Planted::RecordsSwallowed, 10, &["marks-are-contiguous", "records-come-in-order"]),
    (Planted::BatchRepeated, 10, &["records-come-in-order"]),
    (Planted::FailureIgnored, 120, &["marks-are-contiguous", "records-come-in-order"]),
    (Planted::AbortedDelivered, 20, &["undecided-and-aborted-records-stay-hidden"]),
    (Planted::BytesUnchecked, 20, &["records-are-what-was-appended", "members-end-without-an-error"]),
    (Planted::MemoryKept, 10, &["memory-comes-home"]),
    (Planted::OpenTooFar, 20, &["no-record-is-skipped"]),
    (Planted::OpenTooEarly, 20, &["nothing-comes-twice-without-a-cause"]),
    (
        Planted::LostGoesOn,
        40,
        &[
            "lost-lanes-are-not-dispatched",
            "members-end-without-an-error",
            "a-stop-ends-in-time",
            "everything-is-handled-in-the-end",
        ],
    ),
    (Planted::LeaseIgnored, 250, &["nothing-is-dispatched-beside-an-heir"]),
    (Planted::SeekTooFar, 120, &["gaps-are-told", "no-record-is-skipped"]),
    (Planted::ResetUntold, 120, &["gaps-are-told"]),
    (Planted::LeaderForgotten, 200, &["everything-is-handled-in-the-end"]),
    (
        Planted::ReleasedTooEarly,
        200,
        &[
            "a-partition-has-one-owner",
            "nothing-is-dispatched-beside-an-heir",
            "nothing-comes-twice-without-a-cause",
        ],
    ),
    (Planted::StopForgotten, 5, &["a-stop-ends-in-time"]),
];

#[test]
fn each_planted_bug_is_found_within_its_number_of_seeds_by_what_it_breaks() {
    assert_eq!(BUGS.map(|(planted, ..)| planted), Planted::ALL, "every bug is listed");
    for (planted, seeds, names) in BUGS {
        let Some(failure) = first_found(planted, seeds) else {
            panic!("{planted} is not found by {seeds} seeds");
        };
        let found = failure.names();
        assert!(
            found.first().is_some_and(|first| names.contains(first)),
            "{planted} is found by {found:?}, not by one of {names:?}:\n{failure}"
        );
    }
}
