//! Exponential backoff with jitter, as `retry.backoff.ms` and `retry.backoff.max.ms` mean it (KIP-580).

use std::time::Duration;

/// After so many doublings the delay grows no more; it has met any sensible maximum long before.
const MAX_DOUBLINGS: u32 = 20;
/// A delay is spread by a fifth to both sides, so that members do not retry in step.
const JITTER: f64 = 0.2;

#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    random: fastrand::Rng,
}

impl Backoff {
    pub(super) fn new(first: Duration, max: Duration, seed: u64) -> Backoff {
        Backoff { first, max, failures: 0, random: fastrand::Rng::with_seed(seed) }
    }

    /// The delay before the next attempt, after one more failure.
    pub(super) fn next_delay(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        let factor = 1.0 - JITTER + 2.0 * JITTER * self.random.f64();
        doubled.min(self.max).mul_f64(factor)
    }

    /// Starts over after a success.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_within_their_jitter_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 1);
        for expected in [100u64, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next_delay().as_millis() as u64;
            assert!((expected * 8 / 10..=expected * 12 / 10).contains(&delay), "{delay} for {expected}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(120));
    }

    #[test]
    fn many_failures_overflow_nothing() {
        let mut backoff = Backoff::new(Duration::MAX / 4, Duration::from_secs(1), 1);
        backoff.failures = u32::MAX;
        assert!(backoff.next_delay() <= Duration::from_millis(1200));
    }
}
