//! Which partition is to go to another shard, so that no core is busy while another rests. Sans-IO: it is shown what
//! each interval was like and says what to do, which is one move at most.
//!
//! A move costs a little (what is fetched is fetched again), and loads change by themselves. So it takes a shard that
//! was busy for some intervals on end, a partition whose move brings the busier of the two shards down by a good part,
//! and after each move time to see what came of it.

use std::collections::BTreeMap;

use crate::link::LaneId;

/// A shard with more time left than this has all that it needs.
const BUSY_MIN: f64 = 0.6;
/// By how much a move has to bring down the busier of the two shards: so that none goes to and fro.
const GAIN_MIN: f64 = 0.1;
/// For how many intervals on end the same shard has to be strained.
const INTERVALS_STRAINED: u32 = 3;
/// For how many intervals a partition stays where it has come to.
const INTERVALS_AT_REST: u32 = 12;

/// What one interval was like for a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LaneLoad {
    /// The lane.
    pub(super) lane: LaneId,
    /// The index of its shard.
    pub(super) shard: usize,
    /// The part of its shard's time that its dispatches took, 0 to 1.
    pub(super) handled: f64,
    /// Bytes of its record batches that were handled: what else its shard does goes by these.
    pub(super) bytes: u64,
}

/// What is to be done, and why: parts of the time, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Relief {
    /// The lane that is to go.
    pub(super) lane: LaneId,
    /// The shard where it is to go.
    pub(super) to: usize,
    /// How busy the shard is that it leaves.
    pub(super) from_busy: f64,
    /// How busy the shard is that it goes to.
    pub(super) to_busy: f64,
    /// How much of that is for this lane.
    pub(super) lane_busy: f64,
}

/// Watches the loads.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    /// The shard that was strained last, and for how many intervals on end.
    strained: Option<(usize, u32)>,
    /// Lanes that have moved, and for how many intervals they stay yet.
    at_rest: BTreeMap<LaneId, u32>,
}

impl Balancer {
    /// Takes in what an interval was like: of the shards, by index, the part of their time that they had something to
    /// do, 0 to 1; and their lanes.
    pub(super) fn look(&mut self, shards: &[f64], lanes: &[LaneLoad]) -> Option<Relief> {
        self.at_rest.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
        let busiest = (0..shards.len()).max_by(|&a, &b| shards[a].total_cmp(&shards[b]))?;
        let idlest = (0..shards.len()).min_by(|&a, &b| shards[a].total_cmp(&shards[b]))?;
        let (from_busy, to_busy) = (shards[busiest], shards[idlest]);
        if from_busy < BUSY_MIN || from_busy - to_busy < GAIN_MIN {
            self.strained = None;
            return None;
        }
        let intervals = match self.strained {
            Some((shard, intervals)) if shard == busiest => intervals.saturating_add(1),
            _ => 1,
        };
        self.strained = Some((busiest, intervals));
        if intervals < INTERVALS_STRAINED {
            return None;
        }
        let here: Vec<LaneLoad> = lanes.iter().filter(|lane| lane.shard == busiest).copied().collect();
        let busy = |lane: &LaneLoad| lane.handled + share_of_rest(lane, &here, from_busy);
        let may_go = here.iter().filter(|lane| !self.at_rest.contains_key(&lane.lane));
        let best = may_go
            .map(|lane| {
                let lane_busy = busy(lane);
                let gain = from_busy - (from_busy - lane_busy).max(to_busy + lane_busy);
                (Relief { lane: lane.lane, to: idlest, from_busy, to_busy, lane_busy }, gain)
            })
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        let (relief, _) = best.filter(|(_, gain)| *gain >= GAIN_MIN)?;
        self.strained = None;
        self.at_rest.insert(relief.lane, INTERVALS_AT_REST);
        Some(relief)
    }

    /// What was seen counts for nothing: partitions have come or gone.
    pub(super) fn begin_anew(&mut self) {
        self.strained = None;
    }
}

/// Of the time that a shard does other things than to dispatch (it receives, for the most part), the part for one of
/// its lanes: by bytes.
fn share_of_rest(lane: &LaneLoad, here: &[LaneLoad], busy: f64) -> f64 {
    let (handled, bytes) =
        here.iter().fold((0.0, 0), |(handled, bytes), lane| (handled + lane.handled, bytes + lane.bytes));
    match bytes {
        0 => 0.0,
        bytes => (busy - handled).max(0.0) * (lane.bytes as f64 / bytes as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(slot: u32) -> LaneId {
        LaneId { slot, opening: 1 }
    }

    /// Lanes of these shards that take so much of their time in their handlers.
    fn lanes(loads: &[(usize, f64)]) -> Vec<LaneLoad> {
        let load = |(slot, &(shard, handled)): (usize, &(usize, f64))| LaneLoad {
            lane: lane(slot as u32),
            shard,
            handled,
            bytes: 0,
        };
        loads.iter().enumerate().map(load).collect()
    }

    /// What is said in each of so many intervals that are all alike: the interval, the lane, where it goes.
    fn said(
        balancer: &mut Balancer,
        shards: &[f64],
        lanes: &[LaneLoad],
        intervals: u32,
    ) -> Vec<(u32, u32, usize)> {
        let look = |interval| {
            let relief = balancer.look(shards, lanes)?;
            Some((interval, relief.lane.slot, relief.to))
        };
        (1..=intervals).filter_map(look).collect()
    }

    #[test]
    fn the_partition_whose_move_helps_most_goes_to_the_idlest_shard_after_three_intervals() {
        // The first of that shard would make the other one the busier, the last would change next to nothing.
        let lanes = lanes(&[(0, 0.5), (0, 0.35), (0, 0.05), (1, 0.3), (2, 0.1)]);
        let said = said(&mut Balancer::default(), &[0.9, 0.3, 0.1], &lanes, 4);
        assert_eq!(said, [(3, 1, 2)]);
    }

    #[test]
    fn the_decision_says_what_it_was_made_of() {
        let mut balancer = Balancer::default();
        let lanes = lanes(&[(0, 0.4), (0, 0.5), (1, 0.2)]);
        let relief = (0..3).find_map(|_| balancer.look(&[0.9, 0.2], &lanes)).unwrap();
        let expected = Relief { lane: lane(0), to: 1, from_busy: 0.9, to_busy: 0.2, lane_busy: 0.4 };
        assert_eq!(relief, expected);
    }

    #[test]
    fn a_partition_that_alone_keeps_its_shard_busy_stays() {
        // It would keep the other one just as busy.
        let lanes = lanes(&[(0, 0.95), (1, 0.1)]);
        assert!(said(&mut Balancer::default(), &[0.95, 0.1], &lanes, 50).is_empty());
    }

    #[test]
    fn shards_that_are_not_busy_or_all_alike_are_left_alone() {
        let lanes = lanes(&[(0, 0.3), (0, 0.25), (1, 0.1)]);
        assert!(said(&mut Balancer::default(), &[0.55, 0.1], &lanes, 50).is_empty());
        assert!(said(&mut Balancer::default(), &[0.95, 0.9], &lanes, 50).is_empty());
        assert!(said(&mut Balancer::default(), &[1.0], &lanes, 50).is_empty());
        assert!(said(&mut Balancer::default(), &[], &lanes, 50).is_empty());
    }

    #[test]
    fn a_shard_that_is_strained_now_and_then_is_left_alone() {
        let mut balancer = Balancer::default();
        let lanes = lanes(&[(0, 0.4), (0, 0.5), (1, 0.1)]);
        for _ in 0..20 {
            for shards in [[0.9, 0.1], [0.9, 0.1], [0.5, 0.1]] {
                assert_eq!(balancer.look(&shards, &lanes), None);
            }
        }
    }

    #[test]
    fn what_was_seen_before_partitions_came_or_went_does_not_count() {
        let mut balancer = Balancer::default();
        let lanes = lanes(&[(0, 0.4), (0, 0.5), (1, 0.1)]);
        for _ in 0..20 {
            assert_eq!(said(&mut balancer, &[0.9, 0.1], &lanes, 2), []);
            balancer.begin_anew();
        }
    }

    #[test]
    fn a_partition_that_has_moved_stays_for_a_while_whatever_the_loads_are() {
        let mut balancer = Balancer::default();
        let before = lanes(&[(0, 0.4), (0, 0.5), (1, 0.1)]);
        assert_eq!(said(&mut balancer, &[0.9, 0.1], &before, 3), [(3, 0, 1)]);
        // Now it is the only one that it would help to move, back to where it was.
        let after = lanes(&[(1, 0.4), (0, 0.01), (1, 0.5)]);
        let after = [after[0], after[1]];
        let said = said(&mut balancer, &[0.0, 0.8], &after, 20);
        assert_eq!(said, [(INTERVALS_AT_REST, 0, 0)]);
    }

    #[test]
    fn time_that_no_handler_took_goes_by_bytes() {
        // Half of the time is spent on receiving, nearly all of it for the first lane.
        let mut loads = lanes(&[(0, 0.1), (0, 0.35), (1, 0.2)]);
        (loads[0].bytes, loads[1].bytes) = (900, 100);
        let mut balancer = Balancer::default();
        let relief = (0..3).find_map(|_| balancer.look(&[0.95, 0.2], &loads)).unwrap();
        assert_eq!(relief.lane, lane(1));
        assert!((relief.lane_busy - 0.4).abs() < 1e-9, "{relief:?}");
    }
}
