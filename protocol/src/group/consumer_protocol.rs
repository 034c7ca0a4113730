//! The bytes that group members exchange through the coordinator, which does not look into them:
//! ConsumerProtocolSubscription and ConsumerProtocolAssignment, versions 0 to 3.
//!
//! They come from other members, which may be anyone's client: every length is checked against what is
//! there, nothing is reserved on a claim, and versions after 3 are read as 3, because each version only
//! appends fields.

use std::sync::Arc;

use super::TopicPartition;

/// The newest version written and fully understood.
pub const CONSUMER_PROTOCOL_VERSION: i16 = 3;

/// What a member tells the leader: the topics that it wants, and what it owns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The topics wanted.
    pub topics: Vec<Arc<str>>,
    /// Bytes of the assignor's own.
    pub user_data: Option<Vec<u8>>,
    /// What the member owns while it joins; empty under eager rebalancing (v1+).
    pub owned: Vec<TopicPartition>,
    /// The generation in which it came to own them, or -1 (v2+).
    pub generation: i32,
    /// The member's rack (v3+).
    pub rack: Option<String>,
}

/// What the leader gives a member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The partitions, those of one topic together.
    pub partitions: Vec<TopicPartition>,
    /// Bytes of the assignor's own.
    pub user_data: Option<Vec<u8>>,
}

/// Bytes of a member that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerProtocolError {
    /// They end too early.
    #[error("they end at byte {at}, in the middle of {what}")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// A length or a number is not legal.
    #[error("{what} at byte {at} is {value}")]
    Illegal {
        /// The field.
        what: &'static str,
        /// Where.
        at: usize,
        /// What was read.
        value: i64,
    },
    /// A text is not UTF-8.
    #[error("{what} at byte {at} is not UTF-8")]
    NotText {
        /// The field.
        what: &'static str,
        /// Where.
        at: usize,
    },
}

impl Subscription {
    /// The bytes in `version` (0 to [`CONSUMER_PROTOCOL_VERSION`]), preceded by the version as 16 bits.
    ///
    /// # Panics
    /// If a name is longer than 32767 bytes: topic names are checked where they enter the program.
    pub fn encode(&self, version: i16) -> Vec<u8> {
        let mut out = Vec::new();
        put_i16(&mut out, version);
        put_i32(&mut out, self.topics.len() as i32);
        self.topics.iter().for_each(|topic| put_string(&mut out, topic));
        put_bytes(&mut out, self.user_data.as_deref());
        if version >= 1 {
            put_partitions(&mut out, &self.owned);
        }
        if version >= 2 {
            put_i32(&mut out, self.generation);
        }
        if version >= 3 {
            match &self.rack {
                Some(rack) => put_string(&mut out, rack),
                None => put_i16(&mut out, -1),
            }
        }
        out
    }

    /// Reads the bytes of any version.
    ///
    /// # Errors
    /// [`ConsumerProtocolError`] says what is wrong and where.
    pub fn decode(bytes: &[u8]) -> Result<Subscription, ConsumerProtocolError> {
        let mut reader = Reader::new(bytes);
        let version = reader.version()?;
        let mut topics = Vec::new();
        for _ in 0..reader.count("the number of topics")? {
            topics.push(
                reader.string("a topic")?.ok_or_else(|| reader.illegal("a topic's length", -1))?.into(),
            );
        }
        Ok(Subscription {
            topics,
            user_data: reader.nullable_bytes("the user data")?,
            owned: if version >= 1 { reader.partitions()? } else { Vec::new() },
            generation: if version >= 2 { reader.i32("the generation")? } else { -1 },
            rack: if version >= 3 { reader.string("the rack")?.map(str::to_owned) } else { None },
        })
    }
}

impl Assignment {
    /// The bytes in `version`, preceded by the version as 16 bits; all versions are alike.
    ///
    /// # Panics
    /// If a name is longer than 32767 bytes: topic names are checked where they enter the program.
    pub fn encode(&self, version: i16) -> Vec<u8> {
        let mut out = Vec::new();
        put_i16(&mut out, version);
        put_partitions(&mut out, &self.partitions);
        put_bytes(&mut out, self.user_data.as_deref());
        out
    }

    /// Reads the bytes of any version; no bytes at all are an empty assignment, as a coordinator sends it to
    /// a member that the leader left out.
    ///
    /// # Errors
    /// [`ConsumerProtocolError`] says what is wrong and where.
    pub fn decode(bytes: &[u8]) -> Result<Assignment, ConsumerProtocolError> {
        if bytes.is_empty() {
            return Ok(Assignment::default());
        }
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let partitions = reader.partitions()?;
        let user_data = reader.nullable_bytes("the user data")?;
        Ok(Assignment { partitions, user_data })
    }
}

pub(super) fn put_partitions(out: &mut Vec<u8>, partitions: &[TopicPartition]) {
    let runs = || partitions.chunk_by(|a, b| a.topic == b.topic);
    put_i32(out, runs().count() as i32);
    for run in runs() {
        put_string(out, &run[0].topic);
        put_i32(out, run.len() as i32);
        run.iter().for_each(|partition| put_i32(out, partition.partition));
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_i32(out, bytes.map_or(-1, |bytes| bytes.len() as i32));
    out.extend_from_slice(bytes.unwrap_or_default());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    assert!(text.len() <= i16::MAX as usize, "a name of {} bytes", text.len());
    put_i16(out, text.len() as i16);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Reads what a member wrote.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    fn version(&mut self) -> Result<i16, ConsumerProtocolError> {
        match i16::from_be_bytes(self.array("the version")?) {
            version if version < 0 => Err(self.illegal("the version", version.into())),
            version => Ok(version),
        }
    }

    pub(super) fn partitions(&mut self) -> Result<Vec<TopicPartition>, ConsumerProtocolError> {
        let mut partitions = Vec::new();
        for _ in 0..self.count("the number of topics")? {
            let topic = self.string("a topic")?.ok_or_else(|| self.illegal("a topic's length", -1))?;
            let topic: Arc<str> = topic.into();
            for _ in 0..self.count("the number of partitions")? {
                let partition = self.i32("a partition")?;
                if partition < 0 {
                    return Err(self.illegal("a partition", partition.into()));
                }
                partitions.push(TopicPartition { topic: topic.clone(), partition });
            }
        }
        Ok(partitions)
    }

    fn nullable_bytes(&mut self, what: &'static str) -> Result<Option<Vec<u8>>, ConsumerProtocolError> {
        match self.i32(what)? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| self.illegal(what, length.into()))?;
                self.take(length, what).map(|bytes| Some(bytes.to_vec()))
            }
        }
    }

    fn string(&mut self, what: &'static str) -> Result<Option<&'a str>, ConsumerProtocolError> {
        let length = i16::from_be_bytes(self.array(what)?);
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| self.illegal(what, length.into()))?;
        let at = self.at;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| ConsumerProtocolError::NotText { what, at })
    }

    /// A count of elements that follow; each takes at least two bytes, so a lie ends the loop soon.
    fn count(&mut self, what: &'static str) -> Result<i32, ConsumerProtocolError> {
        match self.i32(what)? {
            count if count < 0 => Err(self.illegal(what, count.into())),
            count => Ok(count),
        }
    }

    pub(super) fn i32(&mut self, what: &'static str) -> Result<i32, ConsumerProtocolError> {
        self.array(what).map(i32::from_be_bytes)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ConsumerProtocolError> {
        let truncated = ConsumerProtocolError::Truncated { what, at: self.bytes.len() };
        let array = *self.bytes[self.at..].first_chunk().ok_or(truncated)?;
        self.at += N;
        Ok(array)
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], ConsumerProtocolError> {
        let truncated = ConsumerProtocolError::Truncated { what, at: self.bytes.len() };
        let bytes = self.bytes[self.at..].get(..length).ok_or(truncated)?;
        self.at += length;
        Ok(bytes)
    }

    fn illegal(&self, what: &'static str, value: i64) -> ConsumerProtocolError {
        ConsumerProtocolError::Illegal { what, at: self.at, value }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{
        ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicName, consumer_protocol_assignment,
        consumer_protocol_subscription,
    };
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    fn text(text: &'static str) -> StrBytes {
        StrBytes::from_static_str(text)
    }

    fn library<M: Encodable>(message: &M, version: i16) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        message.encode(&mut bytes, version).unwrap();
        bytes
    }

    #[test]
    fn subscriptions_are_what_the_library_writes() {
        for version in 0..=CONSUMER_PROTOCOL_VERSION {
            let mut ours = Subscription {
                topics: vec!["a".into(), "b".into()],
                user_data: Some(vec![1, 2]),
                generation: -1,
                ..Subscription::default()
            };
            let mut theirs = ConsumerProtocolSubscription::default()
                .with_topics(vec![text("a"), text("b")])
                .with_user_data(Some(vec![1, 2].into()));
            if version >= 1 {
                ours.owned = vec![TopicPartition::new("a", 1), TopicPartition::new("a", 2)];
                theirs.owned_partitions = vec![
                    consumer_protocol_subscription::TopicPartition::default()
                        .with_topic(TopicName(text("a")))
                        .with_partitions(vec![1, 2]),
                ];
            }
            if version >= 2 {
                (ours.generation, theirs.generation_id) = (4, 4);
            }
            if version >= 3 {
                (ours.rack, theirs.rack_id) = (Some("r".to_owned()), Some(text("r")));
            }
            assert_eq!(ours.encode(version), library(&theirs, version), "v{version}");
            assert_eq!(Subscription::decode(&ours.encode(version)), Ok(ours), "v{version}");
        }
    }

    #[test]
    fn assignments_are_what_the_library_writes() {
        let ours = Assignment {
            partitions: vec![
                TopicPartition::new("a", 0),
                TopicPartition::new("a", 7),
                TopicPartition::new("b", 1),
            ],
            user_data: None,
        };
        let topic = |name, partitions| {
            consumer_protocol_assignment::TopicPartition::default()
                .with_topic(TopicName(text(name)))
                .with_partitions(partitions)
        };
        let theirs = ConsumerProtocolAssignment::default()
            .with_assigned_partitions(vec![topic("a", vec![0, 7]), topic("b", vec![1])]);
        for version in 0..=CONSUMER_PROTOCOL_VERSION {
            assert_eq!(ours.encode(version), library(&theirs, version), "v{version}");
            assert_eq!(Assignment::decode(&ours.encode(version)).as_ref(), Ok(&ours), "v{version}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let known = Subscription { topics: vec!["a".into()], ..Subscription::default() };
        let mut bytes = known.encode(3);
        bytes[..2].copy_from_slice(&9i16.to_be_bytes());
        bytes.extend_from_slice(b"more");
        assert_eq!(Subscription::decode(&bytes), Ok(known));
    }

    #[test]
    fn no_bytes_are_an_empty_assignment() {
        assert_eq!(Assignment::decode(&[]), Ok(Assignment::default()));
    }

    #[test]
    fn every_cut_is_an_error() {
        let subscription = Subscription {
            topics: vec!["topic".into()],
            owned: vec![TopicPartition::new("topic", 1)],
            rack: Some("r".to_owned()),
            ..Subscription::default()
        };
        let bytes = subscription.encode(3);
        for end in 0..bytes.len() {
            assert!(Subscription::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        let bytes = Assignment { partitions: subscription.owned, user_data: None }.encode(3);
        for end in 1..bytes.len() {
            assert!(Assignment::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        let claims_all = [0, 0, 0x7f, 0xff, 0xff, 0xff];
        assert!(matches!(Assignment::decode(&claims_all), Err(ConsumerProtocolError::Truncated { .. })));
        let negative = [0, 0, 0xff, 0xff, 0xff, 0xfe];
        assert!(matches!(
            Subscription::decode(&negative),
            Err(ConsumerProtocolError::Illegal { value: -2, .. })
        ));
        let negative_partition = [0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        let error = Assignment::decode(&negative_partition).unwrap_err();
        assert_eq!(error.to_string(), "a partition at byte 17 is -1");
        let not_text = [0, 0, 0, 0, 0, 1, 0, 1, 0xff];
        assert!(matches!(Subscription::decode(&not_text), Err(ConsumerProtocolError::NotText { at: 8, .. })));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random.usize(0..40)).map(|_| random.u8(0..4)).collect();
            if let Some(first) = bytes.first_mut() {
                *first = 0;
            }
            let _ = Subscription::decode(&bytes);
            let _ = Assignment::decode(&bytes);
        }
    }
}
