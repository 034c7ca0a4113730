//! What a shard's thread does when it has nothing to do: sleep, look again, or look again for a while and then sleep.
//!
//! Sleeping costs the wake-up, looking again costs the core. Which is worth it depends on how soon work comes, so the
//! adaptive strategy goes by the gaps between one piece of work and the next: one that ended within the longest spin
//! lengthens the next spin, one that did not shortens it, down to none. It looks at gaps and not at whether it was
//! spinning, so that it begins again when traffic comes back.

use std::time::{Duration, Instant};

/// A spin is lengthened to at least this part of the longest one.
const FIRST_SPIN_PART: u32 = 8;

/// Spins shorter than this are not begun: looking once takes about as long.
const SHORTEST_SPIN: Duration = Duration::from_micros(1);

/// The decision of one thread, and what it did with its time.
#[derive(Debug)]
pub(super) struct Idle {
    strategy: Strategy,
    /// The end of the last work; gaps and spins are counted from here.
    idle_since: Instant,
    /// Whether nothing was known to do at the end of the last turn, so that what comes next ends a gap.
    is_idle: bool,
    /// Whether the thread was let sleep at the end of the last turn.
    may_sleep: bool,
    /// Until when the time of the thread is accounted for.
    accounted_until: Instant,
    times: Times,
}

/// One turn of a thread, as it is judged at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turned {
    /// When the wait that it began with was over.
    pub(super) woken_at: Instant,
    /// Whether there was work in it.
    pub(super) did_something: bool,
    /// Whether the next turn will find work.
    pub(super) is_busy: bool,
}

/// What to do with nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Sleep at once.
    Park,
    /// Never sleep.
    Spin,
    /// Look again for `spin` after work, then sleep.
    Adaptive {
        /// How long now.
        spin: Duration,
        /// How long at most.
        longest: Duration,
    },
}

/// Where a thread's time went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// With something to do.
    pub(crate) worked: Duration,
    /// Looking whether there is something to do.
    pub(crate) spun: Duration,
    /// Asleep.
    pub(crate) parked: Duration,
}

impl Strategy {
    /// Spins for `longest` at most, as long as that pays.
    pub(super) fn adaptive(longest: Duration) -> Self {
        Self::Adaptive { spin: Duration::ZERO, longest }
    }

    /// A gap between two pieces of work is over.
    fn learn(&mut self, gap: Duration) {
        let Self::Adaptive { spin, longest } = self else { return };
        if gap <= *longest {
            *spin = (*spin * 2).max(gap).max(*longest / FIRST_SPIN_PART).min(*longest);
        } else {
            *spin = if *spin / 2 < SHORTEST_SPIN { Duration::ZERO } else { *spin / 2 };
        }
    }
}

impl Idle {
    /// A thread that begins to work.
    pub(super) fn new(strategy: Strategy, now: Instant) -> Self {
        Self {
            strategy,
            idle_since: now,
            is_idle: false,
            may_sleep: false,
            accounted_until: now,
            times: Times::default(),
        }
    }

    /// A turn is over: whether the thread may sleep now.
    pub(super) fn may_sleep(&mut self, turned: Turned, now: Instant) -> bool {
        self.account(turned, now);
        if turned.did_something {
            if self.is_idle {
                self.strategy.learn(turned.woken_at.saturating_duration_since(self.idle_since));
            }
            self.idle_since = now;
        }
        self.is_idle = !turned.is_busy;
        self.may_sleep = self.is_idle && !self.spins(now);
        self.may_sleep
    }

    /// Where the time went.
    pub(super) fn times(&self) -> Times {
        self.times
    }

    fn account(&mut self, turned: Turned, now: Instant) {
        // A look that did not sleep belongs to the turn that it is the beginning of.
        if self.may_sleep {
            self.times.parked += turned.woken_at.saturating_duration_since(self.accounted_until);
            self.accounted_until = turned.woken_at;
        }
        let took = now.saturating_duration_since(self.accounted_until);
        if turned.did_something {
            self.times.worked += took
        } else {
            self.times.spun += took
        }
        self.accounted_until = now;
    }

    fn spins(&self, now: Instant) -> bool {
        match self.strategy {
            Strategy::Park => false,
            Strategy::Spin => true,
            Strategy::Adaptive { spin, .. } => now.saturating_duration_since(self.idle_since) < spin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(100);
    const US: Duration = Duration::from_micros(1);

    /// A thread in made-up time, whose turns take 1 us.
    struct Thread {
        idle: Idle,
        now: Instant,
        may_sleep: bool,
    }

    impl Thread {
        fn new(strategy: Strategy) -> Self {
            let now = Instant::now();
            let mut thread = Self { idle: Idle::new(strategy, now), now, may_sleep: false };
            thread.turn(true, false);
            thread
        }

        fn turn(&mut self, did_something: bool, is_busy: bool) {
            let woken_at = self.now;
            self.now += US;
            self.may_sleep = self.idle.may_sleep(Turned { woken_at, did_something, is_busy }, self.now);
        }

        /// Nothing comes for so long. Returns how long the thread looked before it slept.
        fn nothing_for(&mut self, gap: Duration) -> Duration {
            let (begun, comes_at) = (self.now, self.now + gap);
            while !self.may_sleep && self.now < comes_at {
                self.turn(false, false);
            }
            let looked = self.now - begun;
            self.now = self.now.max(comes_at);
            looked
        }

        /// The same, and then work comes.
        fn work_after(&mut self, gap: Duration) -> Duration {
            let looked = self.nothing_for(gap);
            self.turn(true, false);
            looked
        }

        fn work_20_times_after(&mut self, gap: Duration) {
            for _ in 0..20 {
                self.work_after(gap);
            }
        }
    }

    #[test]
    fn park_sleeps_at_once_and_spin_never_does() {
        let mut parks = Thread::new(Strategy::Park);
        let mut spins = Thread::new(Strategy::Spin);
        for _ in 0..10 {
            assert_eq!(parks.work_after(20 * US), Duration::ZERO);
            assert_eq!(spins.work_after(Duration::from_secs(1) / 100), Duration::from_secs(1) / 100);
        }
    }

    #[test]
    fn a_thread_that_has_work_never_sleeps() {
        for strategy in [Strategy::Park, Strategy::adaptive(LONGEST)] {
            let mut thread = Thread::new(strategy);
            thread.turn(true, true);
            assert!(!thread.may_sleep);
            thread.turn(false, true);
            assert!(!thread.may_sleep);
        }
    }

    #[test]
    fn adaptive_begins_asleep_and_spins_once_work_comes_soon_after_work() {
        let mut thread = Thread::new(Strategy::adaptive(LONGEST));
        assert_eq!(thread.work_after(30 * US), Duration::ZERO, "nothing is known of the traffic");
        for _ in 0..5 {
            assert_eq!(thread.work_after(30 * US), 30 * US, "it looks until the work comes");
        }
    }

    #[test]
    fn adaptive_never_spins_longer_than_it_may() {
        let mut thread = Thread::new(Strategy::adaptive(LONGEST));
        thread.work_20_times_after(LONGEST - US);
        assert_eq!(thread.work_after(Duration::from_secs(1)), LONGEST);
    }

    #[test]
    fn adaptive_shortens_to_nothing_while_spinning_does_not_pay() {
        let mut thread = Thread::new(Strategy::adaptive(LONGEST));
        thread.work_20_times_after(10 * US);
        let mut last = LONGEST;
        for _ in 0..7 {
            let looked = thread.work_after(Duration::from_millis(1));
            assert!(looked <= last, "{looked:?} after {last:?}");
            last = looked;
        }
        assert_eq!(thread.work_after(Duration::from_millis(1)), Duration::ZERO);
    }

    #[test]
    fn adaptive_spins_again_when_the_traffic_is_back() {
        let mut thread = Thread::new(Strategy::adaptive(LONGEST));
        thread.work_20_times_after(Duration::from_millis(1));
        assert_eq!(thread.work_after(40 * US), Duration::ZERO);
        assert_eq!(thread.work_after(40 * US), 40 * US);
    }

    #[test]
    fn turns_that_follow_work_at_hand_are_no_gaps() {
        let mut thread = Thread::new(Strategy::adaptive(LONGEST));
        for _ in 0..20 {
            assert_eq!(thread.nothing_for(Duration::from_millis(1)), Duration::ZERO);
            thread.turn(true, true);
            thread.turn(true, true);
            thread.turn(true, false);
        }
    }

    #[test]
    fn all_time_is_accounted_for_once() {
        let mut thread = Thread::new(Strategy::adaptive(LONGEST));
        let begun = thread.idle.accounted_until;
        for gap in [20, 20, 400, 20, 5_000, 1] {
            thread.work_after(gap * US);
        }
        let Times { worked, spun, parked } = thread.idle.times();
        assert_eq!(worked, 7 * US, "the first turn was before");
        assert_eq!(worked + spun + parked, thread.now - begun + US);
        assert!(spun > Duration::ZERO && parked > Duration::ZERO, "{spun:?} {parked:?}");
    }
}
