//! Integration suites of Millstream.

pub mod anomalies;
pub mod cores;
pub mod cutter;
pub mod engine;
pub mod gate;
pub mod group;
pub mod hostile;
pub mod journal;
pub mod kafka;
pub mod numbers;
pub mod proxy;
pub mod seccomp;
pub mod simulation;
pub mod turnstile;
pub mod verifiable;
