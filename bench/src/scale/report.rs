//! What a measurement of this module prints and keeps: a table of medians, with the command that made it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::{env, fs};

use serde::Serialize;

use crate::compare::Host;
use crate::contract::Failure;

/// A table of medians.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    /// What was done, and how to read it.
    pub(super) about: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// One line of a table.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// One per column.
    pub(super) cells: Vec<Cell>,
}

/// The rounds of one cell.
#[derive(Debug, Serialize)]
pub(super) struct Cell {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Cell {
    /// The median and the spread of what the rounds gave; zero if there were none.
    pub(super) fn new(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        let at = |index: usize| rounds.get(index).copied().unwrap_or_default();
        let last = rounds.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(last.div_ceil(2))) / 2.0, least: at(0), most: at(last) }
    }
}

impl Table {
    fn markdown(&self, command: &str, rounds: usize, host: &Host) -> String {
        let mut text = format!("{}\n\n", self.about);
        let _ = writeln!(text, "| | {} |", self.columns.join(" | "));
        let _ = writeln!(text, "|---|{}", "---:|".repeat(self.columns.len()));
        for row in &self.rows {
            let cells: Vec<String> = row.cells.iter().map(Cell::markdown).collect();
            let _ = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
        }
        let _ = writeln!(text, "\nMedians of {rounds} alternating rounds (least to most), by `{command}`.\n");
        for (name, value) in host.lines() {
            let _ = writeln!(text, "- {name}: {value}");
        }
        text
    }

    /// Prints the table, and writes it into a folder if one is named.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn publish(
        &self,
        name: &str,
        rounds: usize,
        host: &Host,
        folder: Option<&Path>,
    ) -> Result<(), Failure> {
        let command = "cargo run --release -p millstream-bench -- ".to_owned()
            + &env::args().skip(1).collect::<Vec<_>>().join(" ");
        let markdown = self.markdown(&command, rounds, host);
        std::io::stdout().write_all(markdown.as_bytes())?;
        let Some(folder) = folder else { return Ok(()) };
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{name}.md")), markdown)?;
        let all = serde_json::json!({ "command": command, "rounds": rounds, "host": host, "table": self });
        fs::write(folder.join(format!("{name}.json")), serde_json::to_string_pretty(&all)? + "\n")?;
        Ok(())
    }
}

impl Cell {
    fn markdown(&self) -> String {
        let digits = match self.median.abs() {
            median if median >= 100.0 => 0,
            median if median >= 10.0 => 1,
            _ => 3,
        };
        let Self { median, least, most } = self;
        format!("{median:.digits$} ({least:.digits$} to {most:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_the_median_of_its_rounds() {
        let cell = Cell::new(vec![5.0, 1.0, 3.0, 100.0]);
        assert_eq!((cell.median, cell.least, cell.most), (4.0, 1.0, 100.0));
        assert_eq!(Cell::new(vec![2.5]).markdown(), "2.500 (2.500 to 2.500)");
    }
}
