//! Fetch: what is asked of a broker, and what it answers.

pub mod response;
