//! franz-go: the options of its client, as Go code lists them.

use super::Meaning::{NoEffect, NotYet, Property};
use super::values::Reading::{Fixed, GoDuration, GoNumber, GoTexts, WordList, Words};
use super::{
    BACKOFF, BUDGET, HANDLERS, IN_CODE, LOGS, PRODUCER, Row, SASL, STATISTICS, TIME_LIMIT, TLS, Translated,
    VERSIONS, look_up,
};

/// How options begin.
pub(super) const PREFIX: &str = "kgo.";

/// What an option means; `None` for names of others.
pub(super) fn find(name: &str) -> Option<Translated> {
    Some(look_up(TABLE, name.strip_prefix(PREFIX)?))
}

/// `kgo.Name(arguments), // comment` as `kgo.Name=arguments`, with what the syntax of properties would eat escaped.
pub(super) fn as_property(option: &str) -> String {
    let Some((name, rest)) = option.split_once('(') else { return option.to_owned() };
    // An argument may hold brackets, a comment behind it too; the last one that a comma or nothing follows closes.
    let code = rest.split(" //").next().unwrap_or(rest).trim_end().trim_end_matches(',');
    let arguments = code.strip_suffix(')').unwrap_or(code);
    format!("{}={}", name.trim(), arguments.replace('\\', "\\\\"))
}

pub(super) const TABLE: &[Row] = &[
    ("SeedBrokers", Property("bootstrap.servers", GoTexts)),
    ("ClientID", Property("client.id", GoTexts)),
    ("SoftwareNameAndVersion", NoEffect("brokers are told this crate's name and version")),
    ("RequestTimeoutOverhead", Property("request.timeout.ms", GoDuration)),
    ("ConnIdleTimeout", Property("connections.max.idle.ms", GoDuration)),
    ("DialTimeout", Property("socket.connection.setup.timeout.ms", GoDuration)),
    ("DialTLS*", TLS),
    ("Dialer", NoEffect("the engine opens its own connections")),
    ("SASL", SASL),
    ("MaxVersions", VERSIONS),
    ("MinVersions", VERSIONS),
    ("RetryBackoffFn", BACKOFF),
    ("RequestRetries", TIME_LIMIT),
    ("RetryTimeout", Property("default.api.timeout.ms", GoDuration)),
    ("RetryTimeoutFn", NoEffect("default.api.timeout.ms holds for all requests")),
    ("AlwaysRetryEOF", TIME_LIMIT),
    ("AllowAutoTopicCreation", Property("allow.auto.create.topics", Fixed("true"))),
    ("BrokerMaxWriteBytes", PRODUCER),
    ("BrokerMaxReadBytes", Property("receive.message.max.bytes", GoNumber)),
    ("MetadataMaxAge", Property("metadata.max.age.ms", GoDuration)),
    ("MetadataMinAge", NoEffect("retry.backoff.ms parts requests for metadata")),
    (
        "ConsiderMissingTopicDeletedAfter",
        NoEffect("an unknown topic is retried within default.api.timeout.ms"),
    ),
    ("OnRebootstrapRequired", NoEffect("there is one way to find brokers again, and it cannot be chosen")),
    ("DisableClientMetrics", STATISTICS),
    ("UserMetricsFn", STATISTICS),
    ("WithHooks", STATISTICS),
    ("WithLogger", LOGS),
    ("WithContext", NoEffect("Handle::shutdown ends the engine")),
    ("WithPools", BUDGET),
    ("WithDecompressor", NoEffect("the codecs are built in")),
    ("FetchMaxWait", Property("fetch.max.wait.ms", GoDuration)),
    ("FetchMaxBytes", Property("fetch.max.bytes", GoNumber)),
    ("FetchMinBytes", Property("fetch.min.bytes", GoNumber)),
    ("FetchMaxPartitionBytes", Property("max.partition.fetch.bytes", GoNumber)),
    ("MaxConcurrentFetches", BUDGET),
    ("ConsumeResetOffset", Property("auto.offset.reset", Words(OFFSETS))),
    ("ConsumeStartOffset", Property("auto.offset.reset", Words(OFFSETS))),
    ("Rack", Property("client.rack", GoTexts)),
    (
        "RecheckPreferredReplicaInterval",
        NoEffect("after metadata.max.age.ms a leader is asked anew which follower to take"),
    ),
    ("FetchIsolationLevel", Property("isolation.level", Words(ISOLATION_LEVELS))),
    ("KeepControlRecords", NoEffect("control records move the position and are not delivered")),
    ("ConsumeTopics", IN_CODE),
    ("ConsumePartitions", IN_CODE),
    ("ConsumeRegex", IN_CODE),
    (
        "ConsumeExcludeTopics",
        NotYet("a pattern of topics is written so that it leaves out what is not meant"),
    ),
    ("ConsumePreferringLagFn", NoEffect("partitions of a shard take turns")),
    ("DisableFetchSessions", NoEffect("a broker that refuses a session gets whole requests")),
    ("DisableFetchCRCValidation", Property("check.crcs", Fixed("false"))),
    (
        "KeepRetryableFetchErrors",
        NoEffect("what can pass is retried, and what cannot is the engine's result"),
    ),
    ("ConsumerGroup", Property("group.id", GoTexts)),
    ("Share*", NotYet("share groups are not supported")),
    ("Balancers", Property("partition.assignment.strategy", WordList(BALANCERS))),
    ("SessionTimeout", Property("session.timeout.ms", GoDuration)),
    ("RebalanceTimeout", Property("max.poll.interval.ms", GoDuration)),
    ("HeartbeatInterval", Property("heartbeat.interval.ms", GoDuration)),
    ("RequireStableFetchOffsets", NoEffect("isolation.level=read_committed asks for stable offsets")),
    ("BlockRebalanceOnPoll", NoEffect("a handler finishes its batch before its partition is given up")),
    ("AdjustFetchOffsetsFn", IN_CODE),
    ("OnPartitions*", HANDLERS),
    ("OnOffsetsFetched", HANDLERS),
    ("DisableAutoCommit", Property("enable.auto.commit", Fixed("false"))),
    ("GreedyAutoCommit", NoEffect("only what a handler has finished is committed")),
    ("AutoCommitMarks", NoEffect("Context::done marks records, and only marked ones are committed")),
    ("AutoCommitInterval", Property("auto.commit.interval.ms", GoDuration)),
    ("AutoCommitCallback", NoEffect("Handle::commit returns its result, and the final report the rest")),
    ("InstanceID", Property("group.instance.id", GoTexts)),
    ("GroupProtocol", Property("group.protocol", GoTexts)),
    ("DefaultProduceTopic*", PRODUCER),
    ("RequiredAcks", PRODUCER),
    ("DisableIdempotentWrite", PRODUCER),
    ("AllowIdempotentProduceCancellation", PRODUCER),
    ("MaxProduceRequestsInflightPerBroker", PRODUCER),
    ("Producer*", PRODUCER),
    ("WithCompressor", PRODUCER),
    ("MaxBuffered*", PRODUCER),
    ("RecordPartitioner", PRODUCER),
    ("ProduceRequestTimeout", PRODUCER),
    ("Record*", PRODUCER),
    ("UnknownTopicRetries", PRODUCER),
    ("StopProducerOnDataLossDetected", PRODUCER),
    ("ManualFlushing", PRODUCER),
    ("TransactionalID", PRODUCER),
    ("TransactionTimeout", PRODUCER),
    ("ConcurrentTransactionsBackoff", PRODUCER),
];

const OFFSETS: &[(&str, &str)] =
    &[("AtStart()", "earliest"), ("AtEnd()", "latest"), ("AtCommitted()", "none"), ("NoResetOffset", "none")];
const ISOLATION_LEVELS: &[(&str, &str)] =
    &[("ReadUncommitted", "read_uncommitted"), ("ReadCommitted", "read_committed")];
const BALANCERS: &[(&str, &str)] = &[
    ("RangeBalancer", "range"),
    ("RoundRobinBalancer", "roundrobin"),
    ("CooperativeStickyBalancer", "cooperative-sticky"),
    ("kgo.StickyBalancer", "sticky"),
];
