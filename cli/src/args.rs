//! Which command is asked for.

use std::io::{self, Write};

use lexopt::prelude::{Long, Short, Value, ValueExt};

use crate::config::{self, ConfigArgs};
use crate::consume::args::{self as consume_args, ConsumeArgs};
use crate::demo::args::{self as demo_args, DemoArgs};
use crate::exit::{self, Failure};
use crate::replay::{self, ReplayArgs};
use crate::verifiable::args::{self as verifiable_args, VerifiableArgs};

const HELP: &str = "\
usage: millstream COMMAND [options]

A thread-per-core Kafka consumer engine.

Commands:
  demo      start a broker inside this process, consume it on every core, and verify each record
  consume   consume a Kafka cluster; kcat's letters
  config    list every property with its value in force and where it is from; sort pasted ones
  replay    play what consume has recorded, without a cluster, and say whether the same happens
  verifiable-consumer
            say what a member of a group does in JSON lines, for Kafka's system tests

  millstream COMMAND --help    the options of a command
  millstream --version

Environment:
  MILLSTREAM_LOG         what is logged on standard error, such as debug or millstream=trace (default: error)
  MILLSTREAM_<PROPERTY>  a property, such as MILLSTREAM_GROUP_ID for group.id

";

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Only print this.
    Print(String),
    /// `demo`.
    Demo(DemoArgs),
    /// `consume`.
    Consume(Box<ConsumeArgs>),
    /// `config`.
    Config(ConfigArgs),
    /// `replay`.
    Replay(ReplayArgs),
    /// `verifiable-consumer`.
    Verifiable(Box<VerifiableArgs>),
}

/// Reads the command line.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command, Failure> {
    let name = match parser.next().map_err(usage)? {
        None => return Err(usage("no command is named: demo, consume, config or replay")),
        Some(Short('h') | Long("help")) => return Ok(help(HELP)),
        Some(Short('V') | Long("version")) => {
            return Ok(Command::Print(concat!("millstream ", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
        }
        Some(Value(name)) => name.string().map_err(usage)?,
        Some(other) => return Err(usage(other.unexpected())),
    };
    match name.as_str() {
        "help" => Ok(help(HELP)),
        "demo" => Ok(demo_args::parse(parser)?.map_or_else(|| help(demo_args::HELP), Command::Demo)),
        "consume" => Ok(match consume_args::parse(parser)? {
            Some(args) => Command::Consume(Box::new(args)),
            None => help(consume_args::HELP),
        }),
        "config" => Ok(config::parse(parser)?.map_or_else(|| help(config::HELP), Command::Config)),
        "replay" => Ok(replay::parse(parser)?.map_or_else(|| help(replay::HELP), Command::Replay)),
        "verifiable-consumer" => Ok(match verifiable_args::parse(parser)? {
            Some(args) => Command::Verifiable(Box::new(args)),
            None => help(verifiable_args::HELP),
        }),
        other => Err(usage(format_args!("{other:?} is no command: demo, consume, config and replay are"))),
    }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

fn help(page: &str) -> Command {
    Command::Print(format!("{page}{}", exit::HELP))
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Usage { command: "", problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Command, Failure> {
        parse(lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn every_command_has_a_help_page_with_the_exit_codes() {
        for arguments in [
            &["--help"][..],
            &["help"],
            &["demo", "--help"],
            &["consume", "-h"],
            &["config", "--help"],
            &["config", "check", "-h"],
            &["replay", "--help"],
            &["verifiable-consumer"],
            &["verifiable-consumer", "--help"],
        ] {
            let Ok(Command::Print(page)) = read(arguments) else { panic!("{arguments:?}") };
            assert!(page.starts_with("usage: millstream ") && page.ends_with(exit::HELP), "{arguments:?}");
            assert!(page.lines().all(|line| line.len() <= 120), "{arguments:?}");
        }
    }

    #[test]
    fn the_version_is_the_crates() {
        assert!(matches!(read(&["--version"]), Ok(Command::Print(text)) if text == "millstream 0.1.0\n"));
    }

    #[test]
    fn no_command_or_an_unknown_one_is_an_error_that_lists_them() {
        for arguments in [&[][..], &["produce"], &["--produce"]] {
            assert!(matches!(read(arguments), Err(Failure::Usage { command: "", .. })), "{arguments:?}");
        }
        assert!(read(&["produce"]).unwrap_err().to_string().contains("consume"));
    }
}
