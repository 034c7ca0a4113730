//! The page for people: tables, goals, and all that is needed to repeat it.

use std::fmt::{Result, Write};

use super::clients::REFERENCE;
use super::report::{QUANTILES, Report, cost_file, percentiles_file};
use super::results::{AtRate, Row, median, us};

/// What is to be reached at these rates, as parts of what [`REFERENCE`] takes.
const GOALS: [Goal; 4] = [
    Goal { client: "spinning", what: "p50", limit: 0.33, ratio: |own, other| own.ratio(other, 0.5) },
    Goal { client: "spinning", what: "p99", limit: 0.6, ratio: |own, other| own.ratio(other, 0.99) },
    Goal { client: "parked", what: "p50", limit: 0.9, ratio: |own, other| own.ratio(other, 0.5) },
    Goal { client: "parked", what: "CPU", limit: 0.6, ratio: Row::cpu_ratio },
];
const GOAL_RATES: [u64; 2] = [1_000, 10_000];

struct Goal {
    client: &'static str,
    what: &'static str,
    limit: f64,
    ratio: fn(&Row, &Row) -> f64,
}

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut page, report);
    page
}

fn write_all(page: &mut String, report: &Report) -> Result {
    write_head(page, report)?;
    write_goals(page, report)?;
    for at in &report.rates {
        write_rate(page, report, at)?;
    }
    write_clients(page, report)
}

fn write_head(page: &mut String, report: &Report) -> Result {
    let place = report.clients_core.map_or("on any core".to_owned(), |core| format!("on core {core}"));
    write!(
        page,
        "# Latency, open loop\n\n```text\n{}\n```\n\n\
         - A record counts from the moment at which the schedule wanted it to leave, whether or not it could: a stall \
         counts for all that it delays. Microseconds.\n\
         - source: {}; values of {} B, one partition\n\
         - clients: each a process of its own, all of its threads {place}\n",
        report.command, report.source, report.value_bytes,
    )?;
    for (name, value) in report.host.lines() {
        writeln!(page, "- {name}: {value}")?;
    }
    for (name, reason) in &report.absent {
        writeln!(page, "- absent: {name} ({reason})")?;
    }
    Ok(())
}

fn write_goals(page: &mut String, report: &Report) -> Result {
    let rates = report.rates.iter().filter(|at| GOAL_RATES.contains(&at.records_per_s));
    let mut lines = String::new();
    for at in rates {
        let Some(reference) = at.row(REFERENCE) else { continue };
        for goal in &GOALS {
            let Some(row) = at.row(goal.client) else { continue };
            let found = (goal.ratio)(row, reference);
            let verdict = if found <= goal.limit { "met" } else { "**not met**" };
            let Goal { client, what, limit, .. } = goal;
            writeln!(
                lines,
                "| {}/s | {client} | {what} | {limit} | {found:.2} | {verdict} |",
                at.records_per_s
            )?;
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    write!(
        page,
        "\n## Goals\n\nParts of what {REFERENCE} takes in the same round; the middle of all rounds.\n\n\
         | rate | client | | at most | found | |\n|---:|---|---|---:|---:|---|\n{lines}"
    )
}

fn write_rate(page: &mut String, report: &Report, at: &AtRate) -> Result {
    write!(
        page,
        "\n## {}\n\n![percentiles]({})\n\n![latency against CPU time]({})\n\n\
         | client | p50 | p99 | p99.9 | p99.99 | max | p50 of rounds | CPU s per s | idle CPU | \
         p50 ratio | p99 ratio | CPU ratio |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        at.title(),
        percentiles_file(at),
        cost_file(at),
    )?;
    let reference = at.row(REFERENCE);
    for row in &at.rows {
        write_row(page, row, reference, report.idle.row(row.client.name))?;
    }
    let late = median(at.rows.iter().flat_map(|row| &row.rounds).map(|round| round.punctuality.late_p50_us));
    let late_999 =
        median(at.rows.iter().flat_map(|row| &row.rounds).map(|round| round.punctuality.late_p999_us));
    let handover =
        median(at.rows.iter().flat_map(|row| &row.rounds).map(|round| round.punctuality.handover_p50_us));
    let counted = at.rows.first().map_or(0, |row| row.all.intended.len());
    write!(
        page,
        "\n{counted} records of each client were counted, in {} rounds. Part of every time above is the source's own: \
         it was late by {late:.1} us (p50; p99.9 {late_999:.0} us), and handed a record over {handover:.1} us after \
         that (p50).\nThe host's own gaps on the clients' core, which no client can be faster than: p99.9 {:.0} us, \
         p99.99 {:.0} us, longest {:.0} us.\n",
        at.rows.first().map_or(0, |row| row.rounds.len()),
        us(&at.gaps, 0.999),
        us(&at.gaps, 0.9999),
        at.gaps.max() as f64 / 1e3,
    )
}

fn write_row(page: &mut String, row: &Row, reference: Option<&Row>, idle: Option<&Row>) -> Result {
    write!(page, "| {} |", row.client.name)?;
    for (_, quantile) in QUANTILES {
        write!(page, " {:.0} |", row.us(quantile))?;
    }
    let p50s = || row.rounds.iter().map(|round| us(&round.latencies.intended, 0.5));
    let (least, most) = (p50s().fold(f64::INFINITY, f64::min), p50s().fold(0.0, f64::max));
    write!(
        page,
        " {:.0} | {least:.0}-{most:.0} | {:.3} |",
        row.all.intended.max() as f64 / 1e3,
        row.cpu_share()
    )?;
    match idle {
        Some(idle) => write!(page, " {:.4} |", idle.cpu_share())?,
        None => write!(page, " |")?,
    }
    match reference {
        Some(other) => writeln!(
            page,
            " {:.2} | {:.2} | {:.2} |",
            row.ratio(other, 0.5),
            row.ratio(other, 0.99),
            row.cpu_ratio(other)
        ),
        None => writeln!(page, " | | |"),
    }
}

fn write_clients(page: &mut String, report: &Report) -> Result {
    write!(
        page,
        "\nRatios are to {REFERENCE}, round by round, the middle one. Idle CPU is what the client uses, in CPU seconds \
         per second, while one record comes in a second.\n\n## Clients\n\n"
    )?;
    for row in &report.idle.rows {
        let settings = row.rounds.first().map(|round| &round.outcome.settings);
        let settings = settings.and_then(|settings| serde_json::to_string(settings).ok()).unwrap_or_default();
        writeln!(page, "- **{}**: {}. `{settings}`", row.client.name, row.client.what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Host;
    use crate::latency::clients::Client;
    use crate::latency::results::tests::round;

    fn at(records_per_s: u64, times_us: [u64; 3]) -> AtRate {
        let clients = ["parked", "spinning", REFERENCE].map(|name| Client::by_name(name).unwrap());
        let mut at = AtRate::new(records_per_s, None, &clients);
        for (row, (us, cpu_s)) in at.rows.iter_mut().zip(times_us.into_iter().zip([0.2, 2.0, 0.5])) {
            row.add(round(us * 1_000, cpu_s)).unwrap();
        }
        at
    }

    #[test]
    fn goals_that_are_missed_say_so_and_rows_have_their_ratios() {
        let report = Report {
            command: "the command".to_owned(),
            host: Host::default(),
            source: "the source".to_owned(),
            clients_core: Some(1),
            value_bytes: 100,
            absent: vec![("someone", "not built".to_owned())],
            idle: at(1, [50, 10, 100]),
            rates: vec![at(1_000, [50, 40, 100])],
        };
        let page = page(&report);
        assert!(page.contains("| 1000/s | parked | p50 | 0.9 | 0.50 | met |"), "{page}");
        assert!(page.contains("| 1000/s | spinning | p50 | 0.33 | 0.40 | **not met** |"), "{page}");
        assert!(page.contains("| 1000/s | parked | CPU | 0.6 | 0.40 | met |"), "{page}");
        let row = page.lines().find(|line| line.starts_with("| parked |")).unwrap();
        assert_eq!(
            row, "| parked | 50 | 50 | 50 | 50 | 50 | 50-50 | 0.100 | 0.1000 | 0.50 | 0.50 | 0.40 |",
            "{page}"
        );
        for what in ["the command", "the source", "absent: someone (not built)", "on core 1"] {
            assert!(page.contains(what), "{what}");
        }
    }
}
