//! Spring Boot: `spring.kafka.*`, in any of the spellings that its binding takes.

use super::Meaning::{NoEffect, NotYet, Property};
use super::values::Reading::{Same, SpringDuration, SpringSize, Words};
use super::{ADMIN, PRODUCER, Row, SASL, TLS, Translated, look_up};

const PREFIX: &str = "spring.kafka.";
/// What else stands in the files of a Spring application.
const OTHERS: [&str; 4] = ["spring.", "server.", "management.", "logging."];
/// What is below these goes to Kafka as it is.
const PASSED: [&str; 4] = ["properties.", "consumer.properties.", "properties[", "consumer.properties["];

/// What a name of Spring's means; `None` for names of others.
pub(super) fn find(name: &str) -> Option<Translated> {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        let others = OTHERS.iter().any(|start| name.starts_with(start));
        return others.then_some(Translated::Means(NoEffect("it has nothing to do with Kafka")));
    };
    if let Some(passed) = PASSED.iter().find_map(|start| rest.strip_prefix(start)) {
        return Some(Translated::Passed(passed.trim_matches(['[', ']']).to_owned()));
    }
    // `auto-offset-reset`, `autoOffsetReset` and `auto_offset_reset` are one name.
    let plain: String = rest.chars().filter(|c| !matches!(c, '-' | '_')).collect();
    Some(look_up(TABLE, &plain.to_ascii_lowercase()))
}

const CONTAINER: &str = "it steers Spring's listener containers";

pub(super) const TABLE: &[Row] = &[
    ("bootstrapservers", Property("bootstrap.servers", Same)),
    ("clientid", Property("client.id", Same)),
    ("security.protocol", Property("security.protocol", Same)),
    ("ssl.*", TLS),
    ("jaas.*", SASL),
    ("consumer.autocommitinterval", Property("auto.commit.interval.ms", SpringDuration)),
    ("consumer.autooffsetreset", Property("auto.offset.reset", Same)),
    ("consumer.bootstrapservers", Property("bootstrap.servers", Same)),
    ("consumer.clientid", Property("client.id", Same)),
    ("consumer.enableautocommit", Property("enable.auto.commit", Same)),
    ("consumer.fetchmaxwait", Property("fetch.max.wait.ms", SpringDuration)),
    ("consumer.fetchminsize", Property("fetch.min.bytes", SpringSize)),
    ("consumer.groupid", Property("group.id", Same)),
    ("consumer.heartbeatinterval", Property("heartbeat.interval.ms", SpringDuration)),
    ("consumer.isolationlevel", Property("isolation.level", Words(ISOLATION_LEVELS))),
    ("consumer.keydeserializer", Property("key.deserializer", Same)),
    ("consumer.valuedeserializer", Property("value.deserializer", Same)),
    ("consumer.maxpollrecords", Property("max.poll.records", Same)),
    ("consumer.maxpollinterval", Property("max.poll.interval.ms", SpringDuration)),
    ("consumer.security.protocol", Property("security.protocol", Same)),
    ("consumer.ssl.*", TLS),
    ("listener.clientid", Property("client.id", Same)),
    ("listener.concurrency", NoEffect("one shard runs on each core that `cores` names")),
    ("listener.type", NoEffect("a handler always gets batches")),
    ("listener.ackmode", NoEffect("what a handler has finished is committed, as enable.auto.commit says")),
    ("listener.ackcount", NoEffect("commits go by time; a handler asks for one by Context::commit")),
    ("listener.acktime", NoEffect("auto.commit.interval.ms says how often is committed")),
    (
        "listener.immediatestop",
        NoEffect("a stop lets each handler finish its batch, within shutdown.timeout.ms"),
    ),
    ("listener.*", NoEffect(CONTAINER)),
    ("retry.topic.*", NotYet("a handler's error stops the engine in order")),
    ("producer.*", PRODUCER),
    ("template.*", PRODUCER),
    ("admin.*", ADMIN),
    ("streams.*", NoEffect("it belongs to Kafka Streams")),
];

const ISOLATION_LEVELS: &[(&str, &str)] = &[
    ("uncommitted", "read_uncommitted"),
    ("UNCOMMITTED", "read_uncommitted"),
    ("committed", "read_committed"),
    ("COMMITTED", "read_committed"),
];
