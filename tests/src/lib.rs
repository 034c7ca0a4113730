//! Integration suites of Millstream.

pub mod cores;
pub mod engine;
pub mod group;
pub mod kafka;
