//! Consumer groups whose members are processes, our engine's and Java's, and the books of what they handled.

mod deliveries;
mod event;
mod member;
mod watch;

pub use deliveries::Deliveries;
pub use event::{EngineEvent, Offset};
pub use member::EngineMember;
pub use watch::{GroupUnderWatch, WatchedMember};
