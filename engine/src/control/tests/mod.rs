//! The control plane against the test broker, in made-up time.

mod assign;
mod balancing;
mod chaos;
mod cooperative;
mod group;
mod health;
mod leases;
mod matching;
mod moves;
mod offsets;
mod racks;
mod reassign;
mod steering;
mod validation;
mod world;
