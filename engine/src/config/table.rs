//! The table of all properties that Millstream knows.

use super::choices::{
    ADDRESS_FAMILIES, ASSIGNORS, DNS_LOOKUPS, FALSE_ONLY, GROUP_PROTOCOLS, HUGE_PAGES, IDLE_STRATEGIES,
    ISOLATION_LEVELS, OFFSET_RESETS, RECOVERIES, SECURITY_PROTOCOLS, TRANSPORTS, TRUE_ONLY,
};
use super::property::{Alias, Conversion, JavaDefault, Kind, Property, Status};

/// Kafka's numbers are 32-bit signed.
const MAX_INT: i64 = i32::MAX as i64;
/// Whoever wants to look for longer wants to spin.
const IDLE_SPIN_MAX_US: i64 = 100_000;
/// A budget beyond this is a slip of the finger on any machine.
const MAX_BUDGET_BYTES: i64 = 1 << 50;

/// Every property that is recognised, in the order in which they are listed: those that are used by subject,
/// then those that are not supported yet, then those that change nothing.
pub static PROPERTIES: &[Property] = &[
    // Where the brokers are and who we are.
    used(
        "bootstrap.servers",
        Kind::Servers,
        "Brokers to ask first, as host:port or [IPv6]:port, parted by commas.",
    )
    .alias("metadata.broker.list", Conversion::Same),
    used("client.id", Kind::Text, "Name of this client in the brokers' logs, metrics and quotas.")
        .default("millstream")
        .unlike_java("", "Java makes up consumer-GROUP-N; a fixed name can be given a quota"),
    used(
        "client.rack",
        Kind::Text,
        "Where this process is, as broker.rack names it: brokers that select replicas by rack have records fetched from \
         a follower there (KIP-392), and the assignor range gives a member what has a replica there (KIP-881).",
    )
    .default(""),
    used(
        "client.dns.lookup",
        Kind::Choice(DNS_LOOKUPS),
        "How host names become addresses: all of a name's addresses are tried in turn.",
    )
    .default("use_all_dns_ips"),
    used("security.protocol", Kind::Choice(SECURITY_PROTOCOLS), "How brokers are spoken to.")
        .default("PLAINTEXT"),
    // The group.
    used("group.id", Kind::Name, "The consumer group; needed for subscribing and for committing."),
    used(
        "group.instance.id",
        Kind::Name,
        "Name of a static member: it keeps its partitions over a restart shorter than \
         session.timeout.ms.",
    ),
    used(
        "group.protocol",
        Kind::Choice(GROUP_PROTOCOLS),
        "How the member takes part: classic (the members assign; every broker), or consumer (KIP-848: the \
         coordinator assigns and moves partitions one by one; Kafka 4.0). With consumer, \
         session.timeout.ms, heartbeat.interval.ms and partition.assignment.strategy are the broker's \
         business and must not be set.",
    )
    .default("classic"),
    used(
        "group.remote.assignor",
        Kind::Name,
        "With group.protocol=consumer, which of the coordinator's assignors to use: one of its \
         group.consumer.assignors, as uniform and range; its first one unless set.",
    ),
    used(
        "partition.assignment.strategy",
        Kind::Choices(ASSIGNORS),
        "Assignors that this member offers, the most wanted first, by Kafka's short names or \
         Java's class names. Where `cooperative-sticky` is the only one, partitions that a member keeps flow on during \
         a rebalance.",
    )
    .default("range,cooperative-sticky"),
    millis(
        "session.timeout.ms",
        1,
        "45000",
        "Without a successful heartbeat for this long the coordinator takes the member for \
         dead, and the member stops dispatching by itself.",
    ),
    millis(
        "heartbeat.interval.ms",
        1,
        "3000",
        "Time between heartbeats; less than session.timeout.ms, a third of it or less is usual.",
    ),
    millis(
        "max.poll.interval.ms",
        1,
        "300000",
        "The longest that a dispatched batch may lack its outcome before the member leaves \
         the group; also the time members get to rejoin in a rebalance.",
    ),
    // Positions and commits.
    boolean(
        "enable.auto.commit",
        "true",
        "Commit what handlers have finished, every auto.commit.interval.ms. Without group.id \
         nothing is committed.",
    )
    .alias("auto.commit.enable", Conversion::Same),
    millis("auto.commit.interval.ms", 0, "5000", "Time between automatic commits."),
    used(
        "auto.offset.reset",
        Kind::OffsetReset(OFFSET_RESETS),
        "Where to start when there is no committed offset or it is out of range: earliest, \
         latest, by_duration:PT1H (at the first record of the last hour; ISO 8601), or none (an error).",
    )
    .default("latest"),
    used(
        "isolation.level",
        Kind::Choice(ISOLATION_LEVELS),
        "Whether records of open and aborted transactions are delivered.",
    )
    .default("read_uncommitted"),
    // Fetching.
    bytes(
        "fetch.min.bytes",
        0,
        MAX_INT,
        "1",
        "A broker answers a Fetch once it has this many bytes, or after fetch.max.wait.ms.",
    ),
    bytes(
        "fetch.max.bytes",
        1,
        2_147_483_135,
        "52428800",
        "The most bytes asked for in one Fetch; the memory budget may ask for less. A first \
         batch that is larger comes whole.",
    ),
    millis(
        "fetch.max.wait.ms",
        0,
        "500",
        "The longest that a broker holds a Fetch back while it has fewer than fetch.min.bytes.",
    )
    .alias("fetch.wait.max.ms", Conversion::Same),
    bytes(
        "max.partition.fetch.bytes",
        1,
        1_000_000_000,
        "1048576",
        "The most bytes asked for from one partition in one Fetch.",
    )
    .alias("fetch.message.max.bytes", Conversion::Same),
    bytes(
        "receive.message.max.bytes",
        1000,
        MAX_INT,
        "100000000",
        "A response that says it is larger than this is refused; librdkafka's name and \
         default. At least fetch.max.bytes + 512.",
    ),
    boolean("check.crcs", "true", "Check the CRC-32C of every record batch."),
    boolean(
        "allow.auto.create.topics",
        "false",
        "Let a broker create a topic that is asked for and does not exist.",
    )
    .unlike_java("true", "a mistyped topic is to be an error, not a new topic (librdkafka's default too)"),
    boolean(
        "exclude.internal.topics",
        "true",
        "Leave Kafka's own topics out of those that match a pattern; they can be named all the same. With \
         group.protocol=consumer the coordinator decides.",
    ),
    millis(
        "metadata.max.age.ms",
        100,
        "300000",
        "Metadata older than this is fetched again even if nothing went wrong.",
    )
    .alias("topic.metadata.refresh.interval.ms", Conversion::MinusOneIsNever),
    used(
        "metadata.recovery.strategy",
        Kind::Choice(RECOVERIES),
        "Where to look for the cluster when none of its known brokers answers: rebootstrap asks \
         bootstrap.servers again, by name; none goes on with the known ones.",
    )
    .default("rebootstrap"),
    millis(
        "metadata.recovery.rebootstrap.trigger.ms",
        0,
        "300000",
        "Metadata that could not be had for this long, but at least \
         socket.connection.setup.timeout.ms, is asked of bootstrap.servers alone, with \
         metadata.recovery.strategy=rebootstrap.",
    ),
    // Memory, cores and dispatch.
    bytes(
        "memory.budget.bytes",
        1 << 20,
        MAX_BUDGET_BYTES,
        "67108864",
        "All memory for fetched data in this process, split over its shards; counted from the \
         sending of a Fetch to the release of its data.",
    )
    .alias("queued.max.messages.kbytes", Conversion::Kibibytes),
    used(
        "memory.huge.pages",
        Kind::Choice(HUGE_PAGES),
        "What frames of 2 MiB and more lie on: off is pages of the usual size, transparent asks \
         for huge ones, which helps on hosts that have them at hand and costs on others.",
    )
    .default("off"),
    bytes(
        "decompressed.batch.max.bytes",
        1 << 16,
        MAX_INT,
        "8388608",
        "The most that one record batch may decompress to; each shard sets this much of its \
         budget aside.",
    ),
    integer(
        "max.poll.records",
        "records",
        1,
        MAX_INT,
        "500",
        "The most records in one dispatch to a handler.",
    ),
    bytes(
        "max.poll.bytes",
        1,
        MAX_INT,
        "1048576",
        "A dispatch to a handler ends with the record that reaches this many bytes.",
    ),
    used(
        "cores",
        Kind::Cores,
        "Cores to run on, one shard each: a list such as 0-3,6, which is always pinned, or auto for \
         what affinity, cpuset and CPU quota allow, pinned unless a quota is in force.",
    )
    .default("auto"),
    used(
        "idle.strategy",
        Kind::Choice(IDLE_STRATEGIES),
        "What a shard does when nothing is there: park gives the core back, spin keeps it for \
         the lowest latency, adaptive keeps it for a while after work, as long as more comes \
         within that while.",
    )
    .default("park"),
    integer(
        "idle.spin.us",
        "us",
        1,
        IDLE_SPIN_MAX_US,
        "100",
        "The longest while of idle.strategy=adaptive: gaps between records up to this are waited \
         out on the core.",
    ),
    used(
        "transport",
        Kind::Choice(TRANSPORTS),
        "How sockets are driven: uring by io_uring, which is an error where the host denies it; \
         poll by plain sockets and epoll; auto by io_uring where it is permitted, else by epoll, \
         with a warning.",
    )
    .default("auto"),
    millis(
        "stall.timeout.ms",
        0,
        "60000",
        "A partition that has records to deliver, and from which none is delivered for this long, \
         is told of in an event with the reason; 0 tells of none.",
    ),
    millis(
        "balance.interval.ms",
        0,
        "10000",
        "How often to look whether one core is busy and another is not, and to move a partition \
         from the one to the other where that helps. Only for handlers that take their state along \
         (start_movable); 0 moves none.",
    ),
    millis(
        "shutdown.timeout.ms",
        0,
        "20000",
        "How long handlers get to finish when the engine stops; below the 30 s that \
         Kubernetes grants.",
    ),
    // Connections, time limits and retries.
    millis(
        "request.timeout.ms",
        1,
        "30000",
        "The longest wait for a response; a Fetch gets fetch.max.wait.ms on top.",
    )
    .alias("socket.timeout.ms", Conversion::Same),
    millis(
        "default.api.timeout.ms",
        1,
        "60000",
        "The longest that a call with retries may take (offsets, positions, commits that are \
         awaited).",
    ),
    millis(
        "retry.backoff.ms",
        1,
        "100",
        "Wait before the first retry of a request; it doubles up to retry.backoff.max.ms, \
         with jitter.",
    ),
    millis(
        "retry.backoff.max.ms",
        1,
        "1000",
        "The longest wait between retries; rises to retry.backoff.ms where only that is set.",
    ),
    millis(
        "reconnect.backoff.ms",
        1,
        "50",
        "Wait before the first reconnection to a broker; it doubles up to \
         reconnect.backoff.max.ms, with jitter.",
    ),
    millis(
        "reconnect.backoff.max.ms",
        1,
        "1000",
        "The longest wait between reconnections; rises to reconnect.backoff.ms where only \
         that is set.",
    ),
    millis(
        "socket.connection.setup.timeout.ms",
        1,
        "10000",
        "The longest that setting up a connection may take; doubles with each failure up to \
         the maximum.",
    ),
    millis(
        "socket.connection.setup.timeout.max.ms",
        1,
        "30000",
        "The most that the time for setting up a connection grows to; rises to it where only \
         that is set.",
    ),
    millis(
        "connections.max.idle.ms",
        -1,
        "540000",
        "Connections that nobody used for this long are closed; -1 or 0 keeps them.",
    ),
    bytes(
        "send.buffer.bytes",
        -1,
        MAX_INT,
        "131072",
        "SO_SNDBUF of the sockets; -1 leaves it to the system.",
    )
    .alias("socket.send.buffer.bytes", Conversion::ZeroIsSystemDefault),
    bytes("receive.buffer.bytes", -1, MAX_INT, "-1", "SO_RCVBUF of the sockets; -1 leaves it to the system.")
        .unlike_java(
            "65536",
            "a fixed size switches the kernel's own tuning off and costs throughput (librdkafka's \
         default too)",
        )
        .alias("socket.receive.buffer.bytes", Conversion::ZeroIsSystemDefault),
    // Known, and not supported yet.
    not_yet("ssl.*", "connections are in plain text"),
    not_yet("enable.ssl.certificate.verification", "connections are in plain text"),
    not_yet("ssl_ca", "connections are in plain text"),
    not_yet("ssl_certificate", "connections are in plain text"),
    not_yet("ssl_key", "connections are in plain text"),
    not_yet("ssl_engine_callback_data", "connections are in plain text"),
    not_yet("https.*", "connections are not authenticated"),
    not_yet("sasl.*", "connections are not authenticated"),
    not_yet("enable.sasl.oauthbearer.unsecure.jwt", "connections are not authenticated"),
    not_yet("security.providers", "connections are in plain text"),
    not_yet("config.providers", "values are taken as they are written"),
    not_yet("config.providers.*", "values are taken as they are written"),
    not_yet("share.*", "share groups are not supported"),
    not_yet("topic.blacklist", "a pattern of topics is written so that it leaves out what is not meant"),
    // Known, and without effect.
    no_effect("key.deserializer", RUST),
    no_effect("value.deserializer", RUST),
    no_effect("interceptor.classes", RUST),
    no_effect("interceptors", RUST),
    no_effect("plugin.library.paths", RUST),
    no_effect("bootstrap.resolve.timeout.ms", "names are resolved within default.api.timeout.ms"),
    no_effect("metadata.cluster.check.enable", "brokers are not told which cluster they are taken for"),
    no_effect("enable.metrics.push", METRICS),
    no_effect("metric.reporters", METRICS),
    no_effect("auto.include.jmx.reporter", METRICS),
    no_effect("metrics.*", METRICS),
    no_effect("statistics.interval.ms", METRICS),
    no_effect("debug", LOGS),
    no_effect("log_level", LOGS),
    no_effect("log.*", LOGS),
    no_effect("enable.auto.offset.store", "what a handler has finished is stored, nothing else")
        .kind(Kind::Choice(TRUE_ONLY)),
    no_effect("enable.partition.eof", "the end of a partition is an event of its own"),
    no_effect("offset.store.method", "offsets are kept by the broker"),
    no_effect("offset.store.path", "offsets are kept by the broker"),
    no_effect("offset.store.sync.interval.ms", "offsets are kept by the broker"),
    no_effect("queued.min.messages", "memory.budget.bytes alone decides how much is fetched ahead"),
    no_effect("fetch.queue.backoff.ms", "a Fetch is sent as soon as the memory budget has room"),
    no_effect("fetch.error.backoff.ms", "retry.backoff.ms applies to Fetch as to every request"),
    no_effect(
        "topic.metadata.refresh.fast.interval.ms",
        "retry.backoff.ms applies to Metadata as to every request",
    ),
    no_effect("topic.metadata.refresh.fast.cnt", "retry.backoff.ms applies to Metadata as to every request"),
    no_effect("topic.metadata.refresh.sparse", "metadata is asked for the topics in use only"),
    no_effect(
        "topic.metadata.propagation.max.ms",
        "an unknown topic is retried within default.api.timeout.ms",
    ),
    no_effect("coordinator.query.interval.ms", "the coordinator is looked up when it stops answering"),
    no_effect("group.protocol.type", "it is always `consumer`"),
    no_effect("consume.callback.max.messages", "max.poll.records and max.poll.bytes bound a dispatch"),
    no_effect("max.in.flight.requests.per.connection", PIPELINE),
    no_effect("max.in.flight", PIPELINE),
    no_effect("socket.keepalive.enable", "connections are watched by request.timeout.ms")
        .kind(Kind::Choice(FALSE_ONLY)),
    no_effect("socket.nagle.disable", "TCP_NODELAY is always on"),
    no_effect("socket.max.fails", "a failed connection is opened again after reconnect.backoff.ms"),
    no_effect("socket.blocking.max.ms", "no socket call blocks"),
    no_effect("reconnect.backoff.jitter.ms", "jitter is part of reconnect.backoff.ms"),
    no_effect("broker.address.ttl", "names are resolved again at each reconnection"),
    no_effect("broker.address.family", "addresses of both families are tried in turn")
        .kind(Kind::Choice(ADDRESS_FAMILIES)),
    no_effect("broker.version.fallback", VERSIONS),
    no_effect("api.version.*", VERSIONS),
    no_effect("builtin.features", "it cannot be set"),
    no_effect("enabled_events", C_PROGRAMS),
    no_effect("default_topic_conf", C_PROGRAMS),
    no_effect("opaque", C_PROGRAMS),
    no_effect("background_event_cb", C_PROGRAMS),
    no_effect("closesocket_cb", C_PROGRAMS),
    no_effect("connect_cb", C_PROGRAMS),
    no_effect("consume_cb", C_PROGRAMS),
    no_effect("error_cb", C_PROGRAMS),
    no_effect("log_cb", C_PROGRAMS),
    no_effect("oauthbearer_token_refresh_cb", C_PROGRAMS),
    no_effect("offset_commit_cb", C_PROGRAMS),
    no_effect("open_cb", C_PROGRAMS),
    no_effect("rebalance_cb", C_PROGRAMS),
    no_effect("resolve_cb", C_PROGRAMS),
    no_effect("socket_cb", C_PROGRAMS),
    no_effect("stats_cb", C_PROGRAMS),
    no_effect("throttle_cb", C_PROGRAMS),
    no_effect("enable.random.seed", "random numbers are seeded by the engine"),
    no_effect("internal.*", "it steers other clients' insides"),
    no_effect("message.copy.max.bytes", PRODUCER),
    no_effect("message.max.bytes", PRODUCER),
    no_effect("max.request.size", PRODUCER),
    no_effect("acks", PRODUCER),
    no_effect("request.required.acks", PRODUCER),
    no_effect("batch.size", PRODUCER),
    no_effect("batch.num.messages", PRODUCER),
    no_effect("buffer.memory", PRODUCER),
    no_effect("compression.*", PRODUCER),
    no_effect("delivery.timeout.ms", PRODUCER),
    no_effect("message.timeout.ms", PRODUCER),
    no_effect("enable.idempotence", PRODUCER),
    no_effect("enable.gapless.guarantee", PRODUCER),
    no_effect("delivery.report.only.error", PRODUCER),
    no_effect("produce.offset.report", PRODUCER),
    no_effect("queuing.strategy", PRODUCER),
    no_effect("key.serializer", PRODUCER),
    no_effect("value.serializer", PRODUCER),
    no_effect("linger.ms", PRODUCER),
    no_effect("max.block.ms", PRODUCER),
    no_effect("partitioner", PRODUCER),
    no_effect("partitioner.*", PRODUCER),
    no_effect("queue.buffering.*", PRODUCER),
    no_effect("retries", "requests are retried until their time limit"),
    no_effect("message.send.max.retries", PRODUCER),
    no_effect("sticky.partitioning.linger.ms", PRODUCER),
    no_effect("transactional.id", PRODUCER),
    no_effect("transaction.timeout.ms", PRODUCER),
];

const RUST: &str = "handlers are Rust code and get bytes";
const METRICS: &str = "statistics come from the engine's handle";
const LOGS: &str = "logs go through `tracing`, whose subscriber decides";
const PIPELINE: &str = "each broker connection has its own order of requests";
const VERSIONS: &str = "every broker is asked for its versions";
const C_PROGRAMS: &str = "only a program in C can set it, and not by a text";
const PRODUCER: &str = "it belongs to producers";

impl Property {
    const fn default(self, value: &'static str) -> Self {
        Self { default: Some(value), ..self }
    }

    const fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    const fn alias(self, name: &'static str, conversion: Conversion) -> Self {
        Self { alias: Some(Alias { name, conversion }), ..self }
    }

    const fn unlike_java(self, value: &'static str, reason: &'static str) -> Self {
        Self { java_default: Some(JavaDefault { value, reason }), ..self }
    }
}

const fn used(name: &'static str, kind: Kind, doc: &'static str) -> Property {
    Property { name, kind, default: None, doc, alias: None, status: Status::Used, java_default: None }
}

const fn integer(
    name: &'static str,
    unit: &'static str,
    min: i64,
    max: i64,
    value: &'static str,
    doc: &'static str,
) -> Property {
    used(name, Kind::Integer { unit, min, max }, doc).default(value)
}

const fn millis(name: &'static str, min: i64, value: &'static str, doc: &'static str) -> Property {
    integer(name, "ms", min, MAX_INT, value, doc)
}

const fn bytes(name: &'static str, min: i64, max: i64, value: &'static str, doc: &'static str) -> Property {
    integer(name, "bytes", min, max, value, doc)
}

const fn boolean(name: &'static str, value: &'static str, doc: &'static str) -> Property {
    used(name, Kind::Bool, doc).default(value)
}

const fn not_yet(name: &'static str, reason: &'static str) -> Property {
    Property { status: Status::NotYet(reason), ..used(name, Kind::Text, "") }
}

const fn no_effect(name: &'static str, reason: &'static str) -> Property {
    Property { status: Status::NoEffect(reason), ..used(name, Kind::Text, "") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_or_alias_comes_twice() {
        let mut names = HashSet::new();
        for property in PROPERTIES {
            assert!(names.insert(property.name), "{} twice", property.name);
            if let Some(alias) = property.alias {
                assert!(names.insert(alias.name), "{} twice", alias.name);
            }
        }
    }

    #[test]
    fn no_family_hides_a_property_listed_after_it() {
        for (index, property) in PROPERTIES.iter().enumerate() {
            for name in [Some(property.name), property.alias.map(|alias| alias.name)].into_iter().flatten() {
                let (found, _) = Property::find(name).unwrap();
                assert_eq!(found.name, property.name, "row {index}");
            }
        }
    }

    #[test]
    fn every_used_property_says_what_it_is() {
        for property in PROPERTIES.iter().filter(|property| property.status == Status::Used) {
            assert!(property.doc.ends_with('.'), "{}", property.name);
        }
    }

    /// All names that the two clients know, one a line after a comment.
    const OTHER_CLIENTS: [&str; 2] =
        [include_str!("names/java-4.4.txt"), include_str!("names/librdkafka-2.12.txt")];

    #[test]
    fn every_property_of_kafkas_own_consumer_and_of_librdkafka_is_recognised() {
        for names in OTHER_CLIENTS {
            let names: Vec<&str> = names.lines().filter(|line| !line.starts_with('#')).collect();
            assert!(names.len() > 100, "only {} names", names.len());
            let unknown: Vec<_> = names.iter().filter(|name| Property::find(name).is_none()).collect();
            assert!(unknown.is_empty(), "{unknown:?}");
        }
    }
}
