//! `docs/compatibility.md` says what the code does: the versions of each request, every property, and a proof beside
//! whatever is there. That the proofs exist is for `docs.rs` to check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use millstream_protocol::request::{ApiKey, supported_versions};

/// Requests that no consumer sends: those of tests, the demo and the benchmarks.
const OTHERS: [ApiKey; 3] = [ApiKey::Produce, ApiKey::InitProducerId, ApiKey::CreateTopics];
/// The largest API key that Kafka has given so far is well below.
const MAX_API_KEY: i16 = 200;

#[test]
fn the_versions_on_the_page_are_those_in_the_code() {
    let page = page("compatibility.md");
    let told: BTreeMap<String, String> = rows(section(&page, "Requests and their versions"))
        .map(|row| (without_footnotes(row[0]).to_owned(), row[1].to_owned()))
        .collect();
    let spoken = (0..MAX_API_KEY).filter_map(|key| ApiKey::try_from(key).ok());
    let spoken: BTreeMap<String, String> = spoken
        .filter(|api| !OTHERS.contains(api))
        .filter_map(|api| {
            supported_versions(api).map(|(first, last)| (format!("{api:?}"), format!("{first} to {last}")))
        })
        .collect();
    assert_eq!(told, spoken);
}

#[test]
fn every_property_is_on_the_page() {
    let (page, configuration) = (page("compatibility.md"), page("configuration.md"));
    let names = |text: &str| -> BTreeSet<String> {
        rows(section(text, "Properties")).map(|row| without_footnotes(row[0]).to_owned()).collect()
    };
    assert_eq!(names(&page), names(&configuration));
}

#[test]
fn whatever_is_said_to_be_there_has_a_proof_and_what_is_not_says_so() {
    let page = page("compatibility.md");
    let mut wrong = Vec::new();
    for title in ["Groups", "Positions and commits", "Fetching and records", "Brokers and connections"] {
        for row in rows(section(&page, title)) {
            let is_right = match row[2] {
                there if there.starts_with("yes") => there.contains("[^"),
                missing => missing.starts_with("no"),
            };
            if !is_right || row.len() != 6 {
                wrong.push(row.join(" | "));
            }
        }
    }
    for title in ["Requests and their versions", "Properties"] {
        let rows = rows(section(&page, title));
        wrong.extend(rows.filter(|row| !row[0].contains("[^")).map(|row| row.join(" | ")));
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(docs.join(name)).unwrap()
}

/// The text below a heading, up to the next one.
fn section<'a>(page: &'a str, title: &str) -> &'a str {
    let below = page.split_once(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}")).1;
    below.split("\n## ").next().unwrap_or(below)
}

/// The cells of a table's rows, without its head.
fn rows(section: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
    assert!(rows.len() > 1, "no table in {section}");
    rows.into_iter().skip(1)
}

fn without_footnotes(cell: &str) -> &str {
    cell.split("[^").next().unwrap_or(cell)
}
