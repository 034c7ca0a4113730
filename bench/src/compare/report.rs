//! A comparison as Markdown.

use std::fmt::Write;

use super::{Contender, Host, Plan, Rounds};
use crate::contract::Outcome;

/// A table of medians, the ratio of records per CPU second, and all that is needed to repeat it.
pub fn markdown(plan: &Plan, rounds: &Rounds, workload: &str, host: &Host) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, plan, rounds, workload, host);
    text
}

/// One row of the table: its name, how to get it from a run, digits after the point.
type Row = (&'static str, fn(&Outcome) -> f64, usize);

const ROWS: &[Row] = &[
    ("M records per CPU second", |run| run.records_per_cpu_s() / 1e6, 3),
    ("M records/s", |run| run.records_per_s() / 1e6, 3),
    ("value MB/s", |run| run.records_per_s() * run.value_bytes as f64 / run.records.max(1) as f64 / 1e6, 1),
    ("CPU s", |run| run.cpu_s, 3),
    ("CPU s of the host", |run| run.host_cpu_s, 2),
    ("wall s", |run| run.wall_s, 3),
    ("first record ms", |run| run.first_record_ms, 1),
    ("max RSS MiB", |run| run.max_rss_kb as f64 / 1024.0, 1),
];

fn write_all(
    text: &mut String,
    plan: &Plan,
    rounds: &Rounds,
    workload: &str,
    host: &Host,
) -> std::fmt::Result {
    let names: Vec<&str> = plan.contenders.iter().map(|contender| &*contender.name).collect();
    let (Some((first, others)), Some(summary)) = (names.split_first(), rounds.compared.first()) else {
        return Ok(());
    };
    writeln!(text, "## {first} against {}\n", others.join(", "))?;
    writeln!(text, "- workload: {workload}")?;
    writeln!(
        text,
        "- contents equal: {} records, {} value bytes, checksum {:016x}",
        summary.records,
        summary.value_bytes,
        summary.checksum.unwrap_or_default()
    )?;
    writeln!(
        text,
        "- host: {}, {} cores, CPU quota {}, Linux {}",
        host.cpu, host.cores, host.cpu_quota, host.kernel
    )?;
    for contender in &plan.contenders {
        write_contender(text, plan, contender)?;
    }
    writeln!(text, "\nMedians of {} rounds in turn, one pass of each discarded:\n", rounds.counted.len())?;
    writeln!(text, "| | {} |", names.join(" | "))?;
    writeln!(text, "|---|{}", "---:|".repeat(names.len()))?;
    for row in ROWS {
        write_row(text, row, names.len(), rounds)?;
    }
    for (index, other) in others.iter().enumerate() {
        write_ratio(text, first, other, index + 1, rounds)?;
    }
    Ok(())
}

fn write_row(text: &mut String, row: &Row, columns: usize, rounds: &Rounds) -> std::fmt::Result {
    let &(name, value, digits) = row;
    write!(text, "| {name} |")?;
    for column in 0..columns {
        let middle = median(rounds.counted.iter().map(|round| value(&round[column])));
        write!(text, " {middle:.digits$} |")?;
    }
    writeln!(text)
}

/// What the first contender handles against the one in this column, round by round.
fn write_ratio(
    text: &mut String,
    first: &str,
    other: &str,
    column: usize,
    rounds: &Rounds,
) -> std::fmt::Result {
    let ratio = |round: &Vec<Outcome>| round[0].records_per_cpu_s() / round[column].records_per_cpu_s();
    let ratios: Vec<f64> = rounds.counted.iter().map(ratio).collect();
    let least = ratios.iter().copied().fold(f64::MAX, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    writeln!(
        text,
        "\n**{first} handles {:.2} times the records per CPU second of {other}** (median of the rounds' ratios; \
         {least:.2} to {most:.2}).",
        median(ratios.into_iter())
    )
}

fn write_contender(text: &mut String, plan: &Plan, contender: &Contender) -> std::fmt::Result {
    writeln!(
        text,
        "- {} ({}): `{}`",
        contender.name,
        contender.version,
        contender.command_line(&plan.request)
    )
}

/// The middle value, or the mean of the two middle ones; 0 of nothing.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_values_is_the_mean_of_the_middle_two() {
        assert_eq!(median([4.0, 1.0, 3.0, 100.0].into_iter()), 3.5);
        assert_eq!(median([5.0, 1.0, 3.0].into_iter()), 3.0);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
