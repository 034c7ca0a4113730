//! The `consume` command: a Kafka cluster's records to standard output.

pub(crate) mod args;
mod dry_run;
mod envelope;
mod fields;
mod format;
mod handler;
mod hint;
mod list;
mod offset;
mod progress;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use millstream::config::{Config, ConfigSources};
use millstream::{Engine, EngineBuilder, Partitions, Prepared, Signals, StartPosition};

use crate::ended::{Ended, was_wanted};
use crate::exit::Failure;
use crate::measure::RunClock;
use crate::sink::Sink;
use crate::summary::Summary;
use crate::tally::Totals;
use crate::terminal;
use crate::watch::Watch;
use args::{ConsumeArgs, Mode, Output};
use handler::{Consumer, Run};
use offset::Offset;
use progress::Progress;

/// Runs the command. `process_start` is the first instant that the program could take.
pub(crate) fn run(args: &ConsumeArgs, process_start: Instant) -> Result<(), Failure> {
    if args.list {
        return list::run(args, &config(args)?);
    }
    let prepared = prepare(args)?;
    if args.dry_run {
        return dry_run::run(args, &prepared);
    }
    consume(args, prepared, process_start)
}

fn consume(args: &ConsumeArgs, prepared: Prepared, process_start: Instant) -> Result<(), Failure> {
    // Before anything is started, so that nothing has to be left behind.
    let signals = Signals::catch()?;
    let run = Arc::new(Run {
        clock: RunClock::new(process_start),
        totals: Totals::default(),
        output: args.output.clone(),
        sink: Sink::stdout()?,
        checksum: args.checksum,
        left: args.count.map(AtomicU64::new),
        stop_at_timestamp_ms: args.stop_at_timestamp_ms,
        commits: matches!(args.mode, Mode::Group(_)),
    });
    let grace = prepared.config().shutdown_timeout;
    let engine = {
        let run = Arc::clone(&run);
        prepared.start(move |_lane| Ok::<_, Ended>(Consumer::new(Arc::clone(&run))))?
    };
    let handle = engine.handle();
    let watch = match shows_progress(args) {
        true => {
            let mut progress = Progress::new();
            Some(
                Watch::start(handle.clone(), progress::INTERVAL, move |stats| progress.show(stats))
                    .map_err(Failure::failed)?,
            )
        }
        false => None,
    };
    let hint = hint::start(args, &handle).map_err(Failure::failed)?;
    let ended = engine.wait_for(signals, grace);
    hint::finish(hint);
    if let Some(watch) = watch {
        watch.finish();
        terminal::clear_line();
    }
    was_wanted(ended.map(drop))?;
    let mut summary = Summary::new(&handle.stats()?);
    summary.set_tally(&run.totals.sum());
    summary.set_span(run.clock.span());
    summary.checksum = args.checksum.then(|| run.totals.sum().checksum);
    if args.json_summary {
        run.sink.write_line(&summary.to_json())?;
    } else {
        terminal::say(&summary.to_string());
    }
    Ok(())
}

/// The engine as the arguments want it.
fn prepare(args: &ConsumeArgs) -> Result<Prepared, Failure> {
    let mut builder = Engine::builder();
    for path in &args.properties_files {
        builder = builder.properties_file(path)?;
    }
    builder = builder.environment()?;
    for property in &args.properties {
        builder = builder.argument(property)?;
    }
    if let Some(brokers) = &args.brokers {
        builder = builder.property("bootstrap.servers", brokers);
    }
    builder = match &args.mode {
        Mode::Group(group) => in_group(builder, group, args),
        Mode::Assign { partitions } => assigned(builder, partitions.as_deref(), args),
    };
    if let Some(path) = &args.recording {
        builder = builder.record(path);
    }
    Ok(builder.stop_at_end(args.exit_at_end || args.stop_at_timestamp_ms.is_some()).build()?)
}

fn in_group(builder: EngineBuilder, group: &str, args: &ConsumeArgs) -> EngineBuilder {
    let builder = match &args.pattern {
        // What is found anywhere in a name there is the whole of a name here.
        Some(pattern) => builder.topics_matching(format!(".*(?:{pattern}).*")),
        None => builder.topics(args.topics.iter().map(String::as_str)),
    };
    let builder = builder.group(group);
    match args.start {
        Some(Offset::Beginning) => builder.property("auto.offset.reset", "earliest"),
        Some(Offset::End) => builder.property("auto.offset.reset", "latest"),
        _ => builder,
    }
}

fn assigned(mut builder: EngineBuilder, partitions: Option<&[i32]>, args: &ConsumeArgs) -> EngineBuilder {
    let start = args.start.map_or(StartPosition::Earliest, Offset::start_position);
    for topic in &args.topics {
        let partitions = partitions.map_or(Partitions::All, |some| Partitions::Only(some.to_vec()));
        builder = builder.assign(topic.as_str(), partitions, start);
    }
    // With a group.id (for its stored offsets) the engine would commit; without -G nothing is to be committed.
    builder.property("enable.auto.commit", "false")
}

/// The configuration alone, where there may be nothing to consume.
fn config(args: &ConsumeArgs) -> Result<Config, Failure> {
    let mut sources = ConfigSources::new();
    for path in &args.properties_files {
        sources.properties_file(path)?;
    }
    sources.environment(std::env::vars_os())?;
    for property in &args.properties {
        sources.argument(property)?;
    }
    if let Some(brokers) = &args.brokers {
        sources.set("bootstrap.servers", brokers);
    }
    Ok(sources.build()?)
}

/// Progress goes to a terminal that records do not go to as well.
fn shows_progress(args: &ConsumeArgs) -> bool {
    io::stderr().is_terminal() && (args.output == Output::Quiet || !io::stdout().is_terminal())
}
