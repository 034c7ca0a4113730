//! The typed configuration: every value in range, in Rust's types, and checked against the others.

use std::time::Duration;

use millstream_tuning::CoresSetting;

use super::ConfigWarning;
use super::bootstrap::HostPort;
use super::effective::EffectiveValue;
use super::error::ConfigError;
use super::origin::Origin;
use super::value::Value;
use super::values::Values;

/// Bytes beyond `fetch.max.bytes` that a response's own fields may take, as librdkafka reckons it.
const RESPONSE_OVERHEAD_BYTES: usize = 512;
/// The longest `group.instance.id`, by Kafka's rule.
const MAX_GROUP_INSTANCE_ID_BYTES: usize = 249;
/// The least that a shard must be able to fetch with, besides its room for one decompression.
pub const MIN_SHARD_FETCH_BYTES: usize = 1 << 20;

/// What the engine runs with. The fields are named as their properties, without the unit where the type
/// carries it; sizes are in bytes. Made by [`ConfigSources::build`](super::ConfigSources::build).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Brokers to ask first; never empty.
    pub bootstrap_servers: Vec<HostPort>,
    /// Sent with every request.
    pub client_id: String,
    /// Where this process is; empty where that is not told.
    pub client_rack: String,
    /// The group, if there is one.
    pub group_id: Option<String>,
    /// The static member's name, if it is one. Set only together with `group_id`.
    pub group_instance_id: Option<String>,
    /// How the member takes part in its group.
    pub group_protocol: GroupProtocol,
    /// The coordinator's assignor that is asked for; only under [`GroupProtocol::Consumer`].
    pub group_remote_assignor: Option<String>,
    /// Assignors offered to the group, the most wanted first; never empty, none twice.
    pub partition_assignment_strategy: Vec<AssignmentStrategy>,
    /// Longer than `heartbeat_interval`.
    pub session_timeout: Duration,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// The longest that a dispatched batch may lack its outcome.
    pub max_poll_interval: Duration,
    /// How long a partition with records to deliver may stand still before that is told; `None` for ever.
    pub stall_timeout: Option<Duration>,
    /// How often to look whether a partition should move between shards; `None` for never.
    pub balance_interval: Option<Duration>,
    /// Commit by interval; false without a group.
    pub enable_auto_commit: bool,
    /// Time between automatic commits.
    pub auto_commit_interval: Duration,
    /// Where to start without a valid committed offset.
    pub auto_offset_reset: OffsetReset,
    /// Which records of transactions are delivered.
    pub isolation_level: IsolationLevel,
    /// Check CRC-32C.
    pub check_crcs: bool,
    /// Create topics that are asked for.
    pub allow_auto_create_topics: bool,
    /// Leave Kafka's own topics out of those that match a pattern.
    pub exclude_internal_topics: bool,
    /// A broker answers a Fetch once it has this much.
    pub fetch_min_bytes: usize,
    /// The most to ask for in one Fetch.
    pub fetch_max_bytes: usize,
    /// The longest that a broker holds a Fetch back.
    pub fetch_max_wait: Duration,
    /// The most to ask for from one partition in one Fetch.
    pub max_partition_fetch_bytes: usize,
    /// The largest response that is taken.
    pub receive_message_max_bytes: usize,
    /// Metadata older than this is fetched again.
    pub metadata_max_age: Duration,
    /// After how long without metadata `bootstrap_servers` are asked anew; `None` where they are asked once only.
    pub metadata_rebootstrap_trigger: Option<Duration>,
    /// For fetched data, the whole process.
    pub memory_budget_bytes: u64,
    /// What large frames lie on.
    pub memory_huge_pages: HugePages,
    /// The most that one batch decompresses to.
    pub decompressed_batch_max_bytes: usize,
    /// The most records in one dispatch, at least 1.
    pub max_poll_records: usize,
    /// A dispatch ends with the record that reaches this many bytes, at least 1.
    pub max_poll_bytes: usize,
    /// Where shards run; whether this host has these cores is for [`millstream_tuning`] to say.
    pub cores: CoresSetting,
    /// What an idle shard does.
    pub idle_strategy: IdleStrategy,
    /// How long an idle shard looks again at most before it sleeps, with [`IdleStrategy::Adaptive`].
    pub idle_spin: Duration,
    /// How sockets are driven.
    pub transport: Transport,
    /// How long handlers get to finish at a stop.
    pub shutdown_timeout: Duration,
    /// The longest wait for a response; a Fetch gets `fetch_max_wait` on top.
    pub request_timeout: Duration,
    /// The longest that a call with retries takes.
    pub default_api_timeout: Duration,
    /// At most `retry_backoff_max`.
    pub retry_backoff: Duration,
    /// The longest wait between retries.
    pub retry_backoff_max: Duration,
    /// At most `reconnect_backoff_max`.
    pub reconnect_backoff: Duration,
    /// The longest wait between reconnections.
    pub reconnect_backoff_max: Duration,
    /// At most `socket_connection_setup_timeout_max`.
    pub socket_connection_setup_timeout: Duration,
    /// The most that the time for setting up a connection grows to.
    pub socket_connection_setup_timeout_max: Duration,
    /// Unused connections are closed after this; `None` keeps them.
    pub connections_max_idle: Option<Duration>,
    /// SO_SNDBUF; `None` leaves it to the system.
    pub send_buffer_bytes: Option<usize>,
    /// SO_RCVBUF; `None` leaves it to the system.
    pub receive_buffer_bytes: Option<usize>,
    effective: Vec<EffectiveValue>,
    warnings: Vec<ConfigWarning>,
}

/// How a member takes part in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupProtocol {
    /// The members assign, by JoinGroup and SyncGroup.
    Classic,
    /// The coordinator assigns, by ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

/// An assignor of the classic group protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AssignmentStrategy {
    /// Topic by topic, ranges of partitions.
    Range,
    /// All partitions of all topics in turn.
    RoundRobin,
    /// As even as can be, with as few moves as that takes.
    Sticky,
    /// As `Sticky`, and what a member keeps flows on during a rebalance (KIP-429), where every assignor listed can.
    CooperativeSticky,
}

/// Where to start without a valid committed offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OffsetReset {
    /// At the first record there is.
    Earliest,
    /// After the last record there is.
    Latest,
    /// At the first record that is not older than this (KIP-1106); after the last record where all are.
    ByDuration(Duration),
    /// Nowhere: an error.
    None,
}

/// Which records of transactions are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// All.
    ReadUncommitted,
    /// Those of committed transactions, up to the last stable offset.
    ReadCommitted,
}

/// What a shard does when nothing is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdleStrategy {
    /// Sleeps in the kernel.
    Park,
    /// Keeps its core and looks again.
    Spin,
    /// Looks again for a while after work, as long as work comes that soon, and then sleeps.
    Adaptive,
}

/// What the memory of large frames lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HugePages {
    /// Pages of the usual size.
    Off,
    /// Frames of 2 MiB and more ask for transparent huge pages.
    Transparent,
}

/// How sockets are driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// By io_uring where the host permits it, else by epoll.
    Auto,
    /// By io_uring, or not at all.
    Uring,
    /// By plain sockets and epoll.
    Poll,
}

/// A shard's part of the memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardMemory {
    /// For fetched frames, at least [`MIN_SHARD_FETCH_BYTES`].
    pub fetch_bytes: usize,
    /// Set aside for one decompression.
    pub decompression_bytes: usize,
}

impl Config {
    /// Every property that is used, with its value, where that is from, and what it means; in the order of
    /// the table.
    pub fn effective(&self) -> &[EffectiveValue] {
        &self.effective
    }

    /// What was set and changes nothing, or not as much as it says.
    pub fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// Each shard's part of the budget when `shards` (at least 1) share it.
    ///
    /// # Errors
    /// [`ConfigError::BudgetTooSmall`] where a shard could not decompress one batch and fetch beside it.
    pub fn shard_memory(&self, shards: usize) -> Result<ShardMemory, ConfigError> {
        let shards = shards.max(1);
        let decompression_bytes = self.decompressed_batch_max_bytes;
        let share_bytes = usize::try_from(self.memory_budget_bytes / shards as u64).unwrap_or(usize::MAX);
        match share_bytes.checked_sub(decompression_bytes) {
            Some(fetch_bytes) if fetch_bytes >= MIN_SHARD_FETCH_BYTES => {
                Ok(ShardMemory { fetch_bytes, decompression_bytes })
            }
            _ => Err(ConfigError::BudgetTooSmall {
                budget_bytes: self.memory_budget_bytes,
                shards,
                decompressed_bytes: decompression_bytes,
                fetch_bytes: MIN_SHARD_FETCH_BYTES,
                needed_bytes: self.least_shard_bytes().saturating_mul(shards as u64),
            }),
        }
    }

    /// The most shards that the budget carries, for `cores=auto`; at least 1 for every valid configuration.
    pub fn most_shards(&self) -> usize {
        usize::try_from(self.memory_budget_bytes / self.least_shard_bytes()).unwrap_or(usize::MAX)
    }

    fn least_shard_bytes(&self) -> u64 {
        (self.decompressed_batch_max_bytes + MIN_SHARD_FETCH_BYTES) as u64
    }

    pub(super) fn from_values(mut values: Values) -> Result<Self, ConfigError> {
        let Some(Value::Servers(bootstrap_servers)) = values.value("bootstrap.servers").cloned() else {
            let fix = "name at least one broker as host:port".to_owned();
            return Err(ConfigError::Missing { key: "bootstrap.servers", fix });
        };
        let group_id = values.text("group.id");
        let (retry_backoff, retry_backoff_max) =
            values.growing("retry.backoff.ms", "retry.backoff.max.ms")?;
        let (reconnect_backoff, reconnect_backoff_max) =
            values.growing("reconnect.backoff.ms", "reconnect.backoff.max.ms")?;
        let (socket_connection_setup_timeout, socket_connection_setup_timeout_max) =
            values.growing("socket.connection.setup.timeout.ms", "socket.connection.setup.timeout.max.ms")?;
        let config = Self {
            bootstrap_servers,
            client_id: values.text("client.id").unwrap_or_default(),
            client_rack: values.text("client.rack").unwrap_or_default(),
            enable_auto_commit: auto_commit(&mut values, group_id.is_some()),
            group_instance_id: group_instance_id(&values, group_id.is_some())?,
            group_id,
            group_protocol: group_protocol(&values),
            group_remote_assignor: values.text("group.remote.assignor"),
            partition_assignment_strategy: assignors(&values),
            session_timeout: values.millis("session.timeout.ms"),
            heartbeat_interval: values.millis("heartbeat.interval.ms"),
            max_poll_interval: values.millis("max.poll.interval.ms"),
            balance_interval: Some(values.millis("balance.interval.ms")).filter(|limit| !limit.is_zero()),
            stall_timeout: Some(values.millis("stall.timeout.ms")).filter(|limit| !limit.is_zero()),
            auto_commit_interval: values.millis("auto.commit.interval.ms"),
            auto_offset_reset: offset_reset(&values),
            isolation_level: isolation_level(&values),
            check_crcs: values.boolean("check.crcs"),
            allow_auto_create_topics: values.boolean("allow.auto.create.topics"),
            exclude_internal_topics: values.boolean("exclude.internal.topics"),
            fetch_min_bytes: values.size("fetch.min.bytes"),
            fetch_max_bytes: values.size("fetch.max.bytes"),
            fetch_max_wait: values.millis("fetch.max.wait.ms"),
            max_partition_fetch_bytes: values.size("max.partition.fetch.bytes"),
            receive_message_max_bytes: values.size("receive.message.max.bytes"),
            metadata_max_age: values.millis("metadata.max.age.ms"),
            metadata_rebootstrap_trigger: (values.word("metadata.recovery.strategy") == "rebootstrap")
                .then(|| values.millis("metadata.recovery.rebootstrap.trigger.ms")),
            memory_budget_bytes: values.integer("memory.budget.bytes").unsigned_abs(),
            memory_huge_pages: huge_pages(&values),
            decompressed_batch_max_bytes: values.size("decompressed.batch.max.bytes"),
            max_poll_records: values.size("max.poll.records"),
            max_poll_bytes: values.size("max.poll.bytes"),
            cores: cores(&values),
            idle_strategy: idle_strategy(&values),
            idle_spin: Duration::from_micros(values.integer("idle.spin.us").unsigned_abs()),
            transport: transport(&values),
            shutdown_timeout: values.millis("shutdown.timeout.ms"),
            request_timeout: values.millis("request.timeout.ms"),
            default_api_timeout: values.millis("default.api.timeout.ms"),
            retry_backoff,
            retry_backoff_max,
            reconnect_backoff,
            reconnect_backoff_max,
            socket_connection_setup_timeout,
            socket_connection_setup_timeout_max,
            connections_max_idle: Some(values.millis("connections.max.idle.ms"))
                .filter(|idle| !idle.is_zero()),
            send_buffer_bytes: values.system_or_size("send.buffer.bytes"),
            receive_buffer_bytes: values.system_or_size("receive.buffer.bytes"),
            effective: EffectiveValue::all(&values),
            warnings: std::mem::take(&mut values.warnings),
        };
        config.check(&values)?;
        Ok(config)
    }

    /// What must hold between values.
    fn check(&self, values: &Values) -> Result<(), ConfigError> {
        let inconsistent = |problem: String, left_key, right_key| {
            let (left_origin, right_origin) = (values.origin(left_key), values.origin(right_key));
            Err(ConfigError::Inconsistent { problem, left_key, left_origin, right_key, right_origin })
        };
        // What belongs to one protocol says nothing under the other: whoever sets it expects something else.
        let foreign: &[&str] = match self.group_protocol {
            GroupProtocol::Classic => &["group.remote.assignor"],
            GroupProtocol::Consumer => {
                &["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"]
            }
        };
        if let Some(&key) = foreign.iter().find(|key| values.origin(key) != Origin::Default) {
            let protocol = values.word("group.protocol");
            let problem = match self.group_protocol {
                GroupProtocol::Classic => format!(
                    "{key} cannot be set with group.protocol={protocol}: leave it out, or set \
                     group.protocol=consumer"
                ),
                GroupProtocol::Consumer => format!(
                    "{key} cannot be set with group.protocol={protocol}, where the broker decides: leave it out, \
                     or set group.protocol=classic"
                ),
            };
            return inconsistent(problem, key, "group.protocol");
        }
        if self.heartbeat_interval >= self.session_timeout {
            let problem = format!(
                "heartbeat.interval.ms={} must be less than session.timeout.ms={}, or the member is taken \
                 for dead between heartbeats",
                self.heartbeat_interval.as_millis(),
                self.session_timeout.as_millis()
            );
            return inconsistent(problem, "heartbeat.interval.ms", "session.timeout.ms");
        }
        if self.receive_message_max_bytes < self.fetch_max_bytes.saturating_add(RESPONSE_OVERHEAD_BYTES) {
            let problem = format!(
                "receive.message.max.bytes={} must be at least fetch.max.bytes={} plus \
                 {RESPONSE_OVERHEAD_BYTES}, or responses that were asked for are refused",
                self.receive_message_max_bytes, self.fetch_max_bytes
            );
            return inconsistent(problem, "receive.message.max.bytes", "fetch.max.bytes");
        }
        if self.most_shards() == 0 {
            return self.shard_memory(1).map(|_| ());
        }
        Ok(())
    }
}

fn auto_commit(values: &mut Values, has_group: bool) -> bool {
    let asked = values.boolean("enable.auto.commit");
    let origin = values.origin("enable.auto.commit");
    if asked && !has_group && origin != Origin::Default {
        let message = "nothing is committed without group.id".to_owned();
        values.warnings.push(ConfigWarning { key: "enable.auto.commit".to_owned(), origin, message });
    }
    asked && has_group
}

fn group_instance_id(values: &Values, has_group: bool) -> Result<Option<String>, ConfigError> {
    const KEY: &str = "group.instance.id";
    let Some(id) = values.text(KEY) else { return Ok(None) };
    if !has_group {
        let fix = format!("{KEY} ({}) names a member of a group", values.origin(KEY));
        return Err(ConfigError::Missing { key: "group.id", fix });
    }
    let legal = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if !legal || id.len() > MAX_GROUP_INSTANCE_ID_BYTES || id == "." || id == ".." {
        return Err(ConfigError::BadValue {
            key: KEY.to_owned(),
            value: id,
            origin: values.origin(KEY),
            expected: format!(
                "at most {MAX_GROUP_INSTANCE_ID_BYTES} of the characters a-z, A-Z, 0-9, '.', '_', '-', \
                 and not . or .."
            ),
            detail: None,
        });
    }
    Ok(Some(id))
}

fn group_protocol(values: &Values) -> GroupProtocol {
    match values.word("group.protocol") {
        "consumer" => GroupProtocol::Consumer,
        _ => GroupProtocol::Classic,
    }
}

fn assignors(values: &Values) -> Vec<AssignmentStrategy> {
    let Some(Value::Words(words)) = values.value("partition.assignment.strategy") else { return Vec::new() };
    let strategy = |word: &&str| match *word {
        "roundrobin" => AssignmentStrategy::RoundRobin,
        "sticky" => AssignmentStrategy::Sticky,
        "cooperative-sticky" => AssignmentStrategy::CooperativeSticky,
        _ => AssignmentStrategy::Range,
    };
    words.iter().map(strategy).collect()
}

// The table admits no other words than those that are matched here, so that the last arm stands for one word.

fn offset_reset(values: &Values) -> OffsetReset {
    match values.value("auto.offset.reset") {
        Some(&Value::Reset(reset)) => reset,
        _ => unreachable!("the table has auto.offset.reset with a default"),
    }
}

fn isolation_level(values: &Values) -> IsolationLevel {
    match values.word("isolation.level") {
        "read_committed" => IsolationLevel::ReadCommitted,
        _ => IsolationLevel::ReadUncommitted,
    }
}

fn idle_strategy(values: &Values) -> IdleStrategy {
    match values.word("idle.strategy") {
        "spin" => IdleStrategy::Spin,
        "adaptive" => IdleStrategy::Adaptive,
        _ => IdleStrategy::Park,
    }
}

fn huge_pages(values: &Values) -> HugePages {
    match values.word("memory.huge.pages") {
        "transparent" => HugePages::Transparent,
        _ => HugePages::Off,
    }
}

fn transport(values: &Values) -> Transport {
    match values.word("transport") {
        "uring" => Transport::Uring,
        "poll" => Transport::Poll,
        _ => Transport::Auto,
    }
}

fn cores(values: &Values) -> CoresSetting {
    match values.value("cores") {
        Some(Value::Cores(cores)) => cores.clone(),
        _ => CoresSetting::Auto,
    }
}

#[cfg(test)]
mod tests;
