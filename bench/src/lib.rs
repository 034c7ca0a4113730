//! Benchmarks of Millstream.
