//! Names that are not Kafka's: what Spring, sarama and franz-go call the same things.

mod franz_go;
mod sarama;
mod spring;
mod values;
mod yaml;

use millstream::config::{Verdict, check};

use values::Reading;

/// What is to be said of one pasted setting.
#[derive(Debug)]
pub(crate) enum Finding {
    /// By Kafka's or librdkafka's name and value.
    Verdict(Verdict),
    /// By another name: it changes nothing here, and why.
    NoEffect(&'static str),
    /// By another name: nothing here does it yet.
    NotYet(&'static str),
    /// By a name that was understood; the value was not.
    Unreadable(&'static str),
}

/// What a name of another client stands for.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    /// A property by Kafka's name, and how its value is written there.
    Property(&'static str, Reading),
    /// Nothing, and why.
    NoEffect(&'static str),
    /// Something that is not there yet.
    NotYet(&'static str),
}

/// A row of a client's table. A name that ends in `*` stands for all that begin so.
type Row = (&'static str, Meaning);

/// Sorts one setting, by whichever client's name it has.
pub(crate) fn sort(name: &str, value: &str) -> Finding {
    let translated = spring::find(name).or_else(|| franz_go::find(name)).or_else(|| sarama::find(name));
    match translated {
        None => Finding::Verdict(check(name, value)),
        Some(Translated::Passed(name)) => Finding::Verdict(check(&name, value)),
        Some(Translated::Unknown) => Finding::Verdict(Verdict::Unknown { nearest: None }),
        Some(Translated::Means(Meaning::NoEffect(reason))) => Finding::NoEffect(reason),
        Some(Translated::Means(Meaning::NotYet(reason))) => Finding::NotYet(reason),
        Some(Translated::Means(Meaning::Property(name, reading))) => match reading.read(value) {
            Some(value) => Finding::Verdict(check(name, &value)),
            None => Finding::Unreadable(reading.expected()),
        },
    }
}

/// Turns Spring's YAML and lines that are Go code into `name=value`, each on its own line, and leaves the rest alone.
pub(crate) fn as_properties(text: &str) -> String {
    if let Some(properties) = yaml::as_properties(text) {
        return properties;
    }
    let lines = text.lines().map(|line| match line.trim_start() {
        comment if comment.starts_with("//") => format!("#{comment}"),
        option if option.starts_with(franz_go::PREFIX) => franz_go::as_property(option),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What became of a name that has a client's form.
#[derive(Debug)]
enum Translated {
    /// The client passes it on to Kafka by this name.
    Passed(String),
    /// The client's table has it.
    Means(Meaning),
    /// The client's form, but none of its names.
    Unknown,
}

/// Looks a name up in a client's table.
fn look_up(table: &[Row], name: &str) -> Translated {
    let covers = |row: &str| match row.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => row == name,
    };
    match table.iter().find(|(row, _)| covers(row)) {
        Some(&(_, meaning)) => Translated::Means(meaning),
        None => Translated::Unknown,
    }
}

// What several clients' tables say.
const PRODUCER: Meaning = Meaning::NoEffect("it belongs to producers");
const ADMIN: Meaning = Meaning::NoEffect("it belongs to the administration of a cluster");
const STATISTICS: Meaning = Meaning::NoEffect("statistics come from the engine's handle");
const LOGS: Meaning = Meaning::NoEffect("logs go through `tracing`, whose subscriber decides");
const VERSIONS: Meaning = Meaning::NoEffect("every broker is asked for its versions");
const TIME_LIMIT: Meaning = Meaning::NoEffect("requests are retried until their time limit");
const BACKOFF: Meaning =
    Meaning::NoEffect("retry.backoff.ms doubles up to retry.backoff.max.ms, with jitter");
const BUDGET: Meaning = Meaning::NoEffect("memory.budget.bytes alone decides how much is fetched ahead");
const RUST: Meaning = Meaning::NoEffect("handlers are Rust code and get bytes");
const IN_CODE: Meaning = Meaning::NoEffect("it is said in code: see millstream::EngineBuilder");
const HANDLERS: Meaning =
    Meaning::NoEffect("a handler is made for each partition that comes and dropped when that goes");
const TLS: Meaning = Meaning::NotYet("connections are in plain text");
const SASL: Meaning = Meaning::NotYet("connections are not authenticated");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_that_a_table_leads_to_is_used() {
        for (name, meaning) in [spring::TABLE, sarama::TABLE, franz_go::TABLE].concat() {
            let Meaning::Property(property, _) = meaning else { continue };
            let (found, _) =
                millstream::config::Property::find(property).unwrap_or_else(|| panic!("{property}"));
            // A deserializer and a rack have a reason of their own there.
            assert!(!matches!(found.status, millstream::config::Status::NotYet(_)), "{name}");
        }
    }

    #[test]
    fn no_row_is_hidden_by_one_before_it() {
        for table in [spring::TABLE, sarama::TABLE, franz_go::TABLE] {
            for (index, (name, _)) in table.iter().enumerate() {
                let hides = |(row, _): &&Row| {
                    *row == *name || row.strip_suffix('*').is_some_and(|start| name.starts_with(start))
                };
                assert!(table[..index].iter().find(hides).is_none(), "{name}");
            }
        }
    }

    /// All names of the three clients, one a line after a comment.
    const NAMES: [&str; 3] = [
        include_str!("names/spring-boot-4.txt"),
        include_str!("names/sarama-1.60.txt"),
        include_str!("names/franz-go-1.21.txt"),
    ];

    #[test]
    fn every_name_of_spring_sarama_and_franz_go_is_known() {
        for names in NAMES {
            let names: Vec<&str> = names.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(names.len() > 80, "only {} names", names.len());
            let is_unknown =
                |name: &&&str| matches!(sort(name, ""), Finding::Verdict(Verdict::Unknown { .. }));
            let unknown: Vec<_> = names.iter().filter(is_unknown).collect();
            assert!(unknown.is_empty(), "{unknown:?}");
        }
    }

    #[test]
    fn go_code_becomes_properties_on_the_same_lines() {
        let text = "// the client\n\tkgo.FetchMaxWait(5 * time.Second), // long\nfetch.min.bytes=1\n";
        assert_eq!(
            as_properties(text),
            "#// the client\nkgo.FetchMaxWait=5 * time.Second\nfetch.min.bytes=1"
        );
    }
}
