//! The `verifiable-consumer` command: a member of a group that says what it does, line by line, as Kafka's system tests
//! want it of a consumer.

pub(crate) mod args;
mod ledger;
mod lines;

use std::sync::Arc;
use std::thread;

use millstream::{Batch, Context, Engine, EngineBuilder, Handler, Outcome, Signals};

use crate::ended::{Ended, was_wanted};
use crate::exit::Failure;
use crate::sink::Sink;
use args::{Protocol, VerifiableArgs};
use ledger::{Ledger, Said};
use lines::Happening;

/// Runs the command.
pub(crate) fn run(args: &VerifiableArgs) -> Result<(), Failure> {
    let prepared = configured(args)?.build()?;
    let grace = prepared.config().shutdown_timeout;
    let signals = Signals::catch()?;
    let ledger = Arc::new(Ledger::new(args, Sink::stdout()?));
    // Held until events are followed: a handler that is quicker waits, so that nothing is said before what led to it.
    let mut pages = ledger.open();
    pages.say(&Happening::StartupComplete)?;
    let engine = {
        let (ledger, commits) = (Arc::clone(&ledger), !args.commits_at_interval);
        prepared.start(move |_lane| Ok::<_, Ended>(Member { ledger: Arc::clone(&ledger), commits }))?
    };
    pages.follow(engine.handle().events());
    drop(pages);
    let watch = {
        let (ledger, events) = (Arc::clone(&ledger), engine.handle().events());
        // Each event is a reason to look; the ledger reads them by itself, in the order of the lines.
        thread::Builder::new()
            .name("millstream-lines".to_owned())
            .spawn(move || events.into_iter().try_for_each(|_| ledger.open().catch_up()))
            .map_err(Failure::failed)?
    };
    let ended = engine.wait_for(signals, grace);
    watch.join().map_err(|_| Failure::Failed("the thread that writes lines has panicked".to_owned()))??;
    ledger.open().close()?;
    was_wanted(ended.map(drop))
}

fn configured(args: &VerifiableArgs) -> Result<EngineBuilder, Failure> {
    let mut builder = Engine::builder();
    if let Some(path) = &args.properties_file {
        builder = builder.properties_file(path)?;
    }
    builder = builder
        .environment()?
        .property("bootstrap.servers", &args.brokers)
        .property("auto.offset.reset", &args.reset_policy)
        .property("enable.auto.commit", if args.commits_at_interval { "true" } else { "false" });
    if let Some(instance) = &args.instance {
        builder = builder.property("group.instance.id", instance);
    }
    builder = match &args.protocol {
        Protocol::Classic { assignors, session_timeout_ms } => builder
            .property("partition.assignment.strategy", assignors)
            .property("session.timeout.ms", session_timeout_ms.to_string()),
        Protocol::Consumer { remote_assignor } => {
            let builder = builder.property("group.protocol", "consumer");
            match remote_assignor {
                Some(assignor) => builder.property("group.remote.assignor", assignor),
                None => builder,
            }
        }
    };
    Ok(builder.group(&args.group).topics([args.topic.as_str()]))
}

/// One partition's handler.
struct Member {
    ledger: Arc<Ledger>,
    /// After each batch.
    commits: bool,
}

impl Handler for Member {
    type Error = Ended;

    fn on_batch(&mut self, batch: &Batch<'_>, cx: &mut Context<'_>) -> Result<Outcome, Ended> {
        let said = self.ledger.open().consumed(batch)?;
        if self.commits {
            cx.commit();
        }
        match said {
            Said::All | Said::NotOurs => Ok(Outcome::Done),
            Said::AllThatWereWanted => Ok(Outcome::Stop),
            Said::UpTo(last) => {
                last.into_iter().for_each(|offset| cx.done(offset));
                Err(Ended::CountReached)
            }
        }
    }
}
