//! The `config` command: every property, with the value in force; and what pasted properties would do.

mod check;
mod dialect;

use std::fmt::Write;
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value, ValueExt};
use millstream::config::{Config, ConfigSources, Origin, markdown};

use crate::args::print;
use crate::exit::Failure;

/// The page of `millstream config --help`.
pub(crate) const HELP: &str = "\
usage: millstream config [-F FILE] [-X KEY=VALUE]...
       millstream config --markdown
       millstream config check [--json] FILE

Lists every property that is used, with its value in force, where that is from, its unit and what it is.

  -F FILE       a file of properties
  -X KEY=VALUE  one property; wins over files and environment
  --markdown    write the reference page of all properties instead

check sorts the properties of FILE (- is standard input) into those that are used, those without effect,
those that are not there yet, and those that nobody knows. They may be Java's, librdkafka's, Spring Boot's
(spring.kafka.*, also in YAML), or lines of Go code for sarama or franz-go. It ends with 1 when one of them
would be refused, and with 0 otherwise; the environment does not count.

  --json        one object instead of text

";

/// `bootstrap.servers` has no default and is needed; the list is to be had without it.
const NO_SERVERS: &str = "(not set)";

/// What `config` is asked for.
#[derive(Debug)]
pub(crate) enum ConfigArgs {
    /// The list.
    List(ListArgs),
    /// `config check`.
    Check(check::CheckArgs),
}

/// Of which sources the list is.
#[derive(Debug, Default)]
pub(crate) struct ListArgs {
    markdown: bool,
    properties_files: Vec<PathBuf>,
    properties: Vec<String>,
}

/// Reads the arguments after `config`; `None` when help is asked for.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<ConfigArgs>, Failure> {
    let mut args = ListArgs::default();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Value(word) if word == "check" => return Ok(check::parse(parser)?.map(ConfigArgs::Check)),
            Long("markdown") => args.markdown = true,
            Short('F') => args.properties_files.push(parser.value().map_err(usage)?.into()),
            Short('X') => args.properties.push(parser.value().map_err(usage)?.string().map_err(usage)?),
            other => return Err(usage(other.unexpected())),
        }
    }
    Ok(Some(ConfigArgs::List(args)))
}

/// Does what is asked for.
pub(crate) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    match args {
        ConfigArgs::List(args) => list(args),
        ConfigArgs::Check(args) => check::run(args),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    if args.markdown {
        return print(&markdown());
    }
    let mut sources = ConfigSources::new();
    for path in &args.properties_files {
        sources.properties_file(path)?;
    }
    sources.environment(std::env::vars_os())?;
    for property in &args.properties {
        sources.argument(property)?;
    }
    let config = match sources.build() {
        Err(millstream::config::ConfigError::Missing { key: "bootstrap.servers", .. }) => {
            return print(&without_servers(sources)?);
        }
        built => built?,
    };
    print(&effective(&config, false))
}

/// Every value in force, one property a line; with `only_set`, those that somebody set.
pub(crate) fn effective(config: &Config, only_set: bool) -> String {
    let mut page = String::new();
    for value in config.effective() {
        if only_set && value.origin == Origin::Default {
            continue;
        }
        let text = value.value.as_deref().unwrap_or(NO_SERVERS);
        let unit = if value.unit.is_empty() { String::new() } else { format!(" {}", value.unit) };
        // A String takes every write.
        _ = writeln!(page, "{} = {text}{unit}  [{}]", value.name, origin(value.name, &value.origin));
        if !only_set {
            _ = writeln!(page, "    {}", value.doc);
        }
    }
    for warning in config.warnings() {
        _ = writeln!(page, "warning: {}: {} {}", warning.origin, warning.key, warning.message);
    }
    page
}

/// Where a value is from, in the words of the command line: what the program sets are the command's own flags.
fn origin(property: &str, origin: &Origin) -> String {
    let flag = match (origin, property) {
        (Origin::Builder, "bootstrap.servers") => "-b",
        (Origin::Builder, "group.id") => "-G",
        (Origin::Builder, "auto.offset.reset") => "-o",
        (Origin::Builder, "enable.auto.commit") => "without -G nothing is committed",
        _ => return origin.to_string(),
    };
    flag.to_owned()
}

/// The list where nobody named brokers: their line says so.
fn without_servers(mut sources: ConfigSources) -> Result<String, Failure> {
    const PLACE_HOLDER: &str = "placeholder:9092";
    sources.set("bootstrap.servers", PLACE_HOLDER);
    let page = effective(&sources.build()?, false);
    Ok(page.replace(&format!("{PLACE_HOLDER}  [-b]"), &format!("{NO_SERVERS}  [default]")))
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Usage { command: "config ", problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_says_each_value_and_where_it_is_from() {
        let mut sources = ConfigSources::new();
        sources.argument("fetch.min.bytes=7").unwrap();
        let page = without_servers(sources).unwrap();
        assert!(page.contains("\nfetch.min.bytes = 7 bytes  [-X]\n"), "{page}");
        assert!(page.starts_with("bootstrap.servers = (not set)  [default]\n"), "{page}");
        assert!(page.contains("\ncores = auto  [default]\n"), "{page}");
    }

    #[test]
    fn what_was_set_can_be_listed_alone() {
        let mut sources = ConfigSources::new();
        sources.argument("fetch.min.bytes=7").unwrap().set("bootstrap.servers", "k:1");
        let page = effective(&sources.build().unwrap(), true);
        assert_eq!(page.lines().count(), 2, "{page}");
    }
}
