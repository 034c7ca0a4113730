//! Consumer groups whose members are processes, our engine's and Java's, and the books of what they handled.

mod chronicle;
mod deliveries;
mod event;
mod member;
mod recording;
mod steps;
mod watch;

pub use deliveries::Deliveries;
pub use event::{EngineEvent, Offset};
pub use member::EngineMember;
pub use steps::{
    assert_committed_to_the_end, commit, held, is_holding, lost, topic, with, write, write_part,
};
pub use watch::{GroupUnderWatch, WatchedMember};
