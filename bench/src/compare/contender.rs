//! Who takes part: every client in every way to use it, and the lines that are no client.

use serde::{Deserialize, Serialize};

use super::build::Program;
use crate::peers::foreign::Foreign;

/// What everything is compared with.
pub const REFERENCE: &str = "millstream";
/// The limit: receiving the same responses and doing nothing with them.
pub const DRAIN: &str = "drain";
/// The client that others are usually held against.
pub(super) const LIBRDKAFKA: &str = "librdkafka-batch";
/// CRC and codec over the same batches out of memory; the other half of the limit for compressed data.
pub(super) const CODEC_ALONE: &str = "codec-alone";

/// One way to use one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contender {
    /// What it is called on the command line and in reports.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// What it is made by.
    pub program: Program,
    /// Options of its own.
    pub own: &'static [&'static str],
    /// Whether it is asked to check CRCs.
    pub crc: bool,
    /// How often it reads everything; the last time counts.
    pub passes: u32,
    /// What its line in a table means.
    pub kind: Kind,
}

/// What a line in a table means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Millstream, in one of its ways.
    Own,
    /// Another client.
    Client,
    /// No client: it receives and does not look at records.
    Limit,
}

/// All of them, in the order of their turns.
pub const CONTENDERS: &[Contender] = &[
    own(REFERENCE, "Millstream, io_uring where the host permits it", &[]),
    own("millstream-epoll", "Millstream over epoll", &["-X", "transport=poll"]),
    own("millstream-caller", "Millstream, a shard in the caller's loop", &["--drive", "caller"]),
    rust(LIBRDKAFKA, "librdkafka (C), consume_batch_queue", "peer_rdkafka", &["--mode", "batch"]),
    Contender {
        crc: false,
        ..rust(
            "librdkafka-batch-nocrc",
            "librdkafka (C), batch, CRC unchecked",
            "peer_rdkafka",
            &["--mode", "batch"],
        )
    },
    rust(
        "librdkafka-batch-1000",
        "librdkafka (C), batches of at most 1 000",
        "peer_rdkafka",
        &["--mode", "batch", "--batch-size", "1000"],
    ),
    rust(
        "librdkafka-batch-deep",
        "librdkafka (C), batches of at most 100 000, a million records ahead",
        "peer_rdkafka",
        &["--mode", "batch", "--batch-size", "100000", "-X", "queued.min.messages=1000000"],
    ),
    rust("librdkafka-single", "librdkafka (C), consumer_poll", "peer_rdkafka", &["--mode", "single"]),
    Contender {
        crc: false,
        ..rust(
            "librdkafka-single-nocrc",
            "librdkafka (C), one by one, CRC unchecked",
            "peer_rdkafka",
            &["--mode", "single"],
        )
    },
    rust("rust-rdkafka-base", "rust-rdkafka, BaseConsumer", "peer_rust_rdkafka", &["--mode", "base"]),
    rust("rust-rdkafka-stream", "rust-rdkafka, StreamConsumer", "peer_rust_rdkafka", &["--mode", "stream"]),
    rust("krafka", "krafka (Rust)", "peer_krafka", &[]),
    rust("rskafka", "rskafka (Rust)", "peer_rskafka", &[]),
    rust("confluent-rust", "Confluent's client for Rust", "peer_confluent", &[]),
    foreign("franz-go", "franz-go (Go)", Foreign::Franz),
    foreign("sarama", "sarama (Go)", Foreign::Sarama),
    foreign("java", "Kafka's own client (Java)", Foreign::Java),
    Contender { passes: 3, ..foreign("java-warm", "Kafka's own client (Java), third pass", Foreign::Java) },
    Contender {
        program: Program::Cargo { bin: "drain", is_peer: false },
        kind: Kind::Limit,
        ..own(DRAIN, "Drain: plain blocking receive, no decoding", &[])
    },
];

/// The contenders of a list of names, or all of them.
///
/// # Errors
/// The name that is none, with those that are.
pub(super) fn chosen(names: &str) -> Result<Vec<Contender>, String> {
    if names == "all" {
        return Ok(CONTENDERS.to_vec());
    }
    names.split(',').map(by_name).collect()
}

fn by_name(name: &str) -> Result<Contender, String> {
    let known = CONTENDERS.iter().find(|contender| contender.name == name);
    known.copied().ok_or_else(|| {
        let all: Vec<&str> = CONTENDERS.iter().map(|contender| contender.name).collect();
        format!("--peers {name}: there are all, or some of {}", all.join(", "))
    })
}

const fn own(name: &'static str, title: &'static str, own: &'static [&'static str]) -> Contender {
    let program = Program::Cargo { bin: "peer_millstream", is_peer: false };
    Contender { name, title, program, own, crc: true, passes: 1, kind: Kind::Own }
}

const fn rust(
    name: &'static str,
    title: &'static str,
    bin: &'static str,
    own: &'static [&'static str],
) -> Contender {
    let program = Program::Cargo { bin, is_peer: true };
    Contender { name, title, program, own, crc: true, passes: 1, kind: Kind::Client }
}

const fn foreign(name: &'static str, title: &'static str, foreign: Foreign) -> Contender {
    let program = Program::Foreign(foreign);
    Contender { name, title, program, own: &[], crc: true, passes: 1, kind: Kind::Client }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contenders_are_chosen_by_name_in_the_order_given() {
        let names: Vec<&str> =
            chosen("drain,millstream").unwrap().iter().map(|contender| contender.name).collect();
        assert_eq!(names, ["drain", "millstream"]);
        assert_eq!(chosen("all").unwrap().len(), CONTENDERS.len());
        let error = chosen("millstream,kafka-streams").unwrap_err();
        assert!(error.contains("kafka-streams") && error.contains("librdkafka-batch"), "{error}");
    }

    #[test]
    fn no_two_have_the_same_name() {
        for (index, contender) in CONTENDERS.iter().enumerate() {
            assert!(
                CONTENDERS[..index].iter().all(|other| other.name != contender.name),
                "{}",
                contender.name
            );
        }
    }
}
