//! Exponential backoff with jitter, by Kafka's rules (KIP-580): the base doubles with each failure up to a limit,
//! spread by a fifth either way so that clients do not come back together.

use std::time::Duration;

/// Doublings after which the delay is at its limit whatever the base.
const DOUBLINGS_MAX: u32 = 30;
/// How far a delay is spread either way.
const JITTER: f64 = 0.2;

/// The delay before the attempt that follows `failures` failures in a row; at most `max` and a fifth.
pub(crate) fn backoff(base: Duration, max: Duration, failures: u32, rng: &mut fastrand::Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(DOUBLINGS_MAX);
    let delay = base.saturating_mul(1 << doublings).min(max.max(base));
    delay.mul_f64(1.0 + JITTER * (rng.f64() * 2.0 - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_doubles_up_to_its_limit_within_the_jitter() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(1));
        for (failures, expected_ms) in [(1, 100.0), (2, 200.0), (4, 800.0), (5, 1000.0), (u32::MAX, 1000.0)] {
            let delay_ms = backoff(base, max, failures, &mut rng).as_secs_f64() * 1e3;
            assert!((delay_ms / expected_ms - 1.0).abs() <= JITTER + 1e-9, "{failures}: {delay_ms}");
        }
    }
}
