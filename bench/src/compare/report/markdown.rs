//! A comparison as a page: the table, all that is needed to repeat it, and what is not to be read into it.

use std::fmt::{self, Write};

use super::spread;
use crate::compare::Summary;
use crate::compare::comparison::{Comparison, Metric, Row};
use crate::compare::contender::{DRAIN, Kind, REFERENCE};

/// What the numbers do not show, on every page.
const LIMITS: &str = "Not shown: a network (it is loopback, which bills a part of receiving to the sender, hence the \
host's CPU beside the client's), more than the cores named below, a quiet machine. Absolute numbers of another host \
are others; ratios within a round are what can be compared.";

/// The page.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, comparison);
    text
}

fn write_all(text: &mut String, comparison: &Comparison) -> fmt::Result {
    writeln!(text, "# {}\n\n{}.\n", comparison.name, comparison.workload_description)?;
    writeln!(text, "```sh\n{}\n```\n", comparison.command)?;
    writeln!(text, "![records per CPU second]({}.svg)\n", comparison.name)?;
    writeln!(
        text,
        "Medians of {} rounds in turn (smallest to largest), after one round that compared contents and one that was \
         discarded. A turn is the mean of runs until half a CPU second is used, at most five. The most records per CPU \
         second first.\n",
        comparison.rounds
    )?;
    write_table(text, comparison)?;
    write_figures(text, comparison)?;
    writeln!(text, "\n{LIMITS}\n")?;
    write_circumstances(text, comparison)?;
    write_absent(text, comparison)?;
    write_contenders(text, comparison)
}

fn write_table(text: &mut String, comparison: &Comparison) -> fmt::Result {
    writeln!(
        text,
        "| | M records per CPU second | Millstream handles so many times that | who is ahead | times librdkafka (batch, CRC) | \
         part of the drain | part of drain + CRC + codec | M records/s | CPU s | CPU s of the host | first record ms | \
         RSS MiB |"
    )?;
    writeln!(text, "|---|{}", "---:|".repeat(11))?;
    for row in comparison.ranked() {
        let figure = |metric| row.figures.get(&metric);
        let median = |metric, scale, digits| {
            figure(metric).map_or_else(String::new, |summary| format!("{:.digits$}", summary.median * scale))
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            titled(row),
            spread(figure(Metric::RecordsPerCpuS), 1e-6, 2),
            spread(row.millstream_against_it.as_ref(), 1.0, 2),
            ahead(row),
            ratio(&row.against_librdkafka),
            spread(row.of_the_drain.as_ref(), 1.0, 2),
            ratio(&row.of_the_limit),
            median(Metric::RecordsPerS, 1e-6, 2),
            median(Metric::CpuS, 1.0, 3),
            median(Metric::HostCpuS, 1.0, 2),
            median(Metric::FirstRecordMs, 1.0, 1),
            median(Metric::MaxRssMib, 1.0, 1),
        )?;
    }
    Ok(())
}

/// The quartiles of what the first table has medians of.
fn write_figures(text: &mut String, comparison: &Comparison) -> fmt::Result {
    writeln!(text, "\n<details><summary>Quartiles</summary>\n")?;
    writeln!(
        text,
        "| | M records per CPU second | M records per CPU second of the host | M records/s | wall s |"
    )?;
    writeln!(text, "|---|{}", "---:|".repeat(4))?;
    for row in comparison.ranked() {
        let quartiles = |metric, scale, digits: usize| {
            row.figures.get(&metric).map_or_else(String::new, |summary| {
                let [low, high] = [summary.lower_quartile, summary.upper_quartile].map(|value| value * scale);
                format!("{low:.digits$} to {high:.digits$}")
            })
        };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.name,
            quartiles(Metric::RecordsPerCpuS, 1e-6, 2),
            quartiles(Metric::RecordsPerHostCpuS, 1e-6, 2),
            quartiles(Metric::RecordsPerS, 1e-6, 2),
            quartiles(Metric::WallS, 1.0, 3),
        )?;
    }
    writeln!(text, "\n</details>")
}

fn write_circumstances(text: &mut String, comparison: &Comparison) -> fmt::Result {
    let contents = &comparison.contents;
    writeln!(text, "| | |\n|---|---|")?;
    let revision = comparison.revision.as_deref().unwrap_or("unknown");
    writeln!(text, "| revision of Millstream and its peers | {revision} |")?;
    writeln!(text, "| broker | {} |", comparison.broker)?;
    writeln!(text, "| the broker's ceiling | {} |", ceiling(comparison))?;
    writeln!(text, "| clients | {} |", comparison.placement)?;
    writeln!(
        text,
        "| contents, equal for all | {} records, {} B of values, checksum {:016x} |",
        contents.records,
        contents.value_bytes,
        contents.checksum.unwrap_or_default()
    )?;
    for (name, value) in comparison.host.lines() {
        writeln!(text, "| {name} | {value} |")?;
    }
    let settings: Vec<String> =
        comparison.settings.iter().map(|(name, value)| format!("`{name}` {value}")).collect();
    writeln!(text, "| asked of every client | {} |", settings.join(", "))
}

/// What the drain got is the least that the broker can send.
fn ceiling(comparison: &Comparison) -> String {
    let drain = comparison.rows.iter().find(|row| row.name == DRAIN);
    let Some(speed) = drain.and_then(|row| row.figures.get(&Metric::RecordsPerS)) else {
        return "unknown, as the drain is absent".to_owned();
    };
    let contents = &comparison.contents;
    let bytes = contents.bytes as f64 / contents.records.max(1) as f64 * speed.median;
    format!(
        "at least what the drain got: {:.2} M records/s, {:.0} MB/s of keys, values and headers",
        speed.median / 1e6,
        bytes / 1e6
    )
}

fn write_absent(text: &mut String, comparison: &Comparison) -> fmt::Result {
    if comparison.absent.is_empty() {
        return writeln!(text, "\nNobody is absent.");
    }
    writeln!(text, "\nAbsent:\n")?;
    for absent in &comparison.absent {
        writeln!(text, "- {}: {}", absent.name, absent.reason.replace('\n', " "))?;
    }
    Ok(())
}

fn write_contenders(text: &mut String, comparison: &Comparison) -> fmt::Result {
    writeln!(text, "\n## Who, and how\n")?;
    for row in &comparison.rows {
        let settings: Vec<String> = row
            .settings
            .iter()
            .map(|(name, value)| match value.as_str() {
                Some(text) => format!("{name}={text}"),
                None => format!("{name}={value}"),
            })
            .collect();
        writeln!(text, "<details><summary>{}: {}</summary>\n", row.name, row.version)?;
        writeln!(text, "```text\n{}\n\n{}\n```\n\n</details>\n", row.command, settings.join("\n"))?;
    }
    // One line end closes the file.
    text.truncate(text.trim_end().len());
    writeln!(text)
}

fn ratio(summary: &Option<Summary>) -> String {
    summary.map_or_else(String::new, |summary| format!("{:.2}", summary.median))
}

/// Who handled more records per CPU second in at least three of four rounds; otherwise rounds do not agree.
fn ahead(row: &Row) -> &'static str {
    match &row.millstream_against_it {
        _ if row.name == REFERENCE || row.kind == Kind::Limit => "",
        Some(ratio) if ratio.lower_quartile > 1.0 => "Millstream",
        Some(ratio) if ratio.upper_quartile < 1.0 => "the other",
        Some(_) => "within noise",
        None => "",
    }
}

/// What is no client stands apart.
fn titled(row: &Row) -> String {
    match row.kind {
        Kind::Own => format!("**{}**", row.title),
        Kind::Client => row.title.clone(),
        Kind::Limit => format!("*{}*", row.title),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::comparison::tests::comparison;

    #[test]
    fn who_is_faster_than_millstream_stands_above_it() {
        let page = markdown(&comparison());
        let line =
            |needle: &str| page.lines().position(|line| line.starts_with('|') && line.contains(needle));
        assert!(line("the fast").unwrap() < line("**the millstream").unwrap());
        assert!(line("**the millstream").unwrap() < line("the slow").unwrap());
        assert!(page.contains("3.00 (2.00 to 4.00) | Millstream |"), "{page}");
        assert!(page.contains("| the other |"), "{page}");
    }

    #[test]
    fn rounds_that_do_not_agree_name_nobody() {
        let mut comparison = comparison();
        let own = comparison.rows[0].runs.clone();
        comparison.rows[1].runs = own.into_iter().rev().collect();
        comparison.settle();
        let ratio = comparison.rows[1].millstream_against_it.unwrap();
        assert!(ratio.min < 1.0 && ratio.max > 1.0);
        assert_eq!(ahead(&comparison.rows[1]), "within noise");
    }

    #[test]
    fn the_page_names_its_command_the_absent_and_all_settings() {
        let page = markdown(&comparison());
        for part in [
            "cargo run -- compare",
            "0123456789ab",
            "- gone: no compiler",
            "fetch.min.bytes=1",
            "00000000000000ab",
            "loopback",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(page.ends_with('\n') && !page.ends_with("\n\n"));
        assert!(page.lines().all(|line| line == line.trim_end()), "{page}");
    }
}
