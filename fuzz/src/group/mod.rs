//! The state machines of group membership: arbitrary answers in arbitrary order.
//!
//! One file per machine. The one of the classic protocol is here; that of KIP-848 gets a file beside it, a line in
//! `TARGETS`, a program in `fuzz_targets/` and its seeds.

pub(crate) mod classic;
