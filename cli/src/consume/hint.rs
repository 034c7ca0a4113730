//! A word to those who ask a group for the beginning of what it has read already.

use std::io;
use std::thread::{Builder, JoinHandle};

use millstream::{EngineEvent, Handle};

use super::args::{ConsumeArgs, Mode};
use super::offset::Offset;
use crate::terminal;

/// Says once, on standard error, that a partition goes on where its group was, where `-G` and `-o beginning` ask for
/// the beginning: in a group `-o` is for partitions that it has committed nothing of.
pub(super) fn start(args: &ConsumeArgs, handle: &Handle) -> io::Result<Option<JoinHandle<()>>> {
    let (Mode::Group(group), Some(Offset::Beginning)) = (&args.mode, args.start) else { return Ok(None) };
    let (group, events) = (group.clone(), handle.events());
    let body = move || {
        let went_on = events.into_iter().find_map(|event| match event {
            EngineEvent::Opened { at, offset, .. } if offset > 0 => Some((at, offset)),
            _ => None,
        });
        if let Some((at, offset)) = went_on {
            terminal::say(&format!(
                "{at} starts at offset {offset}: -o beginning is for partitions that group {group} has committed \
                 nothing of; to read all of it again, leave out -G or take another group\n"
            ));
        }
    };
    Builder::new().name("hint".to_owned()).spawn(body).map(Some)
}

/// Waits until it is said, which the end of the engine sees to.
pub(super) fn finish(hint: Option<JoinHandle<()>>) {
    if let Some(Err(panic)) = hint.map(JoinHandle::join) {
        std::panic::resume_unwind(panic);
    }
}
