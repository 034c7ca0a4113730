//! What the drawings share: a page, a logarithmic axis of microseconds, marks and their names.

use std::fmt::Write;

pub(super) const WIDTH: f64 = 900.0;
pub(super) const HEIGHT: f64 = 460.0;
pub(super) const LEFT: f64 = 80.0;
pub(super) const RIGHT: f64 = 220.0;
pub(super) const TOP: f64 = 44.0;
pub(super) const BOTTOM: f64 = 56.0;
/// Told apart also by those who do not see all colours: by lightness, and by the order of the names.
const COLOURS: [&str; 11] = [
    "#0b3d5c", "#1b6ca8", "#4f9ad0", "#7fb7df", "#2a9d8f", "#5a3d8a", "#e76f51", "#c1440e", "#e9a23b",
    "#8a5a00", "#b03a6f",
];

/// A drawing on its way.
pub(super) struct Canvas {
    svg: String,
    low_us: f64,
    high_us: f64,
}

impl Canvas {
    /// A page with a title, whose vertical axis has whole decades around these times.
    pub(super) fn new(title: &str, times_us: impl Iterator<Item = f64>) -> Self {
        let (low_us, high_us) = decades(times_us);
        let mut canvas = Self { svg: String::new(), low_us, high_us };
        canvas.add(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\" fill=\"#222222\">{}</text>",
            escaped(title)
        ));
        let mut us = low_us;
        while us <= high_us * 1.001 {
            let (y, end, label) = (canvas.y(us), WIDTH - RIGHT, LEFT - 8.0);
            canvas.add(format_args!(
                "<path d=\"M{LEFT} {y:.1}H{end:.1}\" stroke=\"#dddddd\"/><text x=\"{label:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\" fill=\"#444444\">{us} us</text>",
                y + 4.0
            ));
            us *= 10.0;
        }
        canvas
    }

    /// A line from top to bottom, and what it stands for.
    pub(super) fn tick(&mut self, x: f64, label: &str) {
        let (bottom, base) = (HEIGHT - BOTTOM, HEIGHT - BOTTOM + 18.0);
        self.add(format_args!(
            "<path d=\"M{x:.1} {TOP}V{bottom:.1}\" stroke=\"#eeeeee\"/><text x=\"{x:.1}\" y=\"{base:.1}\" \
             text-anchor=\"middle\" fill=\"#444444\">{label}</text>"
        ));
    }

    /// What the horizontal axis shows.
    pub(super) fn axis(&mut self, label: &str) {
        let (x, y) = (LEFT + (WIDTH - LEFT - RIGHT) / 2.0, HEIGHT - 14.0);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"#444444\">{label}</text>"
        ));
    }

    /// Joins points; their times are in microseconds.
    pub(super) fn line(&mut self, index: usize, is_dashed: bool, points: impl Iterator<Item = (f64, f64)>) {
        let places: Vec<String> = points.map(|(x, us)| format!("{x:.1},{:.1}", self.y(us))).collect();
        let dashes = if is_dashed { " stroke-dasharray=\"5 4\"" } else { "" };
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\"{dashes}/>",
            places.join(" "),
            colour(index)
        ));
    }

    /// A point, filled or as a ring.
    pub(super) fn point(&mut self, index: usize, is_filled: bool, x: f64, us: f64) {
        let colour = colour(index);
        let fill = if is_filled { colour } else { "#ffffff" };
        let y = self.y(us);
        self.add(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"1.8\"/>"
        ));
    }

    /// The name of what is drawn in a colour.
    pub(super) fn name(&mut self, index: usize, name: &str) {
        let (mark, base) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 20.0 * index as f64);
        let (line, text, colour) = (base - 4.0, mark + 24.0, colour(index));
        self.add(format_args!(
            "<path d=\"M{mark} {line:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>\
             <text x=\"{text:.1}\" y=\"{base:.1}\" fill=\"#222222\">{}</text>",
            escaped(name)
        ));
    }

    /// The whole drawing.
    pub(super) fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }

    /// Where a time lies; one outside of the axis lies at its end.
    fn y(&self, us: f64) -> f64 {
        let (low, high) = (self.low_us.log10(), self.high_us.log10());
        let part = (us.clamp(self.low_us, self.high_us).log10() - low) / (high - low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part
    }

    fn add(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.svg, "{line}");
    }
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// The powers of ten around all of these times, at least a decade apart and from 1 us on.
fn decades(times_us: impl Iterator<Item = f64>) -> (f64, f64) {
    let bounds = |(low, high): (f64, f64), us: f64| (low.min(us.max(1.0)), high.max(us.max(1.0)));
    let (low, high) = times_us.fold((f64::INFINITY, 1.0), bounds);
    let first = if low.is_finite() { low.log10().floor() } else { 0.0 };
    let last = high.log10().ceil().max(first + 1.0);
    (10_f64.powf(first), 10_f64.powf(last))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_has_whole_decades_around_all_times() {
        assert_eq!(decades([20.0, 3_000.0].into_iter()), (10.0, 10_000.0));
        assert_eq!(decades([100.0].into_iter()), (100.0, 1_000.0));
        assert_eq!(decades([0.2].into_iter()), (1.0, 10.0));
        assert_eq!(decades(std::iter::empty()), (1.0, 10.0));
    }

    #[test]
    fn a_decade_is_as_high_as_the_next_one_and_nothing_leaves_the_page() {
        let canvas = Canvas::new("t", [1.0, 10_000.0].into_iter());
        let [one, ten, hundred] = [1.0, 10.0, 100.0].map(|us| canvas.y(us));
        assert!((one - ten - (ten - hundred)).abs() < 1e-9);
        assert_eq!((canvas.y(0.001), canvas.y(1e9)), (HEIGHT - BOTTOM, TOP));
    }

    #[test]
    fn names_cannot_break_the_drawing() {
        let mut canvas = Canvas::new("a & b", std::iter::empty());
        canvas.name(0, "a<b");
        let svg = canvas.finish();
        assert!(svg.contains("a &amp; b") && svg.contains("a&lt;b"));
    }
}
