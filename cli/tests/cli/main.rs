//! The binary, run against test brokers and against what is no broker.

mod common;
mod config_check;
mod consume;
mod demo;
mod failures;
mod recording;
mod verifiable;
