//! The arguments of `verifiable-consumer`: those of the Java tool of that name.

use std::path::PathBuf;

use lexopt::prelude::{Long, Short, ValueExt};

use crate::exit::Failure;

/// The page of `millstream verifiable-consumer --help`.
pub(crate) const HELP: &str = "\
usage: millstream verifiable-consumer --bootstrap-server HOST:PORT,... --topic TOPIC --group-id GROUP [options]

Consumes a topic as a member of a group, and writes what happens as JSON lines: partitions that come and go, records
consumed, offsets committed. Flags and lines are those of Kafka's VerifiableConsumer, so that Kafka's system tests can
drive it.

  --bootstrap-server LIST     host:port,... to ask first (also --broker-list)
  --topic TOPIC               what to consume
  --group-id GROUP            the group
  --group-instance-id ID      a static member of this name
  --group-protocol NAME       classic or consumer (default: classic)
  --group-remote-assignor A   the coordinator's assignor, under the protocol consumer
  --assignment-strategy LIST  assignors, under the protocol classic; Java's class names or Kafka's short ones
                              (default: range)
  --session-timeout MS        under the protocol classic (default: 30000)
  --reset-policy POLICY       where to start without a committed offset: earliest, latest or none (default: earliest)
  --enable-autocommit         commit at the interval; otherwise after each batch, and say so in a line
  --max-messages N            end after N records (default: -1, do not)
  --verbose                   write a line for each record
  --consumer.config FILE      a file of properties (also --command-config); flags win over it

Without arguments it writes this page. SIGINT and SIGTERM end it in order.

";

/// What `verifiable-consumer` is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifiableArgs {
    pub(super) brokers: String,
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) instance: Option<String>,
    pub(super) protocol: Protocol,
    pub(super) reset_policy: String,
    pub(super) commits_at_interval: bool,
    pub(super) max_messages: Option<u64>,
    pub(super) verbose: bool,
    pub(super) properties_file: Option<PathBuf>,
}

/// The group's protocol, with what belongs to each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Protocol {
    Classic { assignors: String, session_timeout_ms: u64 },
    Consumer { remote_assignor: Option<String> },
}

impl VerifiableArgs {
    /// Whether a rebalance takes all partitions away first, instead of only those that leave.
    pub(super) fn is_eager(&self) -> bool {
        match &self.protocol {
            Protocol::Consumer { .. } => false,
            Protocol::Classic { assignors, .. } => !assignors.split(',').map(str::trim).all(|assignor| {
                assignor == "cooperative-sticky" || assignor.ends_with("CooperativeStickyAssignor")
            }),
        }
    }
}

/// Reads the arguments after `verifiable-consumer`; `None` when help is asked for, or nothing.
pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Option<VerifiableArgs>, Failure> {
    let mut raw = Raw::default();
    let mut is_empty = true;
    while let Some(argument) = parser.next().map_err(usage)? {
        is_empty = false;
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("bootstrap-server" | "broker-list") => raw.brokers = Some(text(&mut parser)?),
            Long("topic") => raw.topic = Some(text(&mut parser)?),
            Long("group-id") => raw.group = Some(text(&mut parser)?),
            Long("group-instance-id") => raw.instance = Some(text(&mut parser)?),
            Long("group-protocol") => raw.protocol = Some(text(&mut parser)?.to_lowercase()),
            Long("group-remote-assignor") => raw.remote_assignor = Some(text(&mut parser)?),
            Long("assignment-strategy") => raw.assignors = Some(text(&mut parser)?),
            Long("session-timeout") => {
                raw.session_timeout_ms = Some(number("--session-timeout", &text(&mut parser)?)?)
            }
            Long("reset-policy") => raw.reset_policy = Some(text(&mut parser)?),
            Long("max-messages") => raw.max_messages = Some(number("--max-messages", &text(&mut parser)?)?),
            Long("consumer.config" | "command-config") => {
                raw.properties_file = Some(text(&mut parser)?.into())
            }
            Long("enable-autocommit") => raw.commits_at_interval = true,
            Long("verbose") => raw.verbose = true,
            other => return Err(usage(other.unexpected())),
        }
    }
    if is_empty { Ok(None) } else { raw.complete().map(Some) }
}

#[derive(Default)]
struct Raw {
    brokers: Option<String>,
    topic: Option<String>,
    group: Option<String>,
    instance: Option<String>,
    protocol: Option<String>,
    remote_assignor: Option<String>,
    assignors: Option<String>,
    session_timeout_ms: Option<i64>,
    reset_policy: Option<String>,
    max_messages: Option<i64>,
    properties_file: Option<PathBuf>,
    commits_at_interval: bool,
    verbose: bool,
}

impl Raw {
    fn complete(self) -> Result<VerifiableArgs, Failure> {
        let needed = |value: Option<String>, flag| value.ok_or_else(|| usage(format!("{flag} is missing")));
        let protocol = match self.protocol.as_deref() {
            None | Some("classic") => Protocol::Classic {
                assignors: self.assignors.unwrap_or_else(|| "range".to_owned()),
                session_timeout_ms: u64::try_from(self.session_timeout_ms.unwrap_or(30_000))
                    .map_err(|_| usage("--session-timeout is negative"))?,
            },
            Some("consumer") => Protocol::Consumer { remote_assignor: self.remote_assignor },
            Some(other) => return Err(usage(format!("--group-protocol {other}: classic and consumer are"))),
        };
        Ok(VerifiableArgs {
            brokers: needed(self.brokers, "--bootstrap-server")?,
            topic: needed(self.topic, "--topic")?,
            group: needed(self.group, "--group-id")?,
            instance: self.instance,
            protocol,
            reset_policy: self.reset_policy.unwrap_or_else(|| "earliest".to_owned()),
            commits_at_interval: self.commits_at_interval,
            // Negative is no limit.
            max_messages: self.max_messages.and_then(|count| u64::try_from(count).ok()),
            verbose: self.verbose,
            properties_file: self.properties_file,
        })
    }
}

fn text(parser: &mut lexopt::Parser) -> Result<String, Failure> {
    parser.value().and_then(ValueExt::string).map_err(usage)
}

fn number(flag: &str, text: &str) -> Result<i64, Failure> {
    text.parse().map_err(|_| usage(format!("{flag} {text}: not a whole number")))
}

fn usage(problem: impl std::fmt::Display) -> Failure {
    Failure::Usage { command: "verifiable-consumer ", problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [&str; 6] = ["--bootstrap-server", "b:9092", "--topic", "t", "--group-id", "g"];

    fn read(more: &[&str]) -> Result<Option<VerifiableArgs>, Failure> {
        parse(lexopt::Parser::from_args(NEEDED.iter().chain(more)))
    }

    #[test]
    fn the_defaults_are_the_java_tools() {
        let args = read(&[]).unwrap().unwrap();
        let classic = Protocol::Classic { assignors: "range".to_owned(), session_timeout_ms: 30_000 };
        assert_eq!((args.protocol.clone(), args.is_eager()), (classic, true));
        assert_eq!((args.reset_policy.as_str(), args.max_messages), ("earliest", None));
        assert!(!args.commits_at_interval && !args.verbose);
    }

    #[test]
    fn the_harness_flags_are_read() {
        let line = "--group-instance-id node-1 --session-timeout 10000 --enable-autocommit --verbose --max-messages 7 \
                    --assignment-strategy org.apache.kafka.clients.consumer.CooperativeStickyAssignor \
                    --consumer.config /tmp/verifiable_consumer.properties --reset-policy latest";
        let args = read(&line.split_whitespace().collect::<Vec<_>>()).unwrap().unwrap();
        assert!(!args.is_eager() && args.commits_at_interval && args.verbose);
        assert_eq!((args.instance.as_deref(), args.max_messages), (Some("node-1"), Some(7)));
        assert_eq!(args.properties_file, Some("/tmp/verifiable_consumer.properties".into()));
        let next =
            read(&["--group-protocol", "CONSUMER", "--group-remote-assignor", "range"]).unwrap().unwrap();
        assert_eq!(next.protocol, Protocol::Consumer { remote_assignor: Some("range".to_owned()) });
        assert!(!next.is_eager());
        assert_eq!(read(&["--max-messages", "-1"]).unwrap().unwrap().max_messages, None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        assert!(parse(lexopt::Parser::from_args([""; 0])).unwrap().is_none(), "nothing asked, help given");
        for (arguments, named) in [
            (&["--topic", "t", "--group-id", "g"][..], "--bootstrap-server"),
            (&["--bootstrap-server", "b:9092", "--topic", "t"], "--group-id"),
            (&["--session-timeout", "soon"], "soon"),
            (
                &["--bootstrap-server", "b", "--topic", "t", "--group-id", "g", "--group-protocol", "x"],
                "classic",
            ),
            (&["--what"], "--what"),
        ] {
            let error = parse(lexopt::Parser::from_args(arguments)).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
