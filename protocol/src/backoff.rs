//! How long to wait before the next try, by Kafka's rule (KIP-580): the wait doubles with each failure in a row up to a
//! maximum, and is spread so that those who failed together do not come back together.

use std::time::Duration;

/// The wait is spread by this part of itself to both sides.
const JITTER: f64 = 0.2;
/// Doublings beyond which the wait is at any sensible maximum; keeps the arithmetic small.
const MAX_DOUBLINGS: u32 = 20;

/// The wait that follows so many failures in a row (at least one): `initial`, doubled with each further failure up to
/// `max`, give or take a fifth.
pub fn backoff(initial: Duration, max: Duration, failures: u32, rng: &mut fastrand::Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
    let wait = initial.saturating_mul(1 << doublings).min(max.max(initial));
    wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * rng.f64())
}

/// A retry schedule that counts its failures.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Nothing failed yet.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, failures: 0 }
    }

    /// Counts a failure and says how long to wait before the next try.
    pub fn failed(&mut self, rng: &mut fastrand::Rng) -> Duration {
        self.failures = self.failures.saturating_add(1);
        backoff(self.initial, self.max, self.failures, rng)
    }

    /// A try succeeded.
    pub fn reset(&mut self) {
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
    fn more_failures_than_can_be_counted_overflow_nothing() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_secs(3600), Duration::from_secs(7200));
        backoff.failures = u32::MAX - 1;
        for _ in 0..3 {
            assert!(backoff.failed(&mut rng) > Duration::ZERO);
        }
    }
}
