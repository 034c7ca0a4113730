//! Fetch: what is asked of a broker, and what it answers.

pub mod request;
pub mod response;
pub mod session;
