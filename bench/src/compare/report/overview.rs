//! Several comparisons in one table: by workload and contender.

use std::fmt::{self, Write};

use super::spread;
use crate::compare::comparison::{Comparison, Row};
use crate::compare::contender::REFERENCE;

/// The table, with a link to each comparison's page and the command that makes them.
pub fn overview(comparisons: &[Comparison], command: &str) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, comparisons, command);
    text
}

fn write_all(text: &mut String, comparisons: &[Comparison], command: &str) -> fmt::Result {
    let mut names: Vec<&str> = Vec::new();
    for row in comparisons.iter().flat_map(|comparison| &comparison.rows) {
        if !names.contains(&&*row.name) {
            names.push(&row.name);
        }
    }
    writeln!(text, "# Overview\n\n```sh\n{command}\n```\n")?;
    writeln!(
        text,
        "M records per CPU second (medians), and in brackets how many times that Millstream handles (median of the \
         rounds' ratios). Below 1 the other one is ahead. Empty: it did not take part; the pages say why, and on which \
         host and revision.\n"
    )?;
    writeln!(text, "| | {} | Millstream's part of the drain |", names.join(" | "))?;
    writeln!(text, "|---|{}", "---:|".repeat(names.len() + 1))?;
    for comparison in comparisons {
        write!(text, "| [{0}]({0}.md) |", comparison.name)?;
        for name in &names {
            let row = comparison.rows.iter().find(|row| row.name == *name);
            write!(text, " {} |", row.map(cell).unwrap_or_default())?;
        }
        let own = comparison.rows.iter().find(|row| row.name == REFERENCE);
        writeln!(text, " {} |", spread(own.and_then(|row| row.of_the_drain.as_ref()), 1.0, 2))?;
    }
    Ok(())
}

fn cell(row: &Row) -> String {
    let speed = row.speed() / 1e6;
    match &row.millstream_against_it {
        Some(ratio) if row.name != REFERENCE => format!("{speed:.2} ({:.2})", ratio.median),
        _ => format!("{speed:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::comparison::tests::comparison;

    #[test]
    fn one_who_did_not_take_part_leaves_an_empty_place() {
        let mut other = comparison();
        other.name = "16b-replay".to_owned();
        other.rows.retain(|row| row.name != "slow");
        let page = overview(&[comparison(), other], "cargo run -- compare --workload main");
        assert!(
            page.contains(
                "| [100b-replay](100b-replay.md) | 7.50 | 2.50 (3.00) | 15.00 (0.50) | 20.00 (0.38) |"
            ),
            "{page}"
        );
        assert!(page.contains("| [16b-replay](16b-replay.md) | 7.50 |  | 15.00 (0.50) |"), "{page}");
    }
}
