//! The configuration: Kafka's property names, from several sources, to one typed and checked [`Config`].
//!
//! [`ConfigSources`] collects settings from properties files, the environment, `-X` and the program, and
//! [`ConfigSources::build`] makes a [`Config`] of them, or a [`ConfigError`] that says what is wrong, where
//! it was written, and what to do. [`PROPERTIES`] is the one table behind both, and behind [`markdown`].

mod bootstrap;
mod check;
mod choices;
mod duration;
mod effective;
mod error;
mod markdown;
mod nearest;
mod origin;
mod properties_file;
mod property;
mod sources;
mod table;
mod typed;
mod value;
mod values;

use std::fmt;

pub use bootstrap::{DEFAULT_PORT, HostPort};
pub use check::{Verdict, check};
pub use effective::EffectiveValue;
pub use error::ConfigError;
pub use markdown::markdown;
pub use millstream_tuning::{CoreListError, CoresSetting};
pub use origin::Origin;
pub use property::{Alias, Choice, Conversion, JavaDefault, Kind, Property, Status};
pub use sources::{ConfigSources, ENVIRONMENT_PREFIX, MAX_PROPERTIES_FILE_BYTES, Setting};
pub use table::PROPERTIES;
pub use typed::{
    AssignmentStrategy, Config, GroupProtocol, HugePages, IdleStrategy, IsolationLevel,
    MIN_SHARD_FETCH_BYTES, OffsetReset, ShardMemory, Transport,
};

/// Something that was set and does less than it says; not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigWarning {
    /// The property's name as it was written.
    pub key: String,
    /// Where it was written.
    pub origin: Origin,
    /// What it does not do, and why.
    pub message: String,
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.origin, self.key, self.message)
    }
}
