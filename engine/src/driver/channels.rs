//! The rings between the control thread and one shard's thread. Bounded both ways; what does not fit waits with its
//! sender.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use rtrb::{Consumer, Producer, RingBuffer};

use super::waker::Waker;
use crate::link::{Command, Event, Mark};
use crate::pulse::Pulse;
use crate::recording::Tape;
use crate::shard::Shard;

/// Commands on their way to one shard; more wait on the control thread.
const COMMANDS_MAX: usize = 1024;
/// Events on their way from one shard; more wait on the shard.
const EVENTS_MAX: usize = 1024;
/// Marks on their way from one shard; the shard keeps the newest of each lane for later when there is no room.
const MARKS_MAX: usize = 4096;

/// The control thread's ends of one shard's rings.
pub(crate) struct ControlEnd {
    commands: Producer<Command>,
    waiting: VecDeque<Command>,
    events: Consumer<Event>,
    marks: Consumer<Mark>,
    waker: Waker,
    pub(crate) pulse: Arc<Pulse>,
}

/// The shard's ends of its rings.
pub(crate) struct ShardEnd {
    commands: Consumer<Command>,
    events: Producer<Event>,
    marks: Producer<Mark>,
    control: Arc<OnceLock<Waker>>,
}

/// What becomes the control thread's end once the shard's thread has a waker.
pub(crate) struct ControlHalf {
    commands: Producer<Command>,
    events: Consumer<Event>,
    marks: Consumer<Mark>,
    pulse: Arc<Pulse>,
}

/// The rings of one shard. `control` is filled when the control thread runs.
pub(crate) fn channels(pulse: Arc<Pulse>, control: Arc<OnceLock<Waker>>) -> (ControlHalf, ShardEnd) {
    let (commands_in, commands_out) = RingBuffer::new(COMMANDS_MAX);
    let (events_in, events_out) = RingBuffer::new(EVENTS_MAX);
    let (marks_in, marks_out) = RingBuffer::new(MARKS_MAX);
    let half = ControlHalf { commands: commands_in, events: events_out, marks: marks_out, pulse };
    (half, ShardEnd { commands: commands_out, events: events_in, marks: marks_in, control })
}

impl ControlHalf {
    /// The end, with the way to wake the shard.
    pub(crate) fn with_waker(self, waker: Waker) -> ControlEnd {
        let Self { commands, events, marks, pulse } = self;
        ControlEnd { commands, waiting: VecDeque::new(), events, marks, waker, pulse }
    }
}

impl ControlEnd {
    /// Sends a command behind all earlier ones.
    pub(crate) fn send(&mut self, command: Command) {
        self.waiting.push_back(command);
    }

    /// Moves waiting commands into the ring and wakes the shard if there were any.
    pub(crate) fn flush(&mut self) {
        let mut any = false;
        while !self.commands.is_full()
            && let Some(command) = self.waiting.pop_front()
        {
            any = self.commands.push(command).is_ok();
        }
        if any {
            self.waker.wake();
        }
    }

    /// Whether commands wait for room in the ring.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The oldest event.
    pub(crate) fn event(&mut self) -> Option<Event> {
        self.events.pop().ok()
    }

    /// The oldest mark.
    pub(crate) fn mark(&mut self) -> Option<Mark> {
        self.marks.pop().ok()
    }

    /// Whether the shard's thread is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.commands.is_abandoned()
    }
}

impl ShardEnd {
    /// The oldest command.
    pub(crate) fn command(&mut self) -> Option<Command> {
        self.commands.pop().ok()
    }

    /// Whether a command waits.
    pub(crate) fn has_command(&self) -> bool {
        !self.commands.is_empty()
    }

    /// Passes on progress as far as there is room, and says whether there is room left. It wakes nobody: marks are read
    /// when there is something to commit.
    pub(crate) fn pass_on_marks(&mut self, shard: &mut Shard, mut tape: Option<&mut Tape>) -> bool {
        while !self.marks.is_full() {
            let mark = shard.poll_mark();
            if let Some(tape) = tape.as_deref_mut() {
                tape.mark(mark.as_ref());
            }
            let Some(mark) = mark else { break };
            // There is room: this end is the only one that fills it.
            let _ = self.marks.push(mark);
        }
        !self.marks.is_full()
    }

    /// Passes on what the shard has to tell, as far as there is room, and says whether that was all. Events wake the
    /// control thread, and so does a ring full of marks; other marks wait for its next look. Marks go first, so that an
    /// event never overtakes the progress before it.
    pub(crate) fn pass_on(
        &mut self,
        shard: &mut Shard,
        mut tape: Option<&mut Tape>,
        mut stamp: impl FnMut(&mut Event),
    ) -> bool {
        let all_marked = self.pass_on_marks(shard, tape.as_deref_mut());
        let mut any = false;
        while all_marked
            && !self.events.is_full()
            && let Some(mut event) = shard.poll_event()
        {
            if let Some(tape) = tape.as_deref_mut() {
                tape.event(&event);
            }
            stamp(&mut event);
            any = self.events.push(event).is_ok();
        }
        let is_full = self.events.is_full() || self.marks.is_full();
        if (any || is_full)
            && let Some(control) = self.control.get()
        {
            control.wake();
        }
        !is_full
    }
}

impl Drop for ShardEnd {
    /// The control thread must learn that the shard is gone, however it went.
    fn drop(&mut self) {
        if let Some(control) = self.control.get() {
            control.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::shard::tests::brokers::Answer;
    use crate::shard::tests::rig::{Rig, Stopped, batch};

    #[test]
    fn an_event_never_overtakes_the_marks_before_it() {
        let mut rig = Rig::new(|settings| settings.poll_records_max = 1);
        rig.open(0, 1);
        rig.settle();
        let first = rig.fetch();
        let count = MARKS_MAX + 1;
        rig.answer(&first, &[Answer::records(0, count as i64, &[batch(0, count, 1)])]);
        let pulse = Arc::new(Pulse::new(Instant::now()));
        let (mut control, mut end) = channels(pulse, Arc::default());
        for _ in 0..count {
            assert!(rig.shard.dispatch(&Stopped(rig.now)));
            end.pass_on_marks(&mut rig.shard, None);
        }
        assert!(!end.pass_on(&mut rig.shard, None, |_| {}), "the last mark has no room");
        assert!(control.events.pop().is_err(), "the end was reached after a mark that is not told");
        assert_eq!(std::iter::from_fn(|| control.marks.pop().ok()).count(), MARKS_MAX);
        assert!(end.pass_on(&mut rig.shard, None, |_| {}));
        assert_eq!(control.marks.pop().map(|mark| mark.next_offset), Ok(count as i64));
        assert!(matches!(control.events.pop(), Ok(Event::EndReached { .. })));
    }
}
