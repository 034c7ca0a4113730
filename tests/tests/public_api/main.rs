//! The public items of the engine's crate are those that `engine/public-api.txt` lists, and none is another crate's.
#![allow(clippy::print_stderr, reason = "a listing that was written says so")]

mod listing;
mod rustdoc;
mod signature;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{env, fs};

use listing::Listing;

/// The engine's crate, and those of ours that it shows items of.
const CRATES: [&str; 3] = ["millstream", "millstream-protocol", "millstream-tuning"];

/// The only crates whose items may be named besides the standard library's: snapshots are there to be serialised, and
/// who has the feature `tokio` has a runtime to name.
const ALLOWED_CRATES: [&str; 2] = ["serde_core", "tokio"];

/// What a format of Kafka's fixes for good.
const FIXED: [&str; 3] = ["millstream::Header", "millstream::TimestampType", "millstream::testing::Codec"];

/// Set, the test writes the listing instead of comparing it.
const UPDATE_VARIABLE: &str = "MILLSTREAM_TEST_UPDATE_PUBLIC_API";

#[test]
fn the_committed_listing_has_every_public_item_and_no_other() {
    let Some(Listing { text, .. }) = listing() else { return };
    let path = root().join("engine/public-api.txt");
    if env::var_os(UPDATE_VARIABLE).is_some() {
        fs::write(&path, text).unwrap();
        eprintln!("wrote {}", path.display());
        return;
    }
    let committed = fs::read_to_string(&path).unwrap();
    let differences = differences(&committed, text);
    assert!(
        differences.is_empty(),
        "engine/public-api.txt is not what the crate has; if that is meant, look at the difference and run\n\
         {UPDATE_VARIABLE}=1 cargo test -p millstream-tests --test public_api\n{differences}"
    );
}

#[test]
fn no_item_of_another_crate_is_in_a_public_signature() {
    let Some(Listing { foreign_crates, .. }) = listing() else { return };
    let foreign: Vec<_> =
        foreign_crates.iter().filter(|name| !ALLOWED_CRATES.contains(&name.as_str())).collect();
    assert!(foreign.is_empty(), "public signatures name items of {foreign:?}");
}

#[test]
fn every_type_in_a_public_signature_can_be_named() {
    let Some(Listing { unnameable, .. }) = listing() else { return };
    assert!(unnameable.is_empty(), "public signatures name private types: {unnameable:?}");
}

#[test]
fn every_public_enum_and_struct_with_public_fields_may_grow() {
    let Some(Listing { text, .. }) = listing() else { return };
    let fixed: Vec<&str> = text.split("\n\n").filter(|item| !may_grow(item)).filter_map(name).collect();
    assert_eq!(fixed, FIXED, "mark them #[non_exhaustive], or say why they never grow");
}

/// Whether an item can get another variant or field without breaking programs.
fn may_grow(item: &str) -> bool {
    let mut lines = item.lines();
    match lines.next() {
        Some(head) if head.starts_with("pub enum ") => false,
        Some(head) if head.starts_with("pub struct ") => !lines.any(is_field),
        _ => true,
    }
}

/// A line of a member that is a public field.
fn is_field(line: &str) -> bool {
    let member = line.trim().strip_prefix("pub ");
    member.and_then(|member| member.split_once(": ")).is_some_and(|(name, _)| !name.contains([' ', '(']))
}

/// The name at an item's head, without its parameters.
fn name(item: &str) -> Option<&str> {
    item.lines().next()?.split(' ').nth(2)?.split('<').next()
}

/// Made once for all tests; `None` where rustdoc is of another version than the reader.
fn listing() -> Option<&'static Listing> {
    static LISTING: LazyLock<Option<Listing>> = LazyLock::new(|| {
        let described = rustdoc::describe(&CRATES);
        let format = &described[0]["format_version"];
        if format != rustdoc::FORMAT_VERSION {
            let message =
                format!("rustdoc writes JSON of format {format}, read here is {}", rustdoc::FORMAT_VERSION);
            assert!(env::var_os("CI").is_none(), "{message}: bring tests/tests/public_api up to date");
            eprintln!("skipped: {message}");
            return None;
        }
        Some(Listing::of(&described[0], &described[1..]))
    });
    LISTING.as_ref()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Lines that only one of the two has, with a sign before each.
fn differences(committed: &str, now: &str) -> String {
    let only = |sign: char, left: &str, right: &str| {
        let right: Vec<&str> = right.lines().collect();
        let lines = left.lines().filter(|line| !right.contains(line));
        lines.map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    let differences = only('-', committed, now) + &only('+', now, committed);
    match differences.is_empty() && committed != now {
        true => "the same lines in another order or number\n".to_owned(),
        false => differences,
    }
}
