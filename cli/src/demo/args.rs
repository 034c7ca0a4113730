//! The arguments of `demo`.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use lexopt::prelude::{Long, Short, ValueExt};
use millstream::config::CoresSetting;

use super::payload::{MAX_RECORD_BYTES, MIN_RECORD_BYTES};
use crate::exit::Failure;

/// The page of `millstream demo --help`.
pub(crate) const HELP: &str = "\
usage: millstream demo [options]

Starts a broker inside this process, writes records to it at a steady rate, consumes them in a group on every core,
and verifies that each record came once, in order and unchanged. Broker and producer share the cores with the
consumer: this shows how it works and is no benchmark.

  --records N        end after N records (default: go on until SIGINT or --duration)
  --duration D       end after this time, such as 500ms, 10s or 2m
  --rate R           records per second, or max for as fast as it goes (default 500000)
  --partitions P     partitions of the topic (default 8)
  --record-size B    bytes of a value (default 100)
  --cores LIST       cores for the shards, such as 1-3, one shard each (default: the property cores)
  --handler-us U     have the handler compute for U microseconds per record (default 0)
  --no-tui           plain lines also on a terminal
  --json             write the summary as one JSON object, the last line of standard output
  -X KEY=VALUE       one property (see millstream config)

";

const DEFAULT_RATE: u64 = 500_000;
const DEFAULT_PARTITIONS: i32 = 8;
const DEFAULT_RECORD_BYTES: usize = 100;
const MAX_PARTITIONS: i32 = 1_000;
const MAX_RATE: u64 = 1_000_000_000;
const MAX_HANDLER_US: u64 = 1_000_000;

/// What `demo` is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DemoArgs {
    /// End after so many.
    pub(crate) records: Option<u64>,
    /// End after so long.
    pub(crate) duration: Option<Duration>,
    /// Records per second; `None` is as fast as it goes.
    pub(crate) rate: Option<u64>,
    pub(crate) partitions: i32,
    pub(crate) record_bytes: usize,
    pub(crate) cores: Option<CoresSetting>,
    pub(crate) handler_us: u64,
    pub(crate) plain: bool,
    pub(crate) json: bool,
    pub(crate) properties: Vec<String>,
}

impl Default for DemoArgs {
    fn default() -> Self {
        Self {
            records: None,
            duration: None,
            rate: Some(DEFAULT_RATE),
            partitions: DEFAULT_PARTITIONS,
            record_bytes: DEFAULT_RECORD_BYTES,
            cores: None,
            handler_us: 0,
            plain: false,
            json: false,
            properties: Vec::new(),
        }
    }
}

/// Reads the arguments after `demo`; `None` when help is asked for.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<DemoArgs>, Failure> {
    let mut args = DemoArgs::default();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("records") => args.records = Some(number(&mut parser, "--records", 1, u64::MAX)?),
            Long("duration") => args.duration = Some(duration(&text(&mut parser)?)?),
            Long("rate") => args.rate = rate(&text(&mut parser)?)?,
            Long("partitions") => args.partitions = number(&mut parser, "--partitions", 1, MAX_PARTITIONS)?,
            Long("record-size") => {
                args.record_bytes = number(&mut parser, "--record-size", MIN_RECORD_BYTES, MAX_RECORD_BYTES)?;
            }
            Long("cores") => args.cores = Some(cores(&text(&mut parser)?)?),
            Long("handler-us") => args.handler_us = number(&mut parser, "--handler-us", 0, MAX_HANDLER_US)?,
            Long("no-tui") => args.plain = true,
            Long("json") => args.json = true,
            Short('X') => args.properties.push(text(&mut parser)?),
            other => return Err(usage(other.unexpected())),
        }
    }
    Ok(Some(args))
}

fn rate(text: &str) -> Result<Option<u64>, Failure> {
    match text {
        "max" => Ok(None),
        text => in_range("--rate", text, 1, MAX_RATE).map(Some),
    }
}

fn cores(text: &str) -> Result<CoresSetting, Failure> {
    text.parse().map_err(|error| usage(format_args!("--cores {text}: {error}")))
}

fn duration(text: &str) -> Result<Duration, Failure> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit_ms = match &text[digits..] {
        "ms" => Some(1),
        "" | "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let ms = unit_ms.and_then(|unit_ms| text[..digits].parse::<u64>().ok()?.checked_mul(unit_ms));
    let wrong = || usage(format_args!("--duration {text}: expected a time such as 500ms, 10s or 2m"));
    ms.filter(|ms| *ms > 0).map(Duration::from_millis).ok_or_else(wrong)
}

fn number<N: FromStr + PartialOrd + Display>(
    parser: &mut lexopt::Parser,
    name: &str,
    least: N,
    most: N,
) -> Result<N, Failure> {
    in_range(name, &text(parser)?, least, most)
}

fn in_range<N: FromStr + PartialOrd + Display>(
    name: &str,
    text: &str,
    least: N,
    most: N,
) -> Result<N, Failure> {
    let number = text.parse().ok().filter(|number| *number >= least && *number <= most);
    number.ok_or_else(|| usage(format_args!("{name} {text}: expected a number from {least} to {most}")))
}

fn text(parser: &mut lexopt::Parser) -> Result<String, Failure> {
    parser.value().map_err(usage)?.string().map_err(usage)
}

fn usage(problem: impl Display) -> Failure {
    Failure::Usage { command: "demo ", problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<DemoArgs, String> {
        match parse(lexopt::Parser::from_args(line.split_whitespace())) {
            Ok(parsed) => Ok(parsed.expect("help was not asked for")),
            Err(failure) => Err(failure.to_string()),
        }
    }

    #[test]
    fn every_option_is_read() {
        let line = "--records 10 --duration 2m --rate max --partitions 3 --record-size 64 --cores 1-2 --handler-us 5 \
                    --no-tui --json -X fetch.min.bytes=1";
        let expected = DemoArgs {
            records: Some(10),
            duration: Some(Duration::from_secs(120)),
            rate: None,
            partitions: 3,
            record_bytes: 64,
            cores: Some(CoresSetting::List(vec![1, 2])),
            handler_us: 5,
            plain: true,
            json: true,
            properties: vec!["fetch.min.bytes=1".to_owned()],
        };
        assert_eq!(read(line), Ok(expected));
        assert_eq!(read(""), Ok(DemoArgs::default()));
    }

    #[test]
    fn times_have_units() {
        for (text, ms) in [("500ms", 500), ("3", 3_000), ("3s", 3_000), ("1m", 60_000)] {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused_by_name() {
        for line in [
            "--records 0",
            "--duration 0s",
            "--duration 1h",
            "--duration 99999999999999999999m",
            "--rate 0",
            "--rate fast",
            "--partitions 0",
            "--partitions 1001",
            "--record-size 11",
            "--cores some",
            "--cores 2-1",
            "--handler-us -1",
            "--frobnicate",
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(line.split(' ').next().unwrap()), "{line}: {error}");
        }
    }
}
