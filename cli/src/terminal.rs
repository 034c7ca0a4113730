//! Writing on standard error, and redrawing it where it is a terminal.

use std::io::{self, Write};

/// Back to the start of the line, and nothing in it.
const CLEAR_LINE: &str = "\r\x1b[K";

/// Writes text for people. When nobody reads standard error, nothing can be done.
pub(crate) fn say(text: &str) {
    _ = io::stderr().write_all(text.as_bytes());
}

/// Replaces the line that the cursor is in, without going to the next.
pub(crate) fn replace_line(line: &str) {
    say(&format!("{CLEAR_LINE}{line}"));
}

/// Empties the line that the cursor is in.
pub(crate) fn clear_line() {
    say(CLEAR_LINE);
}

/// Replaces the last `above` lines by `page`, which ends in a line feed.
pub(crate) fn replace_lines(above: usize, page: &str) {
    let mut text = String::new();
    if above > 0 {
        // Up, to the start of the line, and nothing from there on.
        text.push_str(&format!("\x1b[{above}F\x1b[J"));
    }
    text.push_str(page);
    say(&text);
}
