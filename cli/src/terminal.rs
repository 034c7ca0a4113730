//! Writing on standard error, and redrawing it where it is a terminal.

use crate::process;
use std::io::{self, Write};

/// What is assumed of a terminal that does not say its size.
const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24 };

/// Back to the start of the line, and nothing in it.
const CLEAR_LINE: &str = "\r\x1b[K";

/// Writes text for people. When nobody reads standard error, nothing can be done.
pub(crate) fn say(text: &str) {
    _ = io::stderr().write_all(text.as_bytes());
}

/// Replaces the line that the cursor is in by the part of `line` that fits, without going to the next.
pub(crate) fn replace_line(line: &str) {
    let fitting: String = line.chars().take(size().columns - 1).collect();
    say(&format!("{CLEAR_LINE}{fitting}"));
}

/// Empties the line that the cursor is in.
pub(crate) fn clear_line() {
    say(CLEAR_LINE);
}

/// A page that is drawn over the one before it, whatever became of the terminal's size meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Redrawn {
    /// How many characters each line of the last page has.
    widths: Vec<usize>,
}

impl Redrawn {
    /// Draws `page`, which ends in a line feed, over the last one.
    pub(crate) fn draw(&mut self, page: &str) {
        let text = self.replacement(page, size());
        say(&text);
    }

    /// What replaces the last page by the part of `page` that fits.
    fn replacement(&mut self, page: &str, size: Size) -> String {
        // A terminal that has become narrower has broken the lines that no longer fit. What scrolled out of it cannot
        // be reached.
        let drawn: usize = self.widths.iter().map(|width| width.div_ceil(size.columns).max(1)).sum();
        let above = drawn.min(size.rows - 1);
        let mut text = String::new();
        if above > 0 {
            // Up, to the start of the line, and nothing from there on.
            text.push_str(&format!("\x1b[{above}F\x1b[J"));
        }
        self.widths.clear();
        // The cursor stays in the line below the page.
        for line in page.lines().take(size.rows - 1) {
            let before = text.len();
            text.extend(line.chars().take(size.columns));
            self.widths.push(text[before..].chars().count());
            text.push('\n');
        }
        text
    }
}

/// Size of the terminal in characters, neither of them 0.
#[derive(Debug, Clone, Copy)]
struct Size {
    columns: usize,
    rows: usize,
}

/// The size of the terminal that standard error is.
fn size() -> Size {
    match process::terminal_size() {
        Some((columns, rows)) if columns != 0 && rows != 0 => {
            Size { columns: columns.into(), rows: rows.into() }
        }
        _ => DEFAULT_SIZE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Size = Size { columns: 10, rows: 5 };

    #[test]
    fn a_page_replaces_the_one_before_it() {
        let mut redrawn = Redrawn::default();
        assert_eq!(redrawn.replacement("a\n\nb\n", WIDE), "a\n\nb\n");
        assert_eq!(redrawn.replacement("c\n", WIDE), "\x1b[3F\x1b[Jc\n");
        assert_eq!(redrawn.replacement("d\n", WIDE), "\x1b[1F\x1b[Jd\n");
    }

    #[test]
    fn lines_and_columns_that_do_not_fit_are_left_out() {
        let mut redrawn = Redrawn::default();
        let page = "0123456789ABC\n1\n2\n3\n4\n5\n";
        assert_eq!(redrawn.replacement(page, WIDE), "0123456789\n1\n2\n3\n");
        assert_eq!(redrawn.replacement("x\n", WIDE), "\x1b[4F\x1b[Jx\n");
    }

    #[test]
    fn lines_that_a_narrower_terminal_has_broken_are_all_replaced() {
        let mut redrawn = Redrawn::default();
        redrawn.replacement("01234567\n1\n", WIDE);
        let narrow = Size { columns: 4, rows: 9 };
        assert_eq!(redrawn.replacement("abcdef\n", narrow), "\x1b[3F\x1b[Jabcd\n");
    }

    #[test]
    fn a_terminal_of_one_row_shows_nothing_and_does_no_harm() {
        let mut redrawn = Redrawn::default();
        assert_eq!(redrawn.replacement("a\n", Size { columns: 1, rows: 1 }), "");
    }
}
