//! A word to those whose group does not do what the command line seems to ask for.

use std::io;
use std::thread::{Builder, JoinHandle};

use millstream::{EngineEvent, Handle};

use super::args::{ConsumeArgs, Mode};
use super::offset::Offset;
use crate::terminal;

/// Says on standard error, once, that a partition goes on where its group was, where `-G` and `-o beginning` ask for
/// the beginning: in a group `-o` is for partitions that it has committed nothing of. And that no topic matches.
pub(super) fn start(args: &ConsumeArgs, handle: &Handle) -> io::Result<Option<JoinHandle<()>>> {
    let Mode::Group(group) = &args.mode else { return Ok(None) };
    let mut wants_beginning = args.start == Some(Offset::Beginning);
    let pattern = args.pattern.clone();
    if !wants_beginning && pattern.is_none() {
        return Ok(None);
    }
    let (group, events) = (group.clone(), handle.events());
    let body = move || {
        for event in events {
            match (event, &pattern) {
                (EngineEvent::Opened { at, offset, .. }, _) if offset > 0 && wants_beginning => {
                    wants_beginning = false;
                    terminal::say(&format!(
                        "{at} starts at offset {offset}: -o beginning is for partitions that group {group} has \
                         committed nothing of; to read all of it again, leave out -G or take another group\n"
                    ));
                }
                (EngineEvent::TopicsMatched { topics, .. }, Some(pattern)) if topics.is_empty() => {
                    terminal::say(&format!("{pattern} is in no topic's name: waiting for one\n"));
                }
                _ => {}
            }
        }
    };
    Builder::new().name("hint".to_owned()).spawn(body).map(Some)
}

/// Waits until all is said, which the end of the engine sees to.
pub(super) fn finish(hint: Option<JoinHandle<()>>) {
    if let Some(Err(panic)) = hint.map(JoinHandle::join) {
        std::panic::resume_unwind(panic);
    }
}
