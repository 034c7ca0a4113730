//! Medians, quartiles and spreads of a few measurements.

use serde::{Deserialize, Serialize};

/// What several measurements of one thing have in common, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The middle one, or the mean of the two middle ones.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// A quarter of them is below this one.
    pub lower_quartile: f64,
    /// A quarter of them is above this one.
    pub upper_quartile: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Of these measurements; `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&values, 0.5)?,
            min: *values.first()?,
            lower_quartile: quantile(&values, 0.25)?,
            upper_quartile: quantile(&values, 0.75)?,
            max: *values.last()?,
        })
    }

    /// Of what one was to the other in each round. A host that is slow for a while slows both, so a ratio within a
    /// round says more than one of medians. Rounds in which the other is 0 do not count.
    pub fn of_ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        Self::of(pairs.into_iter().filter(|(_, other)| *other > 0.0).map(|(one, other)| one / other))
    }
}

/// Between the two nearest of the sorted values, in proportion.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_values_is_the_mean_of_the_middle_two() {
        let median = |values: &[f64]| Summary::of(values.iter().copied()).map(|summary| summary.median);
        assert_eq!(median(&[4.0, 1.0, 3.0, 100.0]), Some(3.5));
        assert_eq!(median(&[5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn quartiles_lie_between_the_nearest_values() {
        let summary = Summary::of([9.0, 1.0, 3.0, 5.0, 7.0]).unwrap();
        assert_eq!(
            (summary.min, summary.lower_quartile, summary.upper_quartile, summary.max),
            (1.0, 3.0, 7.0, 9.0)
        );
        let summary = Summary::of([1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((summary.lower_quartile, summary.upper_quartile), (1.75, 3.25));
    }

    #[test]
    fn ratios_are_paired_by_round() {
        // Medians of each side are 10 and 10; in each round one is twice or half of the other.
        let summary = Summary::of_ratios([(10.0, 5.0), (20.0, 10.0), (5.0, 10.0), (3.0, 0.0)]).unwrap();
        assert_eq!((summary.min, summary.median, summary.max), (0.5, 2.0, 2.0));
    }
}
