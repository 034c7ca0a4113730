//! The control plane against the test broker, in made-up time.

mod assign;
mod chaos;
mod group;
mod steering;
mod world;
