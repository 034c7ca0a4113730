//! `config check`: what pasted properties of this or another client would do here.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value};
use millstream::config::{ConfigError, ConfigSources, MAX_PROPERTIES_FILE_BYTES, Origin, Verdict};
use serde::Serialize;

use super::dialect::{Finding, as_properties, sort};
use super::usage;
use crate::args::print;
use crate::exit::Failure;

/// What is to be checked, and how it is said.
#[derive(Debug)]
pub(crate) struct CheckArgs {
    file: PathBuf,
    json: bool,
}

/// Reads the arguments after `check`; `None` when help is asked for.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<CheckArgs>, Failure> {
    let (mut file, mut json) = (None, false);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("json") => json = true,
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            other => return Err(usage(other.unexpected())),
        }
    }
    let file = file.ok_or_else(|| usage("check needs a file of properties, or - for standard input"))?;
    Ok(Some(CheckArgs { file, json }))
}

/// Checks the file; fails with exit code 1 when something in it would be refused.
pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let name = if args.file.as_os_str() == "-" { PathBuf::from("stdin") } else { args.file.clone() };
    let checked = Checked::of(name, &read(args)?)?;
    print(&if args.json { checked.json() } else { checked.text() })?;
    match checked.refused() {
        0 => Ok(()),
        refused => Err(Failure::Failed(format!("{}: {refused} would be refused", checked.file))),
    }
}

/// A file is refused beyond the size that the engine would refuse it at.
fn read(args: &CheckArgs) -> Result<String, Failure> {
    let name = args.file.display();
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&args.file).map_err(|error| Failure::Config(format!("{name}: {error}")))?)
    };
    let mut text = String::new();
    let read = input.take(MAX_PROPERTIES_FILE_BYTES + 1).read_to_string(&mut text);
    match read {
        Err(error) => Err(Failure::Config(format!("{name}: {error}"))),
        Ok(bytes) if bytes as u64 > MAX_PROPERTIES_FILE_BYTES => Err(Failure::Config(format!(
            "{name} is larger than {MAX_PROPERTIES_FILE_BYTES} bytes; is it a properties file?"
        ))),
        Ok(_) => Ok(text),
    }
}

/// What Spring says for consumers wins over what it says for all clients, wherever it stands.
const SPRING_CONSUMER: &str = "spring.kafka.consumer.";

/// The groups in the order in which they are listed, with their titles.
const GROUPS: [(Group, &str); 5] = [
    (Group::Used, "used"),
    (Group::NoEffect, "no effect"),
    (Group::NotYet, "not yet"),
    (Group::BadValue, "bad value"),
    (Group::Unknown, "unknown"),
];

/// What is made of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Group {
    Used,
    NoEffect,
    NotYet,
    BadValue,
    Unknown,
}

/// One property of the file. Values are told where they are used or wrong only: others may be secrets.
#[derive(Debug, Serialize)]
struct Line {
    line: usize,
    name: String,
    group: Group,
    /// Millstream's own name, where it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    property: Option<&'static str>,
    /// The value in that property's unit, where it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    unit: &'static str,
    /// Why it has no effect, what is done today, what was expected, or which name is near.
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

/// All of the file.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    properties: Vec<Line>,
    /// What does not go together, where something does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    together: Vec<String>,
}

impl Checked {
    fn of(file: PathBuf, text: &str) -> Result<Self, ConfigError> {
        let mut sources = ConfigSources::new();
        sources.properties_text(file.clone(), as_properties(text).as_bytes())?;
        let mut properties: Vec<Line> = Vec::new();
        for setting in sources.settings() {
            let Origin::File { line, .. } = &setting.origin else { continue };
            properties.push(Line::of(*line, &setting.name, &setting.value));
        }
        let mut together = settle(&mut properties);
        together.extend(inconsistency(&properties));
        Ok(Self { file: file.display().to_string(), properties, together })
    }

    /// How many of the properties the engine would not start with.
    fn refused(&self) -> usize {
        let refused = |line: &&Line| !matches!(line.group, Group::Used | Group::NoEffect);
        self.properties.iter().filter(refused).count() + self.together.len()
    }

    fn json(&self) -> String {
        // Numbers and texts only, which always can be written.
        serde_json::to_string(self).map(|json| json + "\n").unwrap_or_default()
    }

    fn text(&self) -> String {
        let mut page = String::new();
        for (group, title) in GROUPS {
            let mut lines = self.properties.iter().filter(|line| line.group == group).peekable();
            if lines.peek().is_none() {
                continue;
            }
            // A String takes every write.
            _ = writeln!(page, "{title}:");
            for line in lines {
                _ = writeln!(page, "  line {}: {}", line.line, line.said());
            }
        }
        if !self.together.is_empty() {
            _ = writeln!(page, "together:\n  {}", self.together.join("\n  "));
        }
        if self.properties.is_empty() {
            _ = writeln!(page, "{}: no properties", self.file);
        }
        page
    }
}

impl Line {
    fn of(line: usize, name: &str, value: &str) -> Self {
        let mut said = Self {
            line,
            name: name.to_owned(),
            group: Group::Unknown,
            property: None,
            value: None,
            unit: "",
            note: String::new(),
        };
        (said.group, said.note) = match sort(name, value) {
            Finding::Verdict(Verdict::Used { property, value }) => {
                said.property = Some(property.name);
                said.unit = property.unit();
                said.value = Some(value);
                (Group::Used, String::new())
            }
            Finding::Verdict(Verdict::NoEffect { reason }) | Finding::NoEffect(reason) => {
                (Group::NoEffect, reason.to_owned())
            }
            Finding::Verdict(Verdict::NotYet { reason }) | Finding::NotYet(reason) => {
                (Group::NotYet, reason.to_owned())
            }
            Finding::Verdict(Verdict::BadValue { expected, detail }) => {
                let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
                (Group::BadValue, format!("expected {expected}{detail}"))
            }
            Finding::Unreadable(expected) => (Group::BadValue, format!("expected {expected}")),
            Finding::Verdict(Verdict::Unknown { nearest: Some(nearest) }) => {
                (Group::Unknown, format!("did you mean {nearest}?"))
            }
            Finding::Verdict(_) => (Group::Unknown, "no client's property that is known here".to_owned()),
        };
        said
    }

    fn said(&self) -> String {
        let mut said = printable(&self.name);
        if let (Some(property), Some(value)) = (self.property, &self.value) {
            if property != self.name {
                _ = write!(said, " is {property}");
            }
            _ = write!(said, " = {}", printable(value));
            if !self.unit.is_empty() {
                _ = write!(said, " {}", self.unit);
            }
        }
        if !self.note.is_empty() {
            _ = write!(said, ": {}", printable(&self.note));
        }
        said
    }
}

/// One property may come twice: under one name the last value wins; under two names two values are refused.
fn settle(properties: &mut [Line]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut winners: BTreeMap<&'static str, usize> = BTreeMap::new();
    for index in 0..properties.len() {
        let Some(property) = properties[index].property else { continue };
        let Some(earlier) = winners.insert(property, index) else { continue };
        let [first, second] = [&properties[earlier], &properties[index]];
        let (first_line, second_line) = (first.line, second.line);
        let is_consumers = [first, second].map(|line| line.name.starts_with(SPRING_CONSUMER));
        if first.name == second.name || is_consumers[1] {
            properties[earlier].note = format!("line {second_line} wins");
        } else if is_consumers[0] {
            properties[index].note = format!("line {first_line} wins");
            winners.insert(property, earlier);
        } else if first.value != second.value {
            problems.push(format!("lines {first_line} and {second_line} both name {property}; keep one"));
        }
    }
    problems
}

/// What the values that are used do not agree on, if they do not.
fn inconsistency(properties: &[Line]) -> Option<String> {
    let mut sources = ConfigSources::new();
    sources.set("bootstrap.servers", "placeholder:9092");
    for line in properties {
        if let (Some(property), Some(value)) = (line.property, &line.value) {
            sources.set(property, value);
        }
    }
    match sources.build() {
        Ok(_) => None,
        Err(ConfigError::Inconsistent { problem, .. }) => Some(problem),
        Err(other) => Some(other.to_string()),
    }
}

/// A pasted text must not move the terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
