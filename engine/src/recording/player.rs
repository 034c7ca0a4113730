//! Plays the steps of one shard: gives its core what it was given, and compares what comes out.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::command;
use super::format::Fields;
use super::script::{ReplayedClock, Script, Trouble};
use super::step::{self, Asked, tag};
use super::time::Times;
use super::{ReplayedShard, format};
use crate::lease::Lease;
use crate::link::Mark;
use crate::net::{Completion, ConnId, IoOp, ReceiveTarget};
use crate::pulse::Pulse;
use crate::shard::{Shard, ShardSettings, ShardSetup};

/// One shard in a replay.
pub(super) struct Player {
    index: usize,
    settings: ShardSettings,
    times: Times,
    script: Script,
    lease: Arc<Lease>,
    /// `None` before the recording says that it was made.
    core: Option<Shard>,
    now: Instant,
    /// What the core has asked for, and the recording has not named yet.
    asked: VecDeque<IoOp>,
    /// Requests on their way.
    sends: HashMap<ConnId, Vec<u8>>,
    /// Where bytes go that will come. A connection that is closed keeps its memory until the end of the receive is
    /// told, as with a kernel.
    receives: HashMap<ConnId, ReceiveTarget>,
    played: ReplayedShard,
    has_ended: bool,
}

impl Player {
    pub(super) fn new(index: usize, settings: ShardSettings, times: Times) -> Self {
        Self {
            index,
            settings,
            times,
            script: Script::new(index),
            lease: Arc::new(Lease::none(times.begun())),
            core: None,
            now: times.begun(),
            asked: VecDeque::new(),
            sends: HashMap::new(),
            receives: HashMap::new(),
            played: ReplayedShard::default(),
            has_ended: false,
        }
    }

    /// Plays the steps of one block.
    pub(super) fn play(&mut self, fields: Fields) -> Result<(), Trouble> {
        self.script.go_on_with(fields);
        while let Some(tag) = self.script.next_tag() {
            let stepped = catch_unwind(AssertUnwindSafe(|| self.step(tag)));
            if let Err(panic) = stepped {
                self.script.differ(step::name(Some(tag)), format!("the engine panics: {}", message(&*panic)));
            }
            self.script.take_trouble()?;
        }
        self.script.take_trouble()
    }

    /// What was played.
    pub(super) fn finish(self) -> ReplayedShard {
        let handled = self.script.handled();
        ReplayedShard {
            batches: handled.batches,
            records: handled.records,
            sum: handled.sum,
            lasted: self.script.lasted(),
            ..self.played
        }
    }

    /// Takes one step. What goes wrong is noted in the script.
    fn step(&mut self, tag: u8) {
        if tag == tag::START && self.core.is_none() {
            return self.start();
        }
        let Some(mut core) = self.core.take() else {
            return self.script.is_wrong("a step of a shard that is not made");
        };
        if self.has_ended {
            self.script.is_wrong("a step of a shard that has ended");
        } else if tag != tag::ASKED
            && let Some(op) = self.asked.pop_front()
        {
            self.script.differ(step::name(Some(tag)), Asked::now(&op).describe(None));
        } else {
            self.step_with(&mut core, tag);
        }
        self.core = Some(core);
    }

    fn start(&mut self) {
        let Some(seed) = self.script.read(Fields::number) else { return };
        self.core = Some(Shard::new(ShardSetup {
            index: self.index,
            settings: self.settings.clone(),
            factory: self.script.factory(),
            pulse: Arc::new(Pulse::new(self.times.begun())),
            lease: Arc::clone(&self.lease),
            bell: Arc::new(|| {}),
            seed,
        }));
    }

    fn step_with(&mut self, core: &mut Shard, tag: u8) {
        match tag {
            tag::TURN => {
                let Some(ns) = self.script.read(Fields::time_ns) else { return };
                self.script.set_time_ns(ns);
                self.now = self.times.at(ns);
                self.played.turns += 1;
            }
            tag::CONNECTED => {
                let Some((conn, result)) = self.script.read(step::read_done) else { return };
                core.on_completion(Completion::Connected { conn, result }, self.now);
            }
            tag::SENT => self.sent(core),
            tag::RECEIVED => self.received(core),
            tag::COMMAND => {
                let times = self.times;
                let Some(command) = self.script.read(|fields| command::read(fields, &times)) else { return };
                core.on_command(command, self.now);
            }
            tag::LOOK => {
                core.turn(self.now);
                let mut ops = Vec::new();
                core.take_ops(&mut ops);
                self.asked.extend(ops);
            }
            tag::ASKED => self.compare_asked(),
            tag::LEASE => {
                let Some(until_ns) = self.script.read(Fields::number) else { return };
                self.lease.set_until_ns(until_ns);
            }
            tag::DISPATCH => self.dispatch(core),
            tag::MARK | tag::NO_MARK => self.compare_mark(core, tag == tag::MARK),
            tag::EVENT => self.compare_event(core),
            tag::STOPPED => {
                self.played.stopped = self.script.read(Fields::text);
                self.has_ended = true;
            }
            tag::ENDED => self.has_ended = true,
            tag::DISPATCHED | tag::CLOCK | tag::MADE | tag::BATCH | tag::HOOK => {
                self.script.differ(step::name(Some(tag)), "that does not happen".to_owned());
            }
            other => self.script.is_wrong(&format!("{other} is no step here")),
        }
    }

    fn sent(&mut self, core: &mut Shard) {
        let Some((conn, result)) = self.script.read(step::read_done) else { return };
        let Some(bytes) = self.sends.remove(&conn) else {
            let recorded = format!("a request has left on connection {}", conn.0);
            return self.script.differ(recorded, "none was asked for".to_owned());
        };
        core.on_completion(Completion::Sent { conn, bytes, result }, self.now);
    }

    fn received(&mut self, core: &mut Shard) {
        let read = |fields: &mut Fields| {
            let conn = ConnId(fields.narrow()?);
            let received: io::Result<Vec<u8>> = match fields.flag()? {
                true => Ok(fields.bytes()?.to_vec()),
                false => Err(step::read_io_error(fields)?),
            };
            Ok::<_, format::Problem>((conn, received))
        };
        let Some((conn, received)) = self.script.read(read) else { return };
        let Some(mut target) = self.receives.remove(&conn) else {
            let recorded = format!("a receive on connection {} has ended", conn.0);
            return self.script.differ(recorded, "none was asked for".to_owned());
        };
        let result = match received {
            Ok(bytes) if bytes.len() > target.len => {
                let recorded = format!("{} bytes came on connection {}", bytes.len(), conn.0);
                return self.script.differ(recorded, format!("{} were asked for", target.len));
            }
            Ok(bytes) => {
                target.frame.fill(target.start, &bytes);
                self.played.received_bytes += bytes.len() as u64;
                Ok(bytes.len())
            }
            Err(error) => Err(error),
        };
        core.on_completion(Completion::Received { conn, target, result }, self.now);
    }

    fn compare_asked(&mut self) {
        let Some(recorded) = self.script.read(Asked::read) else { return };
        let Some(op) = self.asked.pop_front() else {
            return self.script.differ(recorded.describe(None), "nothing is asked of the network".to_owned());
        };
        let now = Asked::now(&op);
        if now != recorded {
            self.script.differ(recorded.describe(Some(&now)), now.describe(Some(&recorded)));
        }
        match op {
            IoOp::Send { conn, bytes } => {
                self.played.requests += 1;
                self.sends.insert(conn, bytes);
            }
            IoOp::Receive { conn, target } => {
                self.receives.insert(conn, target);
            }
            IoOp::Connect { .. } | IoOp::Close { .. } => {}
        }
    }

    fn dispatch(&mut self, core: &mut Shard) {
        let has_dispatched = core.dispatch(&ReplayedClock::new(&self.script, self.times, self.now));
        let what = || "the dispatch is over".to_owned();
        if let Some(recorded) = self.script.within(tag::DISPATCHED, what, Fields::flag)
            && recorded != has_dispatched
        {
            let say = |is_one| match is_one {
                true => "there is a batch to dispatch".to_owned(),
                false => "there is no batch to dispatch".to_owned(),
            };
            self.script.differ(say(recorded), say(has_dispatched));
        }
    }

    fn compare_mark(&mut self, core: &mut Shard, is_one: bool) {
        let recorded = match is_one {
            true => match self.script.read(step::read_mark) {
                Some(mark) => Some(mark),
                None => return,
            },
            false => None,
        };
        let now = core.poll_mark();
        self.played.marks += u64::from(now.is_some());
        if now != recorded {
            let say = |mark: Option<Mark>| match mark {
                Some(mark) => format!("{mark:?}"),
                None => "no progress to tell".to_owned(),
            };
            self.script.differ(say(recorded), say(now));
        }
    }

    fn compare_event(&mut self, core: &mut Shard) {
        let Some(recorded) = self.script.read(Fields::text) else { return };
        let now = core.poll_event().as_ref().and_then(step::told);
        self.played.events += 1;
        let cut = |text: String| text[..text.floor_char_boundary(format::TEXT_MAX_BYTES)].to_owned();
        match now.map(cut) {
            Some(now) if now == recorded => {}
            Some(now) => self.script.differ(recorded, now),
            None => self.script.differ(recorded, "no event".to_owned()),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
