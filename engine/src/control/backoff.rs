//! How long to wait before the next try: exponential, with jitter, within limits.

use std::time::Duration;

/// The wait is spread over this part of itself to both sides, so that members that failed together do not come back
/// together.
const JITTER: f64 = 0.2;
/// Doublings beyond which the wait is at any sensible maximum; keeps the arithmetic small.
const MAX_DOUBLINGS: u32 = 20;

/// A retry schedule: `initial`, doubled with each failure up to `max`, ± 20 %.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Nothing failed yet.
    pub(super) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max: max.max(initial), failures: 0 }
    }

    /// Counts a failure and says how long to wait before the next try.
    pub(super) fn failed(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let doubled = self.initial.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        let spread = 1.0 - JITTER + 2.0 * JITTER * rng.f64();
        doubled.min(self.max).mul_f64(spread)
    }

    /// A try succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_over_after_a_success() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(1000));
        for expected_ms in [50.0, 100.0, 200.0, 400.0, 800.0, 1000.0, 1000.0] {
            let wait_ms = backoff.failed(&mut rng).as_secs_f64() * 1e3;
            assert!(
                (expected_ms * 0.8..=expected_ms * 1.2).contains(&wait_ms),
                "{wait_ms} for {expected_ms}"
            );
        }
        backoff.reset();
        assert!(backoff.failed(&mut rng) <= Duration::from_millis(60));
    }

    #[test]
    fn a_thousand_failures_do_not_overflow() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_secs(3600), Duration::MAX / 2);
        for _ in 0..1000 {
            assert!(backoff.failed(&mut rng) > Duration::ZERO);
        }
    }
}
