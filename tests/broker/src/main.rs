//! Runs the test broker on its own, for clients of any kind to be pointed at.

use std::io::{self, Write};
use std::process::ExitCode;

use lexopt::prelude::{Long, Short, ValueExt};
use millstream_testbroker::{Config, TestBroker};

const USAGE: &str = "usage: millstream-testbroker [--port N] [--brokers N] [--topic NAME:PARTITIONS]...

An in-memory Kafka cluster on 127.0.0.1, for tests. It forgets everything when it ends.
  --port N                 port of the first broker; the others follow it (default: free ports)
  --brokers N              number of brokers (default 1)
  --topic NAME:PARTITIONS  creates a topic; may be given several times
";

const MAX_BROKERS: i32 = 100;

struct Arguments {
    port: u16,
    brokers: i32,
    topics: Vec<(String, i32)>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // When stderr is gone too there is nobody left to tell.
            _ = writeln!(io::stderr(), "millstream-testbroker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let Some(arguments) = parse()? else {
        io::stdout().write_all(USAGE.as_bytes())?;
        return Ok(());
    };
    let config = Config { brokers: (1..=arguments.brokers).collect(), ..Config::default() };
    let broker = TestBroker::start_at(config, arguments.port)?;
    for (name, partitions) in &arguments.topics {
        broker.handle().create_topic(name, *partitions)?;
    }
    writeln!(io::stdout(), "bootstrap.servers={}", broker.bootstrap())?;
    // Ends with the process, by a signal.
    loop {
        std::thread::park();
    }
}

fn parse() -> Result<Option<Arguments>, Box<dyn std::error::Error>> {
    let mut arguments = Arguments { port: 0, brokers: 1, topics: Vec::new() };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => arguments.port = parser.value()?.parse()?,
            Long("brokers") => arguments.brokers = parser.value()?.parse()?,
            Long("topic") => arguments.topics.push(topic(&parser.value()?.string()?)?),
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if !(1..=MAX_BROKERS).contains(&arguments.brokers) {
        return Err(format!("--brokers {}: use 1 to {MAX_BROKERS}", arguments.brokers).into());
    }
    Ok(Some(arguments))
}

fn topic(text: &str) -> Result<(String, i32), String> {
    let wrong = || format!("--topic {text:?} is not NAME:PARTITIONS, such as orders:4");
    let (name, partitions) = text.rsplit_once(':').ok_or_else(wrong)?;
    Ok((name.to_owned(), partitions.parse().map_err(|_| wrong())?))
}
