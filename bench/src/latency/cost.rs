//! Latency against what it costs: each client at its CPU time per second, the middle record filled and the slowest in a
//! hundred as a ring.

use super::canvas::{Canvas, LEFT, RIGHT, WIDTH};

/// One client.
pub(super) struct Point<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// CPU seconds per second.
    pub(super) cpu_share: f64,
    /// The middle of its records.
    pub(super) p50_us: f64,
    /// 99 of 100 of its records took no longer.
    pub(super) p99_us: f64,
    /// Whether it is a point of the curve, which is of one client in several settings.
    pub(super) is_on_curve: bool,
}

/// The drawing.
pub(super) fn cost(title: &str, points: &[Point<'_>]) -> String {
    // A process of several threads on one core uses no more than that, but for what rounding adds.
    let most = points.iter().map(|point| point.cpu_share).fold(1.0, f64::max);
    let x = |share: f64| LEFT + (WIDTH - LEFT - RIGHT) * share / most;
    let mut canvas = Canvas::new(title, points.iter().flat_map(|point| [point.p50_us, point.p99_us]));
    for tenths in (0..=10).step_by(2) {
        let share = f64::from(tenths) / 10.0;
        canvas.tick(x(share), &format!("{share:.1}"));
    }
    canvas.axis("CPU seconds per second (filled: p50, ring: p99)");
    let mut curve: Vec<&Point<'_>> = points.iter().filter(|point| point.is_on_curve).collect();
    curve.sort_by(|a, b| a.cpu_share.total_cmp(&b.cpu_share));
    canvas.line(0, true, curve.iter().map(|point| (x(point.cpu_share), point.p50_us)));
    canvas.line(0, true, curve.iter().map(|point| (x(point.cpu_share), point.p99_us)));
    for (index, point) in points.iter().enumerate() {
        canvas.point(index, true, x(point.cpu_share), point.p50_us);
        canvas.point(index, false, x(point.cpu_share), point.p99_us);
        canvas.name(index, point.name);
    }
    canvas.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_goes_from_the_cheapest_to_the_dearest_through_its_own_points() {
        let point =
            |name, cpu_share, is_on_curve| Point { name, cpu_share, p50_us: 20.0, p99_us: 90.0, is_on_curve };
        let points = [point("spinning", 1.0, true), point("other", 0.5, false), point("parked", 0.1, true)];
        let svg = cost("cost", &points);
        let curve = svg.lines().find(|line| line.starts_with("<polyline")).unwrap();
        let places =
            curve.split('"').nth(1).unwrap().split(' ').map(|place| place.split_once(',').unwrap().0);
        let places: Vec<f64> = places.map(|x| x.parse().unwrap()).collect();
        assert_eq!(places.len(), 2);
        assert_eq!((places[0], places[1]), (LEFT + (WIDTH - LEFT - RIGHT) * 0.1, WIDTH - RIGHT));
        assert_eq!(svg.matches("<circle").count(), 6);
    }
}
