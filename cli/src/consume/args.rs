//! The arguments of `consume`: kcat's letters where kcat has them.

use std::path::PathBuf;

use lexopt::prelude::{Long, Short, Value, ValueExt};

use super::format::Format;
use super::offset::{self, Offset};
use crate::exit::Failure;

/// The page of `millstream consume --help`.
pub(crate) const HELP: &str = "\
usage: millstream consume -b BROKERS [-t] TOPIC... [options]
       millstream consume -b BROKERS -G GROUP TOPIC... [options]
       millstream consume -b BROKERS -L [-t TOPIC]

Consumes a Kafka cluster, a shard per core, and writes the records to standard output. The letters are kcat's, but for
-q. Without -G nothing is committed.

What and where:
  -b BROKERS      host:port,... to ask first
  -t TOPIC        a topic; several may be named, with -t or without. With -G it may be a pattern instead: a regular
                  expression that begins with ^, such as ^orders-, is about all topics in whose names it is found
  -p LIST         these partitions only, such as 3 or 0,4-7 (without -G)
  -G GROUP        as a member of this group: the group assigns the partitions, and offsets are committed
  -o OFFSET       where to start (default: beginning; with -G: stored, and where nothing is stored
                  auto.offset.reset decides):
                    beginning | end | stored    stored: the offsets of group.id
                    N                           offset N
                    -N                          N before the end
                    s@MS                        the first record of this time, milliseconds since the epoch
                    e@MS                        stop at the first record of this time; may be given besides another -o
                  with -G only beginning, end and stored, for partitions without stored offset
  -e              end when the end is reached that each partition had at first
  -c N            end after N records
  -L              list brokers, topics and partitions, and end

Output:
  -f FORMAT       what to write for each record (default %s\\n):
                    %s %S  value, its length (-1 for none)    %k %K  key, its length
                    %t %p  topic, partition                   %o     offset
                    %T     timestamp, ms                      %h     headers, as name=value,...
                    %R     value's length, 4 bytes big endian %%     a percent sign
                    \\n \\r \\t \\\\ \\0 \\xHH                      characters
  -J              a JSON object for each record, as kcat writes them but without broker; bytes that are not UTF-8
                  become U+FFFD
  -q              write no records (unlike kcat's -q)
  --json          write the summary as one JSON object, the last line of standard output
  --checksum      add the wrapping sum of each value's xxh3_64 to the summary

Configuration:
  -F FILE         a file of properties
  -X KEY=VALUE    one property; wins over files and environment (see millstream config)
  --record FILE   record what the engine is given and does into FILE, which must not be there yet, for millstream
                  replay; it holds the records, too
  --dry-run       show brokers, versions, partition -> shard and the configuration in force, and end

";

/// How records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Not at all.
    Quiet,
    /// By a format.
    Format(Format),
    /// As JSON objects.
    Json,
}

/// Where the partitions come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Named ones; `None` is all of each topic.
    Assign {
        /// The partitions, ascending.
        partitions: Option<Vec<i32>>,
    },
    /// A group's.
    Group(String),
}

/// What `consume` is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumeArgs {
    pub(crate) brokers: Option<String>,
    /// None where there is a pattern.
    pub(crate) topics: Vec<String>,
    /// Found in the names of the topics that are meant.
    pub(crate) pattern: Option<String>,
    pub(crate) mode: Mode,
    pub(crate) start: Option<Offset>,
    pub(crate) stop_at_timestamp_ms: Option<i64>,
    pub(crate) exit_at_end: bool,
    pub(crate) count: Option<u64>,
    pub(crate) list: bool,
    pub(crate) output: Output,
    pub(crate) json_summary: bool,
    pub(crate) checksum: bool,
    pub(crate) properties_files: Vec<PathBuf>,
    pub(crate) properties: Vec<String>,
    pub(crate) dry_run: bool,
    pub(crate) recording: Option<PathBuf>,
}

/// Reads the arguments after `consume`; `None` when help is asked for.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<ConsumeArgs>, Failure> {
    let mut raw = Raw::default();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Short('b') => raw.brokers = Some(text(&mut parser)?),
            Short('t') => raw.topics.push(text(&mut parser)?),
            Short('p') => raw.partitions = Some(partitions(&text(&mut parser)?)?),
            Short('G') => raw.group = Some(text(&mut parser)?),
            Short('o') => raw.offset(&text(&mut parser)?)?,
            Short('c') => raw.count = Some(count(&text(&mut parser)?)?),
            Short('f') => raw.format = Some(format(&text(&mut parser)?)?),
            Short('F') => raw.properties_files.push(parser.value().map_err(usage)?.into()),
            Short('X') => raw.properties.push(text(&mut parser)?),
            Short('e') => raw.exit_at_end = true,
            Short('J') => raw.json = true,
            Short('q') => raw.quiet = true,
            Short('L') => raw.list = true,
            // Says "consumer" in kcat, where that is not the only mode.
            Short('C') => {}
            Long("json") => raw.json_summary = true,
            Long("checksum") => raw.checksum = true,
            Long("record") => raw.recording = Some(parser.value().map_err(usage)?.into()),
            Long("dry-run") => raw.dry_run = true,
            Value(topic) => raw.topics.push(topic.string().map_err(usage)?),
            other => return Err(usage(other.unexpected())),
        }
    }
    raw.check().map(Some)
}

/// The arguments as they were written, before it is known whether they go together.
#[derive(Debug, Default)]
struct Raw {
    brokers: Option<String>,
    topics: Vec<String>,
    partitions: Option<Vec<i32>>,
    group: Option<String>,
    start: Option<Offset>,
    stop_at_timestamp_ms: Option<i64>,
    count: Option<u64>,
    format: Option<Format>,
    json: bool,
    quiet: bool,
    exit_at_end: bool,
    list: bool,
    json_summary: bool,
    checksum: bool,
    dry_run: bool,
    recording: Option<PathBuf>,
    properties_files: Vec<PathBuf>,
    properties: Vec<String>,
}

impl Raw {
    fn offset(&mut self, text: &str) -> Result<(), Failure> {
        match offset::parse(text).map_err(usage)? {
            offset::Argument::Start(start) => self.start = Some(start),
            offset::Argument::StopAtTimestamp(ms) => self.stop_at_timestamp_ms = Some(ms),
        }
        Ok(())
    }

    /// As in librdkafka and kcat, a topic that begins with ^ is a pattern.
    fn take_pattern(&mut self) -> Result<Option<String>, Failure> {
        let Some(at) = self.topics.iter().position(|topic| topic.starts_with('^')) else { return Ok(None) };
        let pattern = self.topics.remove(at);
        if self.list {
            return Err(usage(format_args!("-L lists topics by name, or all: leave {pattern} out")));
        }
        if self.group.is_none() {
            return Err(usage(format_args!("{pattern} is a pattern, which needs a group: say -G GROUP")));
        }
        if let Some(other) = self.topics.first() {
            return Err(usage(format_args!(
                "a pattern goes alone: join {pattern} and {other} in one, such as ^(a|b)"
            )));
        }
        Ok(Some(pattern))
    }

    fn check(mut self) -> Result<ConsumeArgs, Failure> {
        if self.topics.is_empty() && !self.list {
            return Err(usage("no topic is named: say -t TOPIC"));
        }
        if let Some(empty) = self.topics.iter().find(|topic| topic.is_empty()) {
            return Err(usage(format_args!("{empty:?} is no topic")));
        }
        self.topics.sort_unstable();
        self.topics.dedup();
        let pattern = self.take_pattern()?;
        let output = match (self.quiet, self.json, self.format) {
            (true, _, _) => Output::Quiet,
            (false, true, None) => Output::Json,
            (false, true, Some(_)) => return Err(usage("-f and -J are two formats: say one")),
            (false, false, format) => Output::Format(format.unwrap_or_default()),
        };
        let mode = match (self.group, self.partitions) {
            (Some(_), Some(_)) => return Err(usage("the group assigns the partitions: -p goes without -G")),
            (Some(group), None) => Mode::Group(group),
            (None, partitions) => Mode::Assign { partitions },
        };
        if matches!(mode, Mode::Group(_)) {
            if self.start.is_some_and(|start| !start.is_reset()) {
                return Err(usage("with -G, -o is beginning, end or stored"));
            }
            if self.stop_at_timestamp_ms.is_some() {
                return Err(usage("-o e@ goes without -G"));
            }
        }
        Ok(ConsumeArgs {
            brokers: self.brokers,
            topics: self.topics,
            pattern,
            mode,
            start: self.start,
            stop_at_timestamp_ms: self.stop_at_timestamp_ms,
            exit_at_end: self.exit_at_end,
            count: self.count,
            list: self.list,
            output,
            json_summary: self.json_summary,
            checksum: self.checksum,
            properties_files: self.properties_files,
            properties: self.properties,
            dry_run: self.dry_run,
            recording: self.recording,
        })
    }
}

/// The most partitions that -p names; a range beyond it is a slip.
const MAX_PARTITIONS: usize = 200_000;

fn partitions(list: &str) -> Result<Vec<i32>, Failure> {
    let wrong = || usage(format_args!("-p {list}: expected partitions from 0 on, such as 3 or 0,4-7"));
    let number = |text: &str| text.parse::<i32>().ok().filter(|number| *number >= 0).ok_or_else(wrong);
    let mut partitions = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        let many =
            last.saturating_sub(first) as usize >= MAX_PARTITIONS - partitions.len().min(MAX_PARTITIONS - 1);
        if last < first || many {
            return Err(wrong());
        }
        partitions.extend(first..=last);
    }
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions)
}

fn count(text: &str) -> Result<u64, Failure> {
    let wrong = || usage(format_args!("-c {text}: expected a number of records, 1 or more"));
    text.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)
}

fn format(text: &str) -> Result<Format, Failure> {
    Format::parse(text).map_err(|problem| usage(format_args!("-f {text:?}: {problem}")))
}

fn text(parser: &mut lexopt::Parser) -> Result<String, Failure> {
    parser.value().map_err(usage)?.string().map_err(usage)
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Usage { command: "consume ", problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<ConsumeArgs, String> {
        match parse(lexopt::Parser::from_args(arguments)) {
            Ok(parsed) => Ok(parsed.expect("help was not asked for")),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn kcats_letters_mean_what_they_mean_there() {
        let line = "-C -b k1:1,k2 -t orders -p 0,4-6 -o -5 -e -c 10 -f %o\\n -X fetch.min.bytes=10";
        let args = read(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert_eq!(args.brokers.as_deref(), Some("k1:1,k2"));
        assert_eq!(args.topics, ["orders"]);
        assert_eq!(args.mode, Mode::Assign { partitions: Some(vec![0, 4, 5, 6]) });
        assert_eq!(args.start, Some(Offset::FromEnd(5)));
        assert!(args.exit_at_end && !args.list && !args.dry_run && !args.json_summary);
        assert_eq!(args.count, Some(10));
        assert_eq!(args.output, Output::Format(Format::parse("%o\\n").unwrap()));
        assert_eq!(args.properties, ["fetch.min.bytes=10"]);
    }

    #[test]
    fn a_group_takes_its_topics_behind_it_as_kcat_does() {
        let args = read(&["-b", "k", "-G", "g", "b", "a", "a"]).unwrap();
        assert_eq!(args.mode, Mode::Group("g".to_owned()));
        assert_eq!(args.topics, ["a", "b"]);
    }

    #[test]
    fn in_a_group_a_topic_that_begins_with_a_caret_is_a_pattern() {
        let args = read(&["-b", "k", "-G", "g", "^orders-"]).unwrap();
        assert_eq!((args.pattern.as_deref(), args.topics.len()), (Some("^orders-"), 0));
        assert_eq!(read(&["-b", "k", "-G", "g", "orders-"]).unwrap().pattern, None);
    }

    #[test]
    fn letters_and_values_may_be_joined() {
        let args = read(&["-bk", "-tt", "-obeginning", "-eqJ"]).unwrap();
        assert_eq!(
            (args.start, args.exit_at_end, args.output),
            (Some(Offset::Beginning), true, Output::Quiet)
        );
    }

    #[test]
    fn start_and_stop_may_both_be_given() {
        let args = read(&["-t", "t", "-o", "s@5", "-o", "e@9"]).unwrap();
        assert_eq!((args.start, args.stop_at_timestamp_ms), (Some(Offset::Timestamp(5)), Some(9)));
    }

    #[test]
    fn what_does_not_go_together_is_refused_in_one_line() {
        for (arguments, named) in [
            (&["-b", "k"][..], "no topic"),
            (&["-t", ""], "is no topic"),
            (&["-t", "t", "-f", "%s", "-J"], "-f and -J"),
            (&["-t", "t", "-G", "g", "-p", "1"], "-p goes without -G"),
            (&["-t", "^t"], "^t is a pattern, which needs a group: say -G"),
            (&["-G", "g", "^t", "u"], "join ^t and u in one"),
            (&["-G", "g", "^t", "^u"], "join ^t and ^u in one"),
            (&["-L", "-t", "^t"], "leave ^t out"),
            (&["-t", "t", "-G", "g", "-o", "7"], "with -G"),
            (&["-t", "t", "-G", "g", "-o", "e@7"], "without -G"),
            (&["-t", "t", "-p", "3-1"], "-p 3-1"),
            (&["-t", "t", "-p", "0-2147483647"], "-p 0-2147483647"),
            (&["-t", "t", "-p", "-1"], "-p -1"),
            (&["-t", "t", "-c", "0"], "-c 0"),
            (&["-t", "t", "-o", "middle"], "middle"),
            (&["-t", "t", "-f", "%q"], "%q"),
            (&["-t", "t", "--frobnicate"], "--frobnicate"),
            (&["-t"], "-t"),
        ] {
            let error = read(arguments).unwrap_err();
            assert!(error.contains(named) && !error.contains('\n'), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn a_list_needs_no_topic() {
        assert!(read(&["-b", "k", "-L"]).unwrap().list);
    }
}
