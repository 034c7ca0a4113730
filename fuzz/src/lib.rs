//! What Millstream does with bad input: one function per fuzz target, which takes any bytes and panics where a promise
//! is broken.
//!
//! The programs in `fuzz_targets/` give these functions to a fuzzer; the test in `tests/` gives them the committed
//! seeds and what once broke a promise, on a stable compiler. A target never fails because its input is bad, only
//! because the answer to it is: a panic, memory that the input's length does not justify, an error that says nothing,
//! or a broken invariant.

mod assignors;
mod configuration;
mod fetch_response;
mod fetch_session;
mod group;
mod host;
mod input;
mod memory;
mod record_batches;
mod responses;
pub mod seeds;

pub use assignors::assignors;
pub use configuration::configuration;
pub use fetch_response::fetch_response;
pub use fetch_session::fetch_session;
pub use group::classic::classic_group;
pub use group::consumer::consumer_group;
pub use host::host;
pub use record_batches::record_batches;
pub use responses::responses;

/// Counts what each thread holds, so that targets can bound it.
#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, by the name of its program.
pub const TARGETS: [Target; 9] = [
    ("fetch_response", fetch_response),
    ("record_batches", record_batches),
    ("responses", responses),
    ("fetch_session", fetch_session),
    ("classic_group", classic_group),
    ("consumer_group", consumer_group),
    ("assignors", assignors),
    ("configuration", configuration),
    ("host", host),
];

/// Every error says something, in one piece of text.
fn says_something(error: &dyn std::error::Error) {
    assert!(!error.to_string().trim().is_empty(), "an error without a message: {error:?}");
}
