//! The thread of a shard: a loop around its transport, which it blocks in.

use std::io;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::idle::{Idle, Strategy, Turned};
use super::turns::{Allowance, Turns};
use crate::net::{Transport, Wait};
use crate::on_shard;
use crate::stats::ShardStats;

/// Handlers get the shard for about this long before the network is looked at again, although nothing is known to wait.
const DISPATCH_SLICE: Duration = Duration::from_millis(1);

/// One shard on a thread of its own.
pub(crate) struct ShardLoop<T> {
    pub(crate) turns: Turns<T>,
    /// What to do when there is nothing to do.
    pub(super) strategy: Strategy,
}

impl<T: Transport> ShardLoop<T> {
    /// Runs until the control plane ends the shard, and fills in its last measurements.
    ///
    /// # Errors
    /// When the transport itself breaks.
    pub(crate) fn run(mut self, last_stats: &mut ShardStats) -> io::Result<()> {
        let _on_shard = on_shard::enter();
        let result = self.run_until_ended();
        self.turns.measure(last_stats);
        result
    }

    fn run_until_ended(&mut self) -> io::Result<()> {
        let mut idle = Idle::new(self.strategy, self.turns.now());
        // The first round begins the work.
        let mut wait = Wait::Poll;
        while !self.turns.shard.is_ended() {
            let woken_at = self.turns.turn(wait)?;
            self.turns.dispatch(&Allowance { until: woken_at + DISPATCH_SLICE, records: u64::MAX });
            self.turns.tell();
            wait = self.next_wait(&mut idle, woken_at);
        }
        Ok(())
    }

    /// Sleeping is safe only here: everything that others can hand in was looked at after the last wake-up.
    fn next_wait(&mut self, idle: &mut Idle, woken_at: Instant) -> Wait {
        let (did_something, is_busy) = (self.turns.did_something(), self.turns.is_busy());
        let now = self.turns.now();
        let may_sleep = idle.may_sleep(Turned { woken_at, did_something, is_busy }, now);
        self.turns.times = idle.times();
        if !may_sleep {
            return Wait::Poll;
        }
        Wait::Park(self.turns.deadline(now).map(|at| at.saturating_duration_since(now)))
    }
}

/// What a thread says when it is ready, or why it is not.
pub(crate) type Started = SyncSender<Result<(), String>>;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::driver::channels::channels;
    use crate::driver::hold_back::HoldBack;
    use crate::driver::turns::FULL_RING_RETRY;
    use crate::net::{Completion, IoOp, TransportCounters};
    use crate::pulse::Pulse;
    use crate::shard::tests::brokers::{Answer, Brokers};
    use crate::shard::tests::rig::{Rig, batch};

    /// What a test does when the thread wants to sleep: nothing else but this can wake it. An error ends the loop.
    type OnPark = Box<dyn FnMut(&mut Brokers, Option<Duration>) -> io::Result<()>>;
    /// What a test does at each wait.
    type OnWait = Box<dyn FnMut(Wait)>;

    /// The brokers of a rig as a transport. As with a ring, what is submitted is done in the next wait, and that a
    /// request was sent ends no wait.
    struct Played {
        brokers: Rc<RefCell<Brokers>>,
        queued: Vec<IoOp>,
        completions: Vec<Completion>,
        on_park: OnPark,
        on_wait: OnWait,
    }

    impl Transport for Played {
        fn submit(&mut self, op: IoOp) {
            self.queued.push(op);
        }

        fn wait(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
            (self.on_wait)(wait);
            let mut brokers = self.brokers.borrow_mut();
            self.completions.extend(self.queued.drain(..).filter_map(|op| brokers.carry_out(op)));
            self.completions.extend(brokers.received());
            if let Wait::Park(until) = wait
                && self.completions.iter().all(|completion| matches!(completion, Completion::Sent { .. }))
            {
                (self.on_park)(&mut brokers, until)?;
                self.completions.extend(brokers.received());
            }
            completions.append(&mut self.completions);
            Ok(())
        }

        fn has_pending(&mut self) -> bool {
            !self.queued.is_empty() || self.has_arrived()
        }

        fn has_arrived(&mut self) -> bool {
            !self.completions.is_empty()
        }

        fn counters(&self) -> TransportCounters {
            TransportCounters::default()
        }
    }

    /// Runs a shard's thread with one lane until `on_park` ends it.
    fn run(
        rig: Rig,
        on_park: impl FnMut(&mut Brokers, Option<Duration>) -> io::Result<()> + 'static,
    ) -> io::Error {
        run_holding_back(rig, HoldBack::new(Duration::ZERO), |_| (), on_park)
    }

    fn run_holding_back(
        mut rig: Rig,
        hold_back: HoldBack,
        on_wait: impl FnMut(Wait) + 'static,
        on_park: impl FnMut(&mut Brokers, Option<Duration>) -> io::Result<()> + 'static,
    ) -> io::Error {
        rig.settle();
        let Rig { shard, brokers, .. } = rig;
        let (_control, end) = channels(Arc::new(Pulse::new(Instant::now())), Arc::default());
        let brokers = Rc::new(RefCell::new(brokers));
        let (on_park, on_wait) = (Box::new(on_park), Box::new(on_wait));
        let transport = Played { brokers, queued: Vec::new(), completions: Vec::new(), on_park, on_wait };
        let mut turns = Turns::new(shard, transport, end, true);
        turns.hold_back = hold_back;
        let looped = ShardLoop { turns, strategy: Strategy::Park };
        looped.run(&mut ShardStats::new(0)).unwrap_err()
    }

    #[test]
    fn memory_that_a_handler_frees_goes_to_the_fetch_that_waits_for_it_before_the_thread_sleeps() {
        let mut rig = Rig::new(|settings| {
            settings.fetch_share_bytes = 1 << 20;
            settings.partition_fetch_max_bytes = 1 << 20;
        });
        rig.open(0, 1);
        let mut asks = Vec::new();
        let ended = run(rig, move |brokers, _| {
            // Nothing but a broker's answer wakes the thread, so it may not sleep without having asked.
            let fetch = brokers.fetches.pop_front().ok_or_else(|| io::Error::other("asleep for ever"))?;
            asks.extend(fetch.asks());
            let from = asks.len() as i64 - 1;
            // Fills what a Fetch may take, so that the next one waits until it is handled.
            brokers.answer(&fetch, &[Answer::records(0, from + 1, &[batch(from, 1, 960 << 10)])]);
            if asks.len() < 5 { Ok(()) } else { Err(io::Error::other(asks.join(" "))) }
        });
        assert_eq!(ended.to_string(), "0@0 0@1 0@2 0@3 0@4");
    }

    #[test]
    fn a_thread_that_could_not_tell_everything_does_not_sleep_on_it() {
        let mut rig = Rig::new(|settings| settings.poll_records_max = 1);
        rig.open(0, 1);
        let count = 5000;
        let ended = run(rig, move |brokers, until| match brokers.fetches.pop_front() {
            // More progress than the ring to the control thread takes, which nobody empties.
            Some(first) if !first.asks().is_empty() => {
                brokers.answer(&first, &[Answer::records(0, count, &[batch(0, count as usize, 1)])]);
                Ok(())
            }
            _ => Err(io::Error::other(format!("{:?}", until.is_some_and(|until| until <= FULL_RING_RETRY)))),
        });
        assert_eq!(ended.to_string(), "true");
    }

    /// The waits of a thread that is answered with one record three times, each with how many were handled before it.
    fn waits(longest: Duration) -> Vec<(Wait, usize)> {
        let mut rig = Rig::new(|_| ());
        rig.open(0, 1);
        let (user, waits) = (Arc::clone(&rig.user), Rc::new(RefCell::new(Vec::new())));
        let noted = Rc::clone(&waits);
        let note = move |wait| noted.borrow_mut().push((wait, user.lock().unwrap().handled.len()));
        let mut answered = 0;
        run_holding_back(rig, HoldBack::new(longest), note, move |brokers, _| {
            let fetch = brokers.fetches.pop_front().ok_or_else(|| io::Error::other("asleep for ever"))?;
            if answered == 3 {
                return Err(io::Error::other("over"));
            }
            brokers.answer(&fetch, &[Answer::records(0, answered + 1, &[batch(answered, 1, 100)])]);
            answered += 1;
            Ok(())
        });
        let waits = waits.borrow();
        // What comes before the first record was handled is the beginning.
        waits.iter().copied().skip_while(|(_, handled)| *handled == 0).collect()
    }

    #[test]
    fn requests_leave_with_the_wait_that_follows_quick_handlers() {
        let waits = waits(Duration::from_secs(3600));
        assert_eq!(waits.iter().map(|(_, handled)| *handled).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(waits.iter().all(|(wait, _)| matches!(wait, Wait::Park(_))), "{waits:?}");
    }

    #[test]
    fn requests_leave_before_handlers_that_are_not_quick() {
        let submits = waits(Duration::ZERO).into_iter().filter(|(wait, _)| *wait == Wait::Submit);
        assert_eq!(submits.map(|(_, handled)| handled).collect::<Vec<_>>(), [1, 2]);
    }
}
