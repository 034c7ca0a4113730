//! The words that choices take, with their synonyms, and those that are not supported yet.

use super::property::Choice;

const TLS_NOT_YET: Option<&str> = Some("connections are in plain text; use PLAINTEXT");

pub(super) const SECURITY_PROTOCOLS: &[Choice] = &[
    word("PLAINTEXT"),
    later("SSL", &[], TLS_NOT_YET),
    later("SASL_PLAINTEXT", &[], Some("connections are not authenticated; use PLAINTEXT")),
    later("SASL_SSL", &[], TLS_NOT_YET),
];
pub(super) const DNS_LOOKUPS: &[Choice] = &[
    word("use_all_dns_ips"),
    later("resolve_canonical_bootstrap_servers_only", &[], Some("use use_all_dns_ips")),
];
pub(super) const GROUP_PROTOCOLS: &[Choice] = &[word("classic"), word("consumer")];
pub(super) const ASSIGNORS: &[Choice] = &[
    synonyms("range", &["org.apache.kafka.clients.consumer.RangeAssignor"]),
    synonyms("roundrobin", &["org.apache.kafka.clients.consumer.RoundRobinAssignor"]),
    synonyms("sticky", &["org.apache.kafka.clients.consumer.StickyAssignor"]),
    synonyms("cooperative-sticky", &["org.apache.kafka.clients.consumer.CooperativeStickyAssignor"]),
];
pub(super) const OFFSET_RESETS: &[Choice] = &[
    synonyms("earliest", &["smallest", "beginning"]),
    synonyms("latest", &["largest", "end"]),
    synonyms("none", &["error"]),
];
pub(super) const RECOVERIES: &[Choice] = &[word("rebootstrap"), word("none")];
pub(super) const ISOLATION_LEVELS: &[Choice] = &[word("read_uncommitted"), word("read_committed")];
pub(super) const IDLE_STRATEGIES: &[Choice] = &[word("park"), word("adaptive"), word("spin")];
pub(super) const HUGE_PAGES: &[Choice] = &[word("off"), word("transparent")];
pub(super) const TRANSPORTS: &[Choice] =
    &[word("auto"), synonyms("uring", &["io_uring"]), synonyms("poll", &["epoll"])];
pub(super) const TRUE_ONLY: &[Choice] =
    &[word("true"), later("false", &[], Some("mark records with `Context::done` instead"))];
pub(super) const FALSE_ONLY: &[Choice] =
    &[word("false"), later("true", &[], Some("request.timeout.ms finds dead connections"))];
pub(super) const ADDRESS_FAMILIES: &[Choice] = &[
    word("any"),
    later("v4", &[], Some("name brokers by their IPv4 addresses")),
    later("v6", &[], Some("name brokers by their IPv6 addresses")),
];

const fn word(word: &'static str) -> Choice {
    synonyms(word, &[])
}

const fn synonyms(word: &'static str, synonyms: &'static [&'static str]) -> Choice {
    Choice { word, synonyms, not_yet: None }
}

const fn later(
    word: &'static str,
    synonyms: &'static [&'static str],
    not_yet: Option<&'static str>,
) -> Choice {
    Choice { word, synonyms, not_yet }
}
