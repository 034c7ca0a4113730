//! Integration suites of Millstream.
