//! The table of properties as a page for people.

use std::fmt::Write;

use super::property::{Choice, Conversion, Kind, Property, Status};
use super::table::PROPERTIES;

/// The page `docs/configuration.md`.
pub fn markdown() -> String {
    let mut page = String::from(HEAD);
    page.push_str("| property | default | values | what it is |\n|---|---|---|---|\n");
    for property in of_status(|status| status == Status::Used) {
        row(&mut page, property);
    }
    page.push_str(
        "\n## Defaults that differ from Java's\n\n| property | here | Java | why |\n|---|---|---|---|\n",
    );
    for property in PROPERTIES {
        let Some(java) = property.java_default else { continue };
        let ours = default(property);
        line(&mut page, &[&code(property.name), &ours, &value_or_empty(java.value), java.reason]);
    }
    page.push_str("\n## librdkafka's names\n\nThey are read in their own units.\n\n");
    page.push_str("| name | property | read as |\n|---|---|---|\n");
    for property in PROPERTIES {
        let Some(alias) = property.alias else { continue };
        line(&mut page, &[&code(alias.name), &code(property.name), conversion(alias.conversion)]);
    }
    page.push_str(
        "\n## Not supported yet\n\nTo set one of these is an error.\n\n| property | today |\n|---|---|\n",
    );
    for property in of_status(|status| matches!(status, Status::NotYet(_))) {
        reason(&mut page, property);
    }
    page.push_str("\n## Without effect\n\nTo set one of these gives a warning, so that one file can serve ");
    page.push_str("several clients.\n\n| property | why |\n|---|---|\n");
    for property in of_status(|status| matches!(status, Status::NoEffect(_))) {
        reason(&mut page, property);
    }
    page
}

const HEAD: &str = "\
# Configuration

<!-- Written by `cargo run -- config --markdown`; a test compares. -->

Millstream takes the property names of Kafka and the defaults of its Java consumer. A later source wins over
an earlier one:

1. the defaults below,
2. properties files, in Java's `.properties` syntax and UTF-8,
3. the environment: `MILLSTREAM_` and the name in upper case with `_` for `.`, as in `MILLSTREAM_GROUP_ID`,
4. `-X key=value` on the command line,
5. the program itself.

An unknown name is an error in every source, and so is a value out of its range; the error says where it was
written and what is meant. `millstream config` prints every value in force and where it is from.

Times are in milliseconds or microseconds, sizes in bytes, as the names say.

## Properties

";

fn of_status(wanted: impl Fn(Status) -> bool) -> impl Iterator<Item = &'static Property> {
    PROPERTIES.iter().filter(move |property| wanted(property.status))
}

fn row(page: &mut String, property: &Property) {
    line(page, &[&code(property.name), &default(property), &values(property.kind), property.doc]);
}

fn reason(page: &mut String, property: &Property) {
    if let Status::NotYet(reason) | Status::NoEffect(reason) = property.status {
        line(page, &[&code(property.name), reason]);
    }
}

fn line(page: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    // Writing to a `String` cannot fail.
    let _ = writeln!(page, "| {} |", cells.join(" | "));
}

fn default(property: &Property) -> String {
    property.default.map_or_else(|| "not set".to_owned(), value_or_empty)
}

fn value_or_empty(value: &str) -> String {
    if value.is_empty() { "empty".to_owned() } else { code(value) }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn values(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Name => "text, not empty".to_owned(),
        Kind::Bool => "`true`, `false`".to_owned(),
        Kind::Integer { unit, min, max } => format!("{min} to {max} {unit}"),
        Kind::Choice(choices) => words(choices),
        Kind::Choices(choices) => format!("list of {}", words(choices)),
        Kind::OffsetReset(choices) => format!("{}, `by_duration:` and a time such as `PT1H`", words(choices)),
        Kind::Servers => "list of `host:port`".to_owned(),
        Kind::Cores => "`auto` or a list such as `0-3,6`".to_owned(),
    }
}

fn words(choices: &[Choice]) -> String {
    let word = |choice: &Choice| {
        let mut text = code(choice.word);
        if !choice.synonyms.is_empty() {
            let synonyms: Vec<_> = choice.synonyms.iter().map(|synonym| code(synonym)).collect();
            let _ = write!(text, " (or {})", synonyms.join(", "));
        }
        if choice.not_yet.is_some() {
            text.push_str(" (not yet)");
        }
        text
    };
    choices.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn conversion(conversion: Conversion) -> &'static str {
    match conversion {
        Conversion::Same => "the same",
        Conversion::Kibibytes => "units of 1024 bytes",
        Conversion::MinusOneIsNever => "the same; -1 is the longest time",
        Conversion::ZeroIsSystemDefault => "the same; 0 leaves it to the system",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_the_one_that_the_table_gives() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == markdown(),
            "out of date; run: cargo run -- config --markdown > docs/configuration.md"
        );
    }

    #[test]
    fn every_name_and_alias_is_on_the_page() {
        let page = markdown();
        for property in PROPERTIES {
            assert!(page.contains(&code(property.name)), "{}", property.name);
            assert!(property.alias.is_none_or(|alias| page.contains(&code(alias.name))));
        }
    }
}
