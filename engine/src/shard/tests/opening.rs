//! Where lanes start: where the control plane says, or where their factory says.

use super::brokers::Answer;
use super::rig::{Rig, SECOND, batch, lane};
use crate::error::LaneErrorCause;
use crate::link::{CloseReason, Command, Event};
use crate::position::StartPosition;

fn rig(starts: &[(i32, StartPosition)]) -> Rig {
    let rig = Rig::new(|_| {});
    rig.user().starts.extend(starts.iter().copied());
    rig
}

/// The partition, the position and the seek counter of each wish.
fn wanted(events: &[Event]) -> Vec<(u32, StartPosition, u32)> {
    let wanted = events.iter().filter_map(|event| match event {
        Event::StartWanted { lane, position, seek } => Some((lane.slot, *position, *seek)),
        _ => None,
    });
    wanted.collect()
}

#[test]
fn a_factory_that_names_an_offset_starts_there_at_once_and_marks_from_there() {
    let mut rig = rig(&[(0, StartPosition::Offset(5))]);
    rig.open_with(0, 1, |open| open.start_offset = 100);
    rig.settle();
    let fetch = rig.fetch();
    assert_eq!(fetch.asks(), ["0@5"]);
    assert!(wanted(&rig.events()).is_empty());
    assert!(rig.marks().is_empty(), "nothing is handled yet");
    rig.answer(&fetch, &[Answer::records(0, 10, &[batch(0, 10, 8)])]);
    rig.run();
    assert_eq!(rig.handled(0), [5, 6, 7, 8, 9]);
    assert_eq!(rig.marks().last().map(|mark| (mark.next_offset, mark.seek)), Some((10, 0)));
}

#[test]
fn a_lane_whose_start_is_looked_for_is_not_fetched_while_others_flow() {
    let mut rig = rig(&[(0, StartPosition::Latest)]);
    rig.open(0, 1);
    rig.open(1, 1);
    rig.settle();
    assert_eq!(wanted(&rig.events()), [(0, StartPosition::Latest, 0)]);
    let fetch = rig.fetch();
    assert_eq!(fetch.asks(), ["1@0"]);
    rig.answer(&fetch, &[Answer::records(1, 3, &[batch(0, 3, 8)])]);
    rig.run();
    assert_eq!(rig.handled(1), [0, 1, 2]);
    rig.seek(0, 1, 70);
    assert_eq!(rig.fetch().asks(), ["1@3"]);
    // It waits a little for the parked answer, then it is fetched beside it.
    rig.pass(SECOND / 50);
    let fetch = rig.fetch();
    assert_eq!(fetch.asks(), ["0@70"]);
    rig.answer(&fetch, &[Answer::records(0, 72, &[batch(70, 2, 8)])]);
    rig.run();
    assert_eq!(rig.handled(0), [70, 71]);
    let marks = rig.marks();
    assert!(
        marks.iter().any(|mark| (mark.lane, mark.next_offset, mark.seek) == (lane(0), 72, 1)),
        "{marks:?}"
    );
}

#[test]
fn a_lane_closed_while_its_start_is_looked_for_has_no_progress() {
    let mut rig = rig(&[(0, StartPosition::Earliest)]);
    rig.open(0, 1);
    rig.settle();
    rig.events();
    let (reason, deadline) = (CloseReason::Revoked, rig.now);
    rig.command(Command::Close { lane: lane(0), reason, deadline });
    assert!(matches!(rig.events()[..], [Event::Closed { mark: None, .. }]));
}

#[test]
fn a_lane_without_any_position_fails_of_it_unless_its_factory_names_one() {
    let mut rig = rig(&[(1, StartPosition::Offset(7))]);
    for partition in [0, 1] {
        rig.open_with(partition, 1, |open| {
            open.start_offset = -1;
            open.no_position = Some(LaneErrorCause::NoOffset("nothing is committed".to_owned()));
        });
    }
    rig.settle();
    assert_eq!(rig.fetch().asks(), ["1@7"]);
    let errors: Vec<String> = rig
        .events()
        .iter()
        .filter_map(|event| match event {
            Event::Failed { error, .. } => Some(error.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(errors, ["t-0 at offset -1: no offset to start from: nothing is committed"]);
}
