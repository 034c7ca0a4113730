//! A comparison as a bar chart that reads on light and on dark ground.

use std::fmt::{self, Write};

use crate::compare::comparison::{Comparison, Metric, Row};
use crate::compare::contender::Kind;

const WIDTH: f64 = 900.0;
/// Where bars begin; titles stand left of it.
const BARS_LEFT: f64 = 330.0;
/// Numbers stand right of the longest bar.
const BARS_WIDTH: f64 = 430.0;
const TOP: f64 = 70.0;
const BAR_PITCH: f64 = 26.0;
const BAR_HEIGHT: f64 = 16.0;
const BOTTOM: f64 = 46.0;
const TICKS: u32 = 4;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600;font-size:15px}\
.note{fill:#59636e;font-size:12px}.own{fill:#0969da}.client{fill:#8c959f}\
.limit{fill:none;stroke:#8c959f;stroke-dasharray:4 3}\
.spread{stroke:#1f2328;stroke-width:1.5}.grid{stroke:#d1d9e0}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.own{fill:#4493f8}.client{fill:#656c76}\
.spread{stroke:#e6edf3}.grid{stroke:#3d444d}}";

/// The chart: records per CPU second, medians as bars with the spread over the rounds as a line.
pub fn svg(comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, comparison);
    text
}

fn write_all(text: &mut String, comparison: &Comparison) -> fmt::Result {
    let rows = comparison.ranked();
    let bars = BAR_PITCH * rows.len() as f64;
    let height = TOP + bars + BOTTOM;
    let most =
        rows.iter().filter_map(|row| row.figures.get(&Metric::RecordsPerCpuS)).map(|summary| summary.max);
    let scale = Scale::up_to(most.fold(0.0, f64::max) / 1e6);
    writeln!(
        text,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">"
    )?;
    writeln!(text, "<style>{STYLE}</style>")?;
    let title = format!("{}: million records per CPU second of the client", comparison.name);
    writeln!(text, "<title>{}</title>", escaped(&title))?;
    writeln!(text, "<text class=\"title\" x=\"12\" y=\"24\">{}</text>", escaped(&title))?;
    writeln!(
        text,
        "<text class=\"note\" x=\"12\" y=\"44\">{}</text>",
        escaped(&comparison.workload_description)
    )?;
    write_grid(text, &scale, bars)?;
    for (index, row) in rows.iter().enumerate() {
        write_bar(text, &scale, row, TOP + BAR_PITCH * index as f64)?;
    }
    let note = format!(
        "medians of {} rounds, line: smallest to largest; {}; dashed: receives and decodes nothing",
        comparison.rounds, comparison.placement
    );
    writeln!(text, "<text class=\"note\" x=\"12\" y=\"{}\">{}</text>", height - 8.0, escaped(&note))?;
    writeln!(text, "</svg>")
}

fn write_grid(text: &mut String, scale: &Scale, bars: f64) -> fmt::Result {
    for tick in 0..=TICKS {
        let value = scale.most * f64::from(tick) / f64::from(TICKS);
        let x = scale.x(value);
        let bottom = TOP + bars;
        writeln!(text, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>")?;
        let y = bottom + 16.0;
        writeln!(text, "<text class=\"note\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{value}</text>")?;
    }
    Ok(())
}

fn write_bar(text: &mut String, scale: &Scale, row: &Row, top: f64) -> fmt::Result {
    let Some(summary) = row.figures.get(&Metric::RecordsPerCpuS) else { return Ok(()) };
    let [median, min, max] = [summary.median, summary.min, summary.max].map(|value| value / 1e6);
    let class = match row.kind {
        Kind::Own => "own",
        Kind::Client => "client",
        Kind::Limit => "limit",
    };
    let (middle, baseline) = (top + BAR_PITCH / 2.0, top + BAR_PITCH / 2.0 + 4.5);
    let (title_x, bar_top) = (BARS_LEFT - 8.0, middle - BAR_HEIGHT / 2.0);
    let title = escaped(&row.title);
    writeln!(text, "<text x=\"{title_x}\" y=\"{baseline}\" text-anchor=\"end\">{title}</text>")?;
    let width = scale.x(median) - BARS_LEFT;
    writeln!(
        text,
        "<rect class=\"{class}\" x=\"{BARS_LEFT}\" y=\"{bar_top}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>"
    )?;
    let (from, to) = (scale.x(min), scale.x(max));
    writeln!(
        text,
        "<line class=\"spread\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>"
    )?;
    writeln!(text, "<text x=\"{:.1}\" y=\"{baseline}\">{median:.2}</text>", to.max(scale.x(median)) + 8.0)
}

/// From 0 to a round number.
struct Scale {
    most: f64,
}

impl Scale {
    fn up_to(value: f64) -> Self {
        let power = 10f64.powf(value.max(1e-6).log10().floor());
        let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
        let most = steps.into_iter().map(|step| step * power).find(|most| *most >= value);
        Self { most: most.unwrap_or(10.0 * power) }
    }

    fn x(&self, value: f64) -> f64 {
        BARS_LEFT + BARS_WIDTH * value / self.most
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::comparison::tests::comparison;

    #[test]
    fn bars_are_as_long_as_what_they_stand_for() {
        let chart = svg(&comparison());
        let widths: Vec<f64> = chart
            .lines()
            .filter(|line| line.starts_with("<rect"))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        // The drain's 20 of 20, then 15, 7.5 and 2.5.
        assert_eq!(widths, [430.0, 322.5, 161.2, 53.8].map(|width| width));
        assert!(chart.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn what_xml_would_take_for_its_own_is_escaped() {
        let chart = svg(&comparison());
        assert!(chart.contains("the slow &lt;&amp;&gt;") && !chart.contains("<&>"));
    }

    #[test]
    fn the_scale_ends_at_a_round_number_above_the_largest() {
        for (value, most) in [(0.0, 1e-6), (3.4, 4.0), (41.0, 60.0), (100.0, 100.0), (0.05, 0.06)] {
            let scale = Scale::up_to(value);
            assert!((scale.most - most).abs() < 1e-9, "{value}: {}", scale.most);
        }
    }
}
