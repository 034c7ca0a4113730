//! sarama: the fields of its `Config`, as Go code sets them.

use super::Meaning::{NoEffect, NotYet, Property};
use super::values::Reading::{GoDuration, GoNumber, GoTexts, Same, WordList, Words};
use super::{
    ADMIN, BACKOFF, BUDGET, PRODUCER, RUST, Row, SASL, STATISTICS, TIME_LIMIT, TLS, Translated, VERSIONS,
    look_up,
};

/// The parts that `Config` has at its top.
const PARTS: [&str; 5] = ["Consumer", "Net", "Metadata", "Producer", "Admin"];

/// What a field means; `None` for names of others.
pub(super) fn find(name: &str) -> Option<Translated> {
    let field = [Some(name), name.split_once('.').map(|(_, field)| field)]
        .into_iter()
        .flatten()
        .find(|field| is_field(field))?;
    Some(look_up(TABLE, field))
}

fn is_field(name: &str) -> bool {
    match name.split_once('.') {
        Some((part, _)) => PARTS.contains(&part),
        None => TABLE.iter().any(|(row, _)| *row == name),
    }
}

pub(super) const TABLE: &[Row] = &[
    ("ClientID", Property("client.id", GoTexts)),
    ("RackID", Property("client.rack", GoTexts)),
    ("ChannelBufferSize", BUDGET),
    ("ApiVersionsRequest", VERSIONS),
    ("Version", VERSIONS),
    ("MetricRegistry", STATISTICS),
    ("Net.DialTimeout", Property("socket.connection.setup.timeout.ms", GoDuration)),
    ("Net.ReadTimeout", Property("request.timeout.ms", GoDuration)),
    ("Net.WriteTimeout", NoEffect("request.timeout.ms bounds an exchange, its sending included")),
    ("Net.MaxOpenRequests", NoEffect("each broker connection has its own order of requests")),
    ("Net.ResolveCanonicalBootstrapServers", NoEffect("client.dns.lookup says how names are looked up")),
    ("Net.KeepAlive", NoEffect("connections are watched by request.timeout.ms")),
    ("Net.LocalAddr", NoEffect("the system chooses the address to connect from")),
    ("Net.Proxy.*", NotYet("brokers are connected to directly")),
    ("Net.TLS.*", TLS),
    ("Net.SASL.*", SASL),
    ("Metadata.Retry.Max", TIME_LIMIT),
    ("Metadata.Retry.Backoff", Property("retry.backoff.ms", GoDuration)),
    ("Metadata.Retry.BackoffFunc", BACKOFF),
    ("Metadata.RefreshFrequency", Property("metadata.max.age.ms", GoDuration)),
    ("Metadata.Full", NoEffect("metadata is asked for the topics in use only")),
    ("Metadata.Timeout", NoEffect("default.api.timeout.ms says how long is tried")),
    ("Metadata.AllowAutoTopicCreation", Property("allow.auto.create.topics", Same)),
    ("Metadata.SingleFlight", NoEffect("one thread asks for metadata, one request at a time")),
    ("Consumer.Group.Session.Timeout", Property("session.timeout.ms", GoDuration)),
    ("Consumer.Group.Heartbeat.Interval", Property("heartbeat.interval.ms", GoDuration)),
    ("Consumer.Group.Rebalance.Strategy", Property("partition.assignment.strategy", WordList(STRATEGIES))),
    (
        "Consumer.Group.Rebalance.GroupStrategies",
        Property("partition.assignment.strategy", WordList(STRATEGIES)),
    ),
    ("Consumer.Group.Rebalance.Timeout", Property("max.poll.interval.ms", GoDuration)),
    ("Consumer.Group.Rebalance.Retry.*", TIME_LIMIT),
    ("Consumer.Group.Member.UserData", NoEffect("the assignors that are there need none")),
    ("Consumer.Group.InstanceId", Property("group.instance.id", GoTexts)),
    ("Consumer.Group.ResetInvalidOffsets", NoEffect("auto.offset.reset decides, none included")),
    ("Consumer.Retry.Backoff", Property("retry.backoff.ms", GoDuration)),
    ("Consumer.Retry.BackoffFunc", BACKOFF),
    ("Consumer.Retry.Max", TIME_LIMIT),
    ("Consumer.Fetch.Min", Property("fetch.min.bytes", GoNumber)),
    ("Consumer.Fetch.Default", Property("max.partition.fetch.bytes", GoNumber)),
    ("Consumer.Fetch.Max", NoEffect("a larger first batch comes whole, up to receive.message.max.bytes")),
    ("Consumer.Fetch.MaxBytes", Property("fetch.max.bytes", GoNumber)),
    ("Consumer.MaxWaitTime", Property("fetch.max.wait.ms", GoDuration)),
    (
        "Consumer.MaxProcessingTime",
        NoEffect("a partition that lags keeps its data and holds no other one up"),
    ),
    ("Consumer.Return.Errors", NoEffect("errors are the result of the engine")),
    ("Consumer.Offsets.CommitInterval", Property("auto.commit.interval.ms", GoDuration)),
    ("Consumer.Offsets.AutoCommit.Enable", Property("enable.auto.commit", Same)),
    ("Consumer.Offsets.AutoCommit.Interval", Property("auto.commit.interval.ms", GoDuration)),
    ("Consumer.Offsets.Initial", Property("auto.offset.reset", Words(INITIAL))),
    ("Consumer.Offsets.Retention", NoEffect("the brokers' offsets.retention.minutes decides")),
    ("Consumer.Offsets.Retry.Max", TIME_LIMIT),
    ("Consumer.IsolationLevel", Property("isolation.level", Words(ISOLATION_LEVELS))),
    ("Consumer.Interceptors", RUST),
    ("Producer.*", PRODUCER),
    ("Admin.*", ADMIN),
];

const STRATEGIES: &[(&str, &str)] = &[("Range", "range"), ("RoundRobin", "roundrobin"), ("Sticky", "sticky")];
const INITIAL: &[(&str, &str)] = &[("OffsetOldest", "earliest"), ("OffsetNewest", "latest")];
const ISOLATION_LEVELS: &[(&str, &str)] =
    &[("ReadUncommitted", "read_uncommitted"), ("ReadCommitted", "read_committed")];
