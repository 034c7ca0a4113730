//! Integration suites of Millstream.

pub mod cores;
pub mod kafka;
