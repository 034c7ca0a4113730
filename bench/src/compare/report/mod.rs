//! A comparison as Markdown, as a chart, and several of them in one table.

mod markdown;
mod overview;
mod svg;

pub use markdown::markdown;
pub use overview::overview;
pub use svg::svg;

use super::Summary;

/// Median and spread of a number, with so many digits; nothing where it was not measured.
fn spread(summary: Option<&Summary>, scale: f64, digits: usize) -> String {
    summary.map_or_else(String::new, |summary| {
        let [median, min, max] = [summary.median, summary.min, summary.max].map(|value| value * scale);
        format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
    })
}
