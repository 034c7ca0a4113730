//! Building an engine: configuration from its sources, and what to consume.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Prepared, plan};
use crate::config::{Config, ConfigError, ConfigSources};
use crate::control::{AssignedTopic, Pattern, Subscription};
use crate::error::Error;
use crate::position::StartPosition;

/// Which partitions of a topic to consume.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Partitions {
    /// All, those added later included.
    All,
    /// These.
    Only(Vec<i32>),
}

impl Partitions {
    /// The partitions that are named; `None` for all.
    pub(super) fn only(self) -> Option<Vec<i32>> {
        match self {
            Self::All => None,
            Self::Only(partitions) => Some(partitions),
        }
    }
}

/// Collects configuration and subscription; see [`Engine::builder`](crate::Engine::builder).
///
/// The sources of the configuration win in this order, the strongest first: [`property`](Self::property),
/// [`argument`](Self::argument), [`environment`](Self::environment), [`properties_file`](Self::properties_file).
///
/// Two partitions from the beginning, without a group, until both are read to their ends:
///
/// ```no_run
/// use millstream::{Engine, Partitions, StartPosition};
///
/// let prepared = Engine::builder()
///     .property("bootstrap.servers", "localhost:9092")
///     .argument("isolation.level=read_committed")?
///     .assign("orders", Partitions::Only(vec![0, 1]), StartPosition::Earliest)
///     .stop_at_end(true)
///     .build()?;
/// println!("shards on cores {:?}: {}", prepared.shard_cores(), prepared.core_plan_reason());
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct EngineBuilder {
    sources: ConfigSources,
    topics: Vec<Arc<str>>,
    patterns: Vec<Arc<str>>,
    group_start: StartPosition,
    assigned: Vec<AssignedTopic>,
    stop_at_end: bool,
    recording: Option<PathBuf>,
}

impl EngineBuilder {
    /// Reads properties from a file in Java's `.properties` syntax.
    ///
    /// # Errors
    /// When it cannot be read or is malformed; names and values are checked by [`build`](Self::build).
    pub fn properties_file(mut self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        self.sources.properties_file(path)?;
        Ok(self)
    }

    /// Takes properties from variables such as `MILLSTREAM_BOOTSTRAP_SERVERS` of the process's environment.
    ///
    /// # Errors
    /// When a variable with this prefix names no property.
    pub fn environment(mut self) -> Result<Self, ConfigError> {
        self.sources.environment(std::env::vars_os())?;
        Ok(self)
    }

    /// Takes one `key=value` of a command line.
    ///
    /// # Errors
    /// When it has no `=`.
    pub fn argument(mut self, key_value: &str) -> Result<Self, ConfigError> {
        self.sources.argument(key_value)?;
        Ok(self)
    }

    /// Sets a property by Kafka's or librdkafka's name.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.sources.set(name, value);
        self
    }

    /// Sets `group.id`.
    #[must_use]
    pub fn group(self, group: impl Into<String>) -> Self {
        self.property("group.id", group)
    }

    /// Subscribes to topics as a member of the group.
    #[must_use]
    pub fn topics<T: Into<Arc<str>>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Subscribes, as a member of the group, to all topics whose names match a regular expression, those that are
    /// created later included. The whole name must match: `orders-.*` is about `orders-eu` and not about
    /// `old-orders-eu`.
    ///
    /// Under `group.protocol=classic` the engine compares, with the syntax of Rust's regex crates (no look-around, no
    /// back-references), whenever metadata is fetched (`metadata.max.age.ms`) and whenever the group rebalances;
    /// [`EngineEvent::TopicsMatched`](crate::EngineEvent::TopicsMatched) says which topics those are. Kafka's own
    /// topics are left out unless `exclude.internal.topics=false`. Under `group.protocol=consumer` the coordinator
    /// compares, with the syntax of RE2, which needs Kafka 4.0.
    ///
    /// There is one pattern, and no [`topics`](Self::topics) beside it: as in Java, an engine has one or the other.
    ///
    /// ```no_run
    /// # use millstream::{Engine, Error};
    /// let prepared = Engine::builder()
    ///     .property("bootstrap.servers", "localhost:9092")
    ///     .group("invoices")
    ///     .topics_matching("(orders|refunds)-[a-z]{2}")
    ///     .build()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn topics_matching(mut self, pattern: impl Into<Arc<str>>) -> Self {
        self.patterns.push(pattern.into());
        self
    }

    /// Where the group's partitions start; [`StartPosition::Committed`] unless it is said otherwise.
    #[must_use]
    pub fn group_start(mut self, start: StartPosition) -> Self {
        self.group_start = start;
        self
    }

    /// Consumes partitions of a topic without a group's assignment. With `group.id` set, their progress is committed
    /// to that group all the same.
    #[must_use]
    pub fn assign(
        mut self,
        topic: impl Into<Arc<str>>,
        partitions: Partitions,
        start: StartPosition,
    ) -> Self {
        let partitions = partitions.only();
        self.assigned.push(AssignedTopic { topic: topic.into(), partitions, start });
        self
    }

    /// Has the engine stop in order once every partition was read to its end: the high watermark, or the last stable
    /// offset under `read_committed`.
    #[must_use]
    pub fn stop_at_end(mut self, stop_at_end: bool) -> Self {
        self.stop_at_end = stop_at_end;
        self
    }

    /// Records everything that the shards are given and do into a file, for [`recording::replay`](crate::recording).
    /// The file must not be there yet; it holds the records that are consumed. Should it not be possible to write it
    /// any more, that is logged and consuming goes on.
    ///
    /// Not everything can be recorded: handlers that keep records, acknowledge them later or await, partitions that
    /// move, and shards that the caller drives end the recording of their shard, which says why.
    #[must_use]
    pub fn record(mut self, path: impl Into<PathBuf>) -> Self {
        self.recording = Some(path.into());
        self
    }

    /// Validates everything. No IO beyond reading what the host is; no thread is started.
    ///
    /// # Errors
    /// [`Error::Config`] for a property, [`Error::Subscription`] when it is not said what to consume, or in several
    /// ways, [`Error::Pattern`] for a pattern that cannot be read, [`Error::Host`] when the host does not have the
    /// cores.
    pub fn build(self) -> Result<Prepared, Error> {
        let Self { sources, topics, patterns, group_start, assigned, stop_at_end, recording } = self;
        let config = sources.build()?;
        let subscription = match (topics.is_empty(), &patterns[..], assigned.is_empty()) {
            (true, [], false) => Subscription::Assign(assigned),
            (false, [], true) => in_group(&config, Subscription::Group { topics, start: group_start })?,
            (true, [pattern], true) => {
                let pattern = Pattern::new(config.group_protocol, Arc::clone(pattern))?;
                in_group(&config, Subscription::Pattern { pattern, start: group_start })?
            }
            (true, [], true) => {
                return Err(Error::Subscription("nothing to consume: name topics, or assign partitions"));
            }
            (_, _, false) => {
                return Err(Error::Subscription(
                    "an engine either subscribes to topics or is assigned partitions",
                ));
            }
            (true, _, true) => {
                return Err(Error::Subscription("an engine has one pattern: join several as one|other"));
            }
            (false, _, true) => {
                return Err(Error::Subscription(
                    "an engine subscribes either to topics by name or to a pattern: name the topics in the pattern, \
                     as orders|refunds-.*",
                ));
            }
        };
        let plan = plan(&config)?;
        Ok(Prepared { config: Arc::new(config), subscription, stop_at_end, recording, plan })
    }
}

fn in_group(config: &Config, subscription: Subscription) -> Result<Subscription, Error> {
    match config.group_id {
        Some(_) => Ok(subscription),
        None => Err(Error::Subscription("subscribing to topics needs group.id")),
    }
}
