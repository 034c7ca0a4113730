//! Integration suites of Millstream.

pub mod kafka;
