//! Recordings: what the shards of a running engine were given, in a file, and replays of it.
//!
//! A shard's core does no IO, so what it does follows from what it is given: its configuration and seed, the
//! completions and commands of each turn, every time that it reads, and what its handlers return. A recording is
//! those, in order, and what came out of the core: requests, batches for handlers, marks, events. [`replay`] gives the
//! first to the same core without sockets, threads, or waiting, and compares the second.
//!
//! Where it is off, recording costs a branch per turn, dispatch and mark. `docs/recording.md` has the file format, and
//! what is not recorded; `docs/adr/0012-recordings-of-shards.md` says why it is this and no more.
//!
//! The way of a step: a `Tape` on the shard's thread notes it, a `Recorder` writes it; in a replay `Fields` read it, a
//! `Player` gives it to the core, and a `Script` has what the core calls meanwhile.

mod command;
mod error;
mod format;
mod player;
mod recorded;
mod recorder;
mod script;
mod step;
mod tape;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

pub use error::RecordingError;
pub(crate) use recorder::Recorder;
pub(crate) use tape::Tape;

use crate::config::ConfigSources;
use crate::shard::ShardSettings;
use format::{Blocks, Fields, NextBlock, PREAMBLE_BYTES, Problem, block};
use player::Player;
use script::Trouble;
use time::Times;

/// The most shards of one recording.
const SHARDS_MAX: usize = 1024;
/// The most properties of one recording.
const SETTINGS_MAX: usize = 1024;
/// The largest `memory.budget.bytes` that is replayed: a replay needs the memory that the run had.
const BUDGET_MAX_BYTES: u64 = 8 << 30;

/// What a replay has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Replayed {
    /// The version of the engine that was recorded. Another one may do things in another order without being wrong.
    pub version: String,
    /// What was played of each shard.
    pub shards: Vec<ReplayedShard>,
    /// The first thing that happened otherwise; the replay ends there. `None` when everything happened as recorded.
    pub divergence: Option<Divergence>,
    /// Where the file ends, in bytes, if it was not ended in order: its process was killed, or its disk was full. What
    /// is before that was played.
    pub cut_off_at: Option<u64>,
}

/// What was played of one shard.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReplayedShard {
    /// Turns of its loop.
    pub turns: u64,
    /// Requests that were asked to be sent.
    pub requests: u64,
    /// Bytes that it received.
    pub received_bytes: u64,
    /// Batches that its handlers were given.
    pub batches: u64,
    /// Records in those.
    pub records: u64,
    /// A sum over the offsets, timestamps, keys, values and headers of those records, in their order.
    pub sum: u64,
    /// Progress marks that it told.
    pub marks: u64,
    /// Events that it told.
    pub events: u64,
    /// The time that it covers.
    pub lasted: Duration,
    /// Why its recording ends before the shard did.
    pub stopped: Option<String>,
}

/// Something that happens otherwise than it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Divergence {
    /// The shard.
    pub shard: usize,
    /// When, after the beginning of the recording.
    pub after: Duration,
    /// Where the file was read to, in bytes.
    pub offset: u64,
    /// What was recorded.
    pub recorded: String,
    /// What happens now.
    pub replayed: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, after, offset, recorded, replayed } = self;
        write!(
            f,
            "shard {shard}, {:.6} s after the beginning, at byte {offset}: recorded: {recorded}; now: {replayed}",
            after.as_secs_f64()
        )
    }
}

/// Plays a recording, and says whether everything happens as recorded. It takes the time that the work takes, and not
/// the time that it took.
///
/// ```no_run
/// let replayed = millstream::recording::replay("run.rec")?;
/// match replayed.divergence {
///     None => println!("the same {} shards", replayed.shards.len()),
///     Some(divergence) => println!("{divergence}"),
/// }
/// # Ok::<(), millstream::recording::RecordingError>(())
/// ```
///
/// # Errors
/// When the file is no recording, of another format version, or damaged; the error says where.
pub fn replay(path: impl AsRef<Path>) -> Result<Replayed, RecordingError> {
    play(BufReader::new(File::open(path)?))
}

fn play(file: impl Read) -> Result<Replayed, RecordingError> {
    let mut blocks = Blocks::new(file)?;
    let NextBlock::Block(mut fields) = blocks.next_block()? else {
        let problem = "the file ends before it says what was recorded".to_owned();
        return Err(RecordingError::Malformed { offset: PREAMBLE_BYTES as u64, problem });
    };
    let beginning = Beginning::read(&mut fields).map_err(|problem| fields.wrong(problem))?;
    let mut players = beginning.players()?;
    let mut replayed =
        Replayed { version: beginning.version, shards: Vec::new(), divergence: None, cut_off_at: None };
    loop {
        match blocks.next_block()? {
            NextBlock::Block(fields) => match play_block(fields, &mut players) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Trouble::Unreadable(error)) => return Err(error),
                Err(Trouble::Diverged(divergence)) => {
                    replayed.divergence = Some(*divergence);
                    break;
                }
            },
            NextBlock::CutOff(offset) => {
                replayed.cut_off_at = Some(offset);
                break;
            }
        }
    }
    replayed.shards = players.into_iter().map(Player::finish).collect();
    Ok(replayed)
}

/// Plays one block; `false` when it was the last one.
fn play_block(mut fields: Fields, players: &mut [Player]) -> Result<bool, Trouble> {
    let unreadable = |fields: &Fields, problem| Trouble::Unreadable(fields.wrong(problem));
    match fields.byte() {
        Ok(block::STEPS) => {}
        Ok(block::END) => return Ok(false),
        Ok(other) => return Err(unreadable(&fields, format!("{other} is no kind of block here"))),
        Err(problem) => return Err(unreadable(&fields, problem)),
    }
    let shard: usize = fields.narrow().map_err(|problem| unreadable(&fields, problem))?;
    match players.get_mut(shard) {
        Some(player) => player.play(fields).map(|()| true),
        None => Err(unreadable(&fields, format!("steps of shard {shard}, which there is not"))),
    }
}

/// What a recording says first.
struct Beginning {
    version: String,
    shards: usize,
    settings: Vec<(String, String)>,
}

impl Beginning {
    fn read(fields: &mut Fields) -> Result<Self, Problem> {
        if fields.byte()? != block::BEGINNING {
            return Err("the first block does not say what was recorded".to_owned());
        }
        let version = fields.text()?;
        let shards = fields.narrow()?;
        if shards == 0 || shards > SHARDS_MAX {
            return Err(format!("{shards} shards, where 1 to {SHARDS_MAX} are possible"));
        }
        let count = fields.count()?;
        if count > SETTINGS_MAX {
            return Err(format!("{count} properties, where {SETTINGS_MAX} are the most"));
        }
        let settings: Result<Vec<_>, Problem> =
            (0..count).map(|_| Ok((fields.text()?, fields.text()?))).collect();
        Ok(Self { version, shards, settings: settings? })
    }

    /// A player for each shard, under the configuration of the run.
    fn players(&self) -> Result<Vec<Player>, RecordingError> {
        let mut sources = ConfigSources::new();
        for (name, value) in &self.settings {
            sources.set(name.as_str(), value.as_str());
        }
        let config = sources.build()?;
        if config.memory_budget_bytes > BUDGET_MAX_BYTES {
            let (budget, max) = (config.memory_budget_bytes, BUDGET_MAX_BYTES);
            return Err(RecordingError::TooMuchMemory { budget, max });
        }
        let settings = ShardSettings::new(&config, self.shards)?;
        let times = Times::from(Instant::now());
        Ok((0..self.shards).map(|index| Player::new(index, settings.clone(), times)).collect())
    }
}
