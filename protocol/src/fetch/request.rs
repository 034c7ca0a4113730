//! Fetch requests, versions 4 to 18, written straight into a buffer that the caller keeps.
//!
//! The data path sends a Fetch per round trip, so it does not build an owned request first: after the buffer
//! has grown once, nothing is allocated. The tests hold every version against kafka-protocol's encoder.

use std::sync::Arc;

/// The first version that asks for record batches v2 (Kafka 0.11).
pub const FETCH_MIN_VERSION: i16 = 4;
/// The newest version that is written here (Kafka 4.1).
pub const FETCH_MAX_VERSION: i16 = 18;
/// The last version that names topics; later ones need every topic's id.
pub const FETCH_LAST_VERSION_WITH_NAMES: i16 = 12;
/// The first version with fetch sessions (KIP-227).
pub const FETCH_FIRST_VERSION_WITH_SESSIONS: i16 = 7;
/// The id of a topic whose broker does not give topics ids.
pub const NO_TOPIC_ID: [u8; 16] = [0; 16];

const API_KEY: i16 = 1;
const CONSUMER_REPLICA_ID: i32 = -1;

/// Which records a Fetch may return: `isolation.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i8)]
pub enum IsolationLevel {
    /// All records up to the high watermark.
    #[default]
    ReadUncommitted = 0,
    /// Records up to the last stable offset; aborted transactions are listed in the response.
    ReadCommitted = 1,
}

/// One partition to fetch, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id; [`NO_TOPIC_ID`] where the broker gives none.
    pub topic_id: [u8; 16],
    /// The partition's index.
    pub partition: i32,
    /// The leader epoch known from metadata, or -1; a broker with another one refuses (v9+).
    pub current_leader_epoch: i32,
    /// The offset of the first record wanted.
    pub fetch_offset: i64,
    /// The leader epoch of the last record fetched, or -1; lets the broker report a truncation (v12+).
    pub last_fetched_epoch: i32,
    /// Used by followers only: -1 for a consumer (v5+).
    pub log_start_offset: i64,
    /// The most bytes wanted of this partition; the first batch of a response may exceed it.
    pub max_bytes: i32,
}

/// What all partitions of a Fetch share.
#[derive(Debug, Clone, Copy)]
pub struct FetchOptions<'a> {
    /// The longest that the broker may hold the request when fewer than `min_bytes` are there.
    pub max_wait_ms: i32,
    /// Answer as soon as so many bytes are there.
    pub min_bytes: i32,
    /// The most bytes wanted in the response; its first batch may exceed it.
    pub max_bytes: i32,
    /// Which records may be returned.
    pub isolation: IsolationLevel,
    /// `client.id`.
    pub client_id: &'a str,
    /// `client.rack`, empty for none (v11+).
    pub rack: &'a str,
}

/// A fetch session's id and epoch as they stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionFields {
    /// The session's id, 0 for none yet.
    pub id: i32,
    /// 0 asks for a new session, 1 and more continue one, -1 closes it (with id 0: no session wanted).
    pub epoch: i32,
}

/// A partition that leaves the session.
#[derive(Debug, Clone, Copy)]
pub struct ForgottenPartition<'a> {
    /// The topic's name.
    pub topic: &'a str,
    /// The topic's id.
    pub topic_id: [u8; 16],
    /// The partition's index.
    pub partition: i32,
}

/// A Fetch that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchRequestError {
    /// The version is not written here.
    #[error("Fetch version {version} is not known here (known: {FETCH_MIN_VERSION}..{FETCH_MAX_VERSION})")]
    UnknownVersion {
        /// The version asked for.
        version: i16,
    },
    /// The version names topics by id and one has none.
    #[error(
        "Fetch version {version} needs topic ids and topic {topic} has none; use version {FETCH_LAST_VERSION_WITH_NAMES}"
    )]
    NoTopicId {
        /// The version asked for.
        version: i16,
        /// The topic.
        topic: Arc<str>,
    },
    /// A string is longer than the wire can say.
    #[error("{what} has {length} bytes, the limit is {}", i16::MAX)]
    LongString {
        /// Which string.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// A second Fetch was asked for before the first was answered; a session has one at a time.
    #[error("a Fetch of this session is still in flight; a session has one at a time")]
    InFlight,
}

impl SessionFields {
    /// For a request outside of any session: the broker answers in full and keeps nothing.
    pub const SESSIONLESS: SessionFields = SessionFields { id: 0, epoch: -1 };
}

/// Appends a whole Fetch frame to `out`: length, header, body.
///
/// The broker serves partitions in the order given. Partitions that follow each other and are of the same topic
/// share its entry; a topic may have several. Before version 7 session and `forgotten` do not exist
/// and are left out. On an error `out` is as it was.
///
/// # Errors
/// [`FetchRequestError`] for an unknown version, a missing topic id, or a string that is too long.
pub fn encode_fetch<'a>(
    version: i16,
    correlation_id: i32,
    options: &FetchOptions<'_>,
    session: SessionFields,
    partitions: impl Iterator<Item = &'a FetchPartition> + Clone,
    forgotten: impl Iterator<Item = ForgottenPartition<'a>> + Clone,
    out: &mut Vec<u8>,
) -> Result<(), FetchRequestError> {
    check(version, options, partitions.clone())?;
    let start = out.len();
    let mut writer = Writer { out, version, flexible: version >= 12, by_id: version >= 13 };
    writer.header(correlation_id, options.client_id);
    writer.limits(options);
    if version >= FETCH_FIRST_VERSION_WITH_SESSIONS {
        writer.i32(session.id);
        writer.i32(session.epoch);
    }
    writer.topics(partitions);
    if version >= FETCH_FIRST_VERSION_WITH_SESSIONS {
        writer.forgotten_topics(forgotten);
    }
    if version >= 11 {
        writer.string(options.rack);
    }
    writer.no_tags();
    let size = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

fn check<'a>(
    version: i16,
    options: &FetchOptions<'_>,
    mut partitions: impl Iterator<Item = &'a FetchPartition>,
) -> Result<(), FetchRequestError> {
    if !(FETCH_MIN_VERSION..=FETCH_MAX_VERSION).contains(&version) {
        return Err(FetchRequestError::UnknownVersion { version });
    }
    short("client.id", options.client_id)?;
    short("client.rack", options.rack)?;
    partitions.try_for_each(|partition| {
        short("a topic's name", &partition.topic)?;
        if version > FETCH_LAST_VERSION_WITH_NAMES && partition.topic_id == NO_TOPIC_ID {
            return Err(FetchRequestError::NoTopicId { version, topic: partition.topic.clone() });
        }
        Ok(())
    })
}

fn short(what: &'static str, text: &str) -> Result<(), FetchRequestError> {
    match text.len() {
        length if length > i16::MAX as usize => Err(FetchRequestError::LongString { what, length }),
        _ => Ok(()),
    }
}

/// Writes the fields of one version.
struct Writer<'o> {
    out: &'o mut Vec<u8>,
    version: i16,
    flexible: bool,
    by_id: bool,
}

impl Writer<'_> {
    fn header(&mut self, correlation_id: i32, client_id: &str) {
        self.i32(0); // the frame's length, patched when it is known
        self.i16(API_KEY);
        self.i16(self.version);
        self.i32(correlation_id);
        self.i16(client_id.len() as i16);
        self.out.extend_from_slice(client_id.as_bytes());
        self.no_tags();
    }

    fn limits(&mut self, options: &FetchOptions<'_>) {
        // Since version 15 the replica id is a tagged field, left out by consumers.
        if self.version <= 14 {
            self.i32(CONSUMER_REPLICA_ID);
        }
        self.i32(options.max_wait_ms);
        self.i32(options.min_bytes);
        self.i32(options.max_bytes);
        self.out.push(options.isolation as u8);
    }

    fn topics<'a>(&mut self, partitions: impl Iterator<Item = &'a FetchPartition> + Clone) {
        let by_id = self.by_id;
        let same = |a: &&FetchPartition, b: &&FetchPartition| match by_id {
            true => a.topic_id == b.topic_id,
            false => a.topic == b.topic,
        };
        self.groups(partitions, same, |writer, first, group| {
            writer.topic(&first.topic, &first.topic_id);
            writer.array_length(group.clone().count());
            group.for_each(|partition| writer.partition(partition));
        });
    }

    fn forgotten_topics<'a>(&mut self, forgotten: impl Iterator<Item = ForgottenPartition<'a>> + Clone) {
        let by_id = self.by_id;
        let same = |a: &ForgottenPartition<'a>, b: &ForgottenPartition<'a>| match by_id {
            true => a.topic_id == b.topic_id,
            false => a.topic == b.topic,
        };
        self.groups(forgotten, same, |writer, first, group| {
            writer.topic(first.topic, &first.topic_id);
            writer.array_length(group.clone().count());
            group.for_each(|partition| writer.i32(partition.partition));
        });
    }

    /// An array of runs of items that are the `same`, each written by `write` and closed by its tags.
    fn groups<T, I: Iterator<Item = T> + Clone>(
        &mut self,
        items: I,
        same: impl Fn(&T, &T) -> bool + Copy,
        write: impl Fn(&mut Self, &T, Run<I>),
    ) {
        self.array_length(count_runs(items.clone(), same));
        let mut rest = items;
        loop {
            let at = rest.clone();
            let Some(first) = rest.next() else { break };
            let mut length = 1;
            let mut ahead = rest.clone();
            while ahead.next().is_some_and(|next| same(&first, &next)) {
                rest.next();
                length += 1;
            }
            write(self, &first, at.take(length));
            self.no_tags();
        }
    }

    fn topic(&mut self, name: &str, id: &[u8; 16]) {
        if self.by_id {
            self.out.extend_from_slice(id);
        } else {
            self.string(name);
        }
    }

    fn partition(&mut self, partition: &FetchPartition) {
        self.i32(partition.partition);
        if self.version >= 9 {
            self.i32(partition.current_leader_epoch);
        }
        self.i64(partition.fetch_offset);
        if self.version >= 12 {
            self.i32(partition.last_fetched_epoch);
        }
        if self.version >= 5 {
            self.i64(partition.log_start_offset);
        }
        self.i32(partition.max_bytes);
        self.no_tags();
    }

    fn string(&mut self, text: &str) {
        if self.flexible {
            self.varint(text.len() as u32 + 1);
        } else {
            self.i16(text.len() as i16);
        }
        self.out.extend_from_slice(text.as_bytes());
    }

    fn array_length(&mut self, count: usize) {
        if self.flexible {
            self.varint(count as u32 + 1);
        } else {
            self.i32(count as i32);
        }
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.out.push(0);
        }
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn i16(&mut self, value: i16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }
}

type Run<I> = std::iter::Take<I>;

fn count_runs<T>(mut items: impl Iterator<Item = T>, same: impl Fn(&T, &T) -> bool) -> usize {
    let Some(mut last) = items.next() else { return 0 };
    let mut runs = 1;
    for item in items {
        if !same(&last, &item) {
            runs += 1;
        }
        last = item;
    }
    runs
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::fetch_request::{self, FetchTopic, ForgottenTopic};
    use kafka_protocol::messages::{FetchRequest, TopicName};
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::request::encode_request;

    const OPTIONS: FetchOptions<'static> = FetchOptions {
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        isolation: IsolationLevel::ReadCommitted,
        client_id: "client",
        rack: "rack-a",
    };

    fn partition(topic: &str, partition: i32) -> FetchPartition {
        FetchPartition {
            topic: topic.into(),
            topic_id: [topic.as_bytes()[0]; 16],
            partition,
            current_leader_epoch: 7,
            fetch_offset: 1 << 40 | i64::from(partition),
            last_fetched_epoch: 6,
            log_start_offset: -1,
            max_bytes: 65_536,
        }
    }

    fn forgotten(topic: &str, partition: i32) -> ForgottenPartition<'_> {
        ForgottenPartition { topic, topic_id: [topic.as_bytes()[0]; 16], partition }
    }

    fn name(topic: &str) -> TopicName {
        TopicName(StrBytes::from_string(topic.to_owned()))
    }

    /// The library's frame of the same request.
    fn oracle(
        version: i16,
        options: &FetchOptions<'_>,
        topics: &[&[FetchPartition]],
        gone: &[&[ForgottenPartition<'_>]],
    ) -> Vec<u8> {
        let topics = topics.iter().map(|partitions| {
            let list = partitions.iter().map(|partition| {
                fetch_request::FetchPartition::default()
                    .with_partition(partition.partition)
                    .with_current_leader_epoch(partition.current_leader_epoch)
                    .with_fetch_offset(partition.fetch_offset)
                    .with_last_fetched_epoch(if version >= 12 { partition.last_fetched_epoch } else { -1 })
                    .with_log_start_offset(partition.log_start_offset)
                    .with_partition_max_bytes(partition.max_bytes)
            });
            FetchTopic::default()
                .with_topic(name(&partitions[0].topic))
                .with_topic_id(uuid::Uuid::from_bytes(partitions[0].topic_id))
                .with_partitions(list.collect())
        });
        let gone = gone.iter().map(|partitions| {
            ForgottenTopic::default()
                .with_topic(name(partitions[0].topic))
                .with_topic_id(uuid::Uuid::from_bytes(partitions[0].topic_id))
                .with_partitions(partitions.iter().map(|partition| partition.partition).collect())
        });
        let mut request = FetchRequest::default()
            .with_max_wait_ms(options.max_wait_ms)
            .with_min_bytes(options.min_bytes)
            .with_max_bytes(options.max_bytes)
            .with_isolation_level(options.isolation as i8)
            .with_rack_id(StrBytes::from_string(options.rack.to_owned()))
            .with_topics(topics.collect());
        if version >= FETCH_FIRST_VERSION_WITH_SESSIONS {
            request =
                request.with_session_id(77).with_session_epoch(3).with_forgotten_topics_data(gone.collect());
        }
        let mut frame = Vec::new();
        encode_request(&request, version, 11, options.client_id, &mut frame).unwrap();
        frame
    }

    fn ours(version: i16, partitions: &[FetchPartition], gone: &[ForgottenPartition<'_>]) -> Vec<u8> {
        let mut out = b"kept".to_vec();
        let session = SessionFields { id: 77, epoch: 3 };
        encode_fetch(version, 11, &OPTIONS, session, partitions.iter(), gone.iter().copied(), &mut out)
            .unwrap();
        out.split_off(4)
    }

    #[test]
    fn every_version_is_byte_for_byte_what_the_library_writes() {
        let orders = [partition("orders", 0), partition("orders", 1), partition("orders", 200)];
        let audit = [partition("audit", 3)];
        let gone_orders = [forgotten("orders", 5), forgotten("orders", 6)];
        let gone_old = [forgotten("bygone", 0)];
        let all = [&orders[..], &audit, &orders[..1]];
        let gone = [&gone_orders[..], &gone_old];
        for version in FETCH_MIN_VERSION..=FETCH_MAX_VERSION {
            let written = ours(version, &all.concat(), &gone.concat());
            assert_eq!(written, oracle(version, &OPTIONS, &all, &gone), "v{version}");
            assert_eq!(ours(version, &[], &[]), oracle(version, &OPTIONS, &[], &[]), "v{version}, empty");
        }
    }

    #[test]
    fn long_arrays_and_strings_have_long_varints() {
        let topic = "t".repeat(20_000);
        let many: Vec<_> = (0..300).map(|index| partition(&topic, index)).collect();
        for version in [11, 12, 18] {
            assert_eq!(ours(version, &many, &[]), oracle(version, &OPTIONS, &[&many], &[]), "v{version}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_leaves_the_buffer_alone() {
        let mut out = b"kept".to_vec();
        let mut encode = |version, options: &FetchOptions<'_>, partition: &FetchPartition| {
            let one = std::iter::once(partition);
            encode_fetch(version, 1, options, SessionFields::SESSIONLESS, one, std::iter::empty(), &mut out)
        };
        let plain = partition("t", 0);
        for version in [i16::MIN, 3, 19] {
            assert_eq!(encode(version, &OPTIONS, &plain), Err(FetchRequestError::UnknownVersion { version }));
        }
        let nameless = FetchPartition { topic_id: NO_TOPIC_ID, ..plain.clone() };
        assert!(matches!(encode(13, &OPTIONS, &nameless), Err(FetchRequestError::NoTopicId { .. })));
        let long = "x".repeat(40_000);
        let options = FetchOptions { client_id: &long, ..OPTIONS };
        assert!(matches!(encode(12, &options, &plain), Err(FetchRequestError::LongString { .. })));
        let options = FetchOptions { rack: &long, ..OPTIONS };
        assert!(matches!(encode(12, &options, &plain), Err(FetchRequestError::LongString { .. })));
        let topic = FetchPartition { topic: long.as_str().into(), ..plain };
        assert!(matches!(encode(12, &OPTIONS, &topic), Err(FetchRequestError::LongString { .. })));
        assert_eq!(out, b"kept");
    }
}
