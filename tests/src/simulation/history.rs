//! A simulated run as a history that the anomaly finders judge.

use millstream::simulation::{Happening, Outcome};

use crate::anomalies::{History, Op};

/// What happened in a run.
pub fn history_of(outcome: &Outcome) -> History {
    let ops = outcome.history.iter().filter_map(|moment| op(&moment.what)).collect();
    History { ops, is_complete: outcome.violations.is_empty() }
}

/// `None` for what a later version may tell and nobody judges yet.
fn op(what: &Happening) -> Option<Op> {
    let op = match what.clone() {
        Happening::Sent { partition, base_offset, values, transaction } => {
            Op::Sent { partition, base_offset, values, transaction }
        }
        Happening::Decided { partition, transaction, is_committed } => {
            Op::Decided { partition, transaction, is_committed }
        }
        Happening::Deleted { partition, start } => Op::Deleted { partition, start },
        Happening::Truncated { partition, end } => Op::Truncated { partition, end },
        Happening::Assigned { member, partition, start } => Op::Assigned { member, partition, start },
        Happening::Reset { member, partition, to } => Op::Sought { member, partition, to },
        Happening::Polled { member, partition, records } => Op::Polled { member, partition, records },
        Happening::Released { member, partition, is_lost } => Op::Released { member, partition, is_lost },
        Happening::Crashed { member } => Op::Crashed { member },
        Happening::Unsettled { member, partition } => Op::Unsettled { member, partition },
        Happening::Committed { partition, offset, .. } => Op::Committed { partition, offset },
        _ => return None,
    };
    Some(op)
}
