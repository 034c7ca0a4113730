//! Percentile curves as SVG: the share of slower records on one axis, from all of them to one in ten thousand, their
//! time on the other; both logarithmic.

use std::fmt::Write;

use hdrhistogram::Histogram;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;
/// Decades of the share of slower records.
const NINES: f64 = 4.0;
const POINTS: u32 = 160;
const TICKS: [(f64, &str); 5] =
    [(0.0, "0 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")];
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#4f9ad0", "#7fb7df", "#2a9d8f", "#0b3d5c", "#e76f51", "#c1440e", "#e9a23b"];

/// One client's curve.
pub(super) struct Curve<'a> {
    /// What it is called.
    pub(super) name: &'a str,
    /// Nanoseconds.
    pub(super) histogram: &'a Histogram<u64>,
}

/// The drawing.
pub(super) fn percentiles(title: &str, curves: &[Curve<'_>]) -> String {
    let (low_us, high_us) = range(curves);
    let x = |nines: f64| LEFT + (WIDTH - LEFT - RIGHT) * nines / NINES;
    let y = |us: f64| {
        let part = (us.max(low_us).log10() - low_us.log10()) / (high_us.log10() - low_us.log10());
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.min(1.0)
    };
    let mut svg = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" fill=\"#222222\">{}</text>",
        escaped(title)
    );
    let mut us = low_us;
    while us <= high_us * 1.001 {
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {y:.1}H{end:.1}\" stroke=\"#dddddd\"/><text x=\"{label:.1}\" y=\"{base:.1}\" \
             text-anchor=\"end\" fill=\"#444444\">{us} us</text>",
            y = y(us),
            end = WIDTH - RIGHT,
            label = LEFT - 8.0,
            base = y(us) + 4.0,
        );
        us *= 10.0;
    }
    for (nines, label) in TICKS {
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {TOP}V{bottom:.1}\" stroke=\"#eeeeee\"/><text x=\"{x:.1}\" y=\"{base:.1}\" \
             text-anchor=\"middle\" fill=\"#444444\">{label}</text>",
            x = x(nines),
            bottom = HEIGHT - BOTTOM,
            base = HEIGHT - BOTTOM + 18.0,
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#444444\">percentile of records</text>",
        x(NINES / 2.0),
        HEIGHT - 14.0
    );
    for (index, curve) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<String> = (0..=POINTS)
            .map(|step| NINES * f64::from(step) / f64::from(POINTS))
            .map(|nines| {
                let quantile = 1.0 - 10_f64.powf(-nines);
                let us = curve.histogram.value_at_quantile(quantile) as f64 / 1e3;
                format!("{:.1},{:.1}", x(nines), y(us))
            })
            .collect();
        let (mark, base) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 20.0 * index as f64);
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>\n\
             <path d=\"M{mark} {line:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{text:.1}\" y=\"{base:.1}\" fill=\"#222222\">{name}</text>",
            points.join(" "),
            line = base - 4.0,
            text = mark + 24.0,
            name = escaped(curve.name),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Whole decades of microseconds around all that is drawn.
fn range(curves: &[Curve<'_>]) -> (f64, f64) {
    let us = |quantile: f64| {
        let values = curves.iter().map(move |curve| curve.histogram.value_at_quantile(quantile));
        values.map(|ns| (ns as f64 / 1e3).max(1.0))
    };
    let low = us(0.0).fold(f64::INFINITY, f64::min);
    let high = us(1.0 - 10_f64.powf(-NINES)).fold(1.0, f64::max);
    let low = if low.is_finite() { low } else { 1.0 };
    let decade = |us: f64| 10_f64.powf(us);
    (decade(low.log10().floor()), decade((high.log10()).ceil().max(low.log10().floor() + 1.0)))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slower_client_is_drawn_above_a_faster_one_and_the_axes_hold_both() {
        let of = |values: &[u64]| {
            let mut histogram = Histogram::<u64>::new(3).unwrap();
            values.iter().for_each(|&ns| histogram.record(ns).unwrap());
            histogram
        };
        let (fast, slow) = (of(&[20_000, 30_000]), of(&[200_000, 3_000_000]));
        let curves = [Curve { name: "a<b", histogram: &fast }, Curve { name: "slow", histogram: &slow }];
        assert_eq!(range(&curves), (10.0, 10_000.0));
        let svg = percentiles("wire to handler", &curves);
        let heights = |line: &str| -> Vec<f64> {
            let points = line.split('"').nth(1).unwrap();
            points.split(' ').map(|point| point.split_once(',').unwrap().1.parse().unwrap()).collect()
        };
        let lines: Vec<Vec<f64>> =
            svg.lines().filter(|line| line.starts_with("<polyline")).map(heights).collect();
        assert!(lines[0].iter().zip(&lines[1]).all(|(fast, slow)| slow < fast));
        assert!(lines.iter().flatten().all(|y| (TOP..=HEIGHT - BOTTOM).contains(y)));
        assert!(svg.contains("a&lt;b"));
    }
}
