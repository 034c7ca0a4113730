//! Real Kafka under faults: brokers that die and come back, networks that lose, delay and change what passes, topics
//! that change. Every record is counted and compared; what comes twice has a cause that permits it.
//!
//! All scenarios share one cluster of three brokers, in turn. Members reach it through proxies, the producer does not.

mod brokers;
mod elections;
mod members;
mod network;
mod protocols;
mod replicas;
mod stage;
mod topics;
