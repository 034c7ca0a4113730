//! What can be wrong with a configuration, said so that a person can mend it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::origin::Origin;

/// Why no [`Config`](super::Config) came of the sources. Values of properties that may hold secrets are not
/// repeated in the text.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No property has this name.
    #[error("{origin}: unknown property {key:?}{}", suggestion(.nearest))]
    UnknownKey {
        /// The name as it was written (for the environment: the whole variable).
        key: String,
        /// Where it was written.
        origin: Origin,
        /// The known name that is most like it, if one is.
        nearest: Option<String>,
    },
    /// The value is not of the property's kind, or out of its range.
    #[error("{origin}: {key}={value}: expected {expected}{}", in_particular(.detail))]
    BadValue {
        /// The property's name as it was written.
        key: String,
        /// The value as it was written.
        value: String,
        /// Where it was written.
        origin: Origin,
        /// Kind, unit and range of the property.
        expected: String,
        /// What is wrong in particular, where there is more to say.
        detail: Option<String>,
    },
    /// Kafka or librdkafka has this property or value; Millstream does not do it yet.
    #[error("{origin}: {setting} is not supported yet: {reason}")]
    NotYet {
        /// The property, and its value where the value decides and holds no secret.
        setting: String,
        /// Where it was written.
        origin: Origin,
        /// What Millstream does today.
        reason: String,
    },
    /// A property without a default was not set.
    #[error("{key} is not set: {fix}")]
    Missing {
        /// The property.
        key: &'static str,
        /// How to set it.
        fix: String,
    },
    /// One source gives one property two values under two names.
    #[error("{first_origin}: {first}, and {second_origin}: {second}: both name {key}; keep one")]
    Conflict {
        /// The property.
        key: &'static str,
        /// Name and value met first.
        first: String,
        /// Where that was written.
        first_origin: Origin,
        /// Name and value met second.
        second: String,
        /// Where that was written.
        second_origin: Origin,
    },
    /// Two values do not go together.
    #[error("{problem} ({left_key}: {left_origin}; {right_key}: {right_origin})")]
    Inconsistent {
        /// What must hold, with the values.
        problem: String,
        /// One property.
        left_key: &'static str,
        /// Where its value is from.
        left_origin: Origin,
        /// The other property.
        right_key: &'static str,
        /// Where its value is from.
        right_origin: Origin,
    },
    /// The memory budget is too small for this many shards.
    #[error(
        "memory.budget.bytes={budget_bytes} is too small for {shards} shard(s): each sets \
         decompressed.batch.max.bytes={decompressed_bytes} aside and needs {fetch_bytes} bytes for \
         fetching; set memory.budget.bytes to at least {needed_bytes}, lower \
         decompressed.batch.max.bytes, or name fewer cores"
    )]
    BudgetTooSmall {
        /// The budget of the process.
        budget_bytes: u64,
        /// Shards asked for.
        shards: usize,
        /// Set aside in each shard for one decompression.
        decompressed_bytes: usize,
        /// The least that a shard fetches with.
        fetch_bytes: usize,
        /// The least budget for this many shards.
        needed_bytes: u64,
    },
    /// The properties file cannot be read.
    #[error("cannot read the properties file {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The properties file breaks the syntax of Java's `.properties`.
    #[error("{}:{line}: {problem}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The properties file is larger than any real one.
    #[error("{} is larger than {limit_bytes} bytes; is it a properties file?", .path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit, [`MAX_PROPERTIES_FILE_BYTES`](super::MAX_PROPERTIES_FILE_BYTES).
        limit_bytes: u64,
    },
    /// An argument of `-X` is not of the form `key=value`.
    #[error("-X {argument}: expected key=value")]
    NotKeyValue {
        /// The argument.
        argument: String,
    },
    /// An environment variable of ours is not UTF-8.
    #[error("environment variable {variable}: the value is not UTF-8")]
    NotUtf8 {
        /// The variable.
        variable: String,
    },
}

fn suggestion(nearest: &Option<String>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => "; `millstream config` lists them all".to_owned(),
    }
}

fn in_particular(detail: &Option<String>) -> String {
    detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default()
}
