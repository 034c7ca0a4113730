//! Percentile curves: how many records were slower on one axis, from all of them to one in ten thousand, and their time
//! on the other; both logarithmic.

use hdrhistogram::Histogram;

use super::canvas::{Canvas, LEFT, RIGHT, WIDTH};

/// Decades of the share of slower records.
const NINES: u32 = 4;
const STEPS_PER_NINE: u32 = 40;
const TICKS: [&str; NINES as usize + 1] = ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"];

/// The drawing of these histograms of nanoseconds.
pub(super) fn percentiles(title: &str, curves: &[(&str, &Histogram<u64>)]) -> String {
    let ends =
        curves.iter().flat_map(|(_, histogram)| [us_at(histogram, 0.0), us_at(histogram, f64::from(NINES))]);
    let mut canvas = Canvas::new(title, ends);
    for (nines, label) in (0..).zip(TICKS) {
        canvas.tick(x(f64::from(nines)), label);
    }
    canvas.axis("percentile of records");
    for (index, (name, histogram)) in curves.iter().enumerate() {
        let steps = (0..=NINES * STEPS_PER_NINE).map(|step| f64::from(step) / f64::from(STEPS_PER_NINE));
        canvas.line(index, false, steps.map(|nines| (x(nines), us_at(histogram, nines))));
        canvas.name(index, name);
    }
    canvas.finish()
}

fn x(nines: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * nines / f64::from(NINES)
}

/// The time of the percentile with so many nines.
fn us_at(histogram: &Histogram<u64>, nines: f64) -> f64 {
    histogram.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::canvas::{BOTTOM, HEIGHT, TOP};

    #[test]
    fn a_slower_client_is_drawn_above_a_faster_one_and_the_axes_hold_both() {
        let of = |values: &[u64]| {
            let mut histogram = Histogram::<u64>::new(3).unwrap();
            values.iter().for_each(|&ns| histogram.record(ns).unwrap());
            histogram
        };
        let (fast, slow) = (of(&[20_000, 30_000]), of(&[200_000, 3_000_000]));
        let svg = percentiles("wire to handler", &[("fast", &fast), ("slow", &slow)]);
        let places = |line: &str| -> Vec<(f64, f64)> {
            let points = line.split('"').nth(1).unwrap().split(' ');
            let place = points.map(|point| point.split_once(',').unwrap());
            place.map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap())).collect()
        };
        let lines: Vec<Vec<(f64, f64)>> =
            svg.lines().filter(|line| line.starts_with("<polyline")).map(places).collect();
        assert!(lines[0].iter().zip(&lines[1]).all(|(fast, slow)| slow.1 < fast.1 && slow.0 == fast.0));
        assert!(lines.iter().flatten().all(|(_, y)| (TOP..=HEIGHT - BOTTOM).contains(y)));
        assert_eq!((lines[0][0].0, lines[0].last().unwrap().0), (LEFT, WIDTH - RIGHT));
    }
}
