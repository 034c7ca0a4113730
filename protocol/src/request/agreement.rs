//! Generated responses to every request in every version that is sent, with kafka-protocol as second opinion: what a
//! schema describes it reads to the end and writes again byte by byte, and what it writes is read here as it reads it.

use std::fmt::Debug;

use bytes::Bytes;
use fastrand::Rng;
use kafka_protocol::messages;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use proptest::prelude::any;
use proptest::proptest;
use proptest::test_runner::Config;

use super::schema::{Field, Kind};
use super::{Api, ApiKey, decode_response, supported_versions};

/// Responses that are generated of each version.
const RESPONSES: u32 = 48;
/// Elements of an array, at most.
const ELEMENTS_MAX: usize = 3;
/// A tagged field that no version has yet.
const UNKNOWN_TAG: u32 = 77;
/// What strings are made of.
const LETTERS: [&str; 4] = ["a", "B", "é", "界"];

/// A request whose responses are read.
struct Case {
    api: ApiKey,
    agrees: fn(),
}

/// By their keys.
const CASES: [Case; 15] = [
    case::<messages::ProduceRequest>(),
    case::<messages::ListOffsetsRequest>(),
    case::<messages::MetadataRequest>(),
    case::<messages::OffsetCommitRequest>(),
    case::<messages::OffsetFetchRequest>(),
    case::<messages::FindCoordinatorRequest>(),
    case::<messages::JoinGroupRequest>(),
    case::<messages::HeartbeatRequest>(),
    case::<messages::LeaveGroupRequest>(),
    case::<messages::SyncGroupRequest>(),
    case::<messages::ApiVersionsRequest>(),
    case::<messages::CreateTopicsRequest>(),
    case::<messages::InitProducerIdRequest>(),
    case::<messages::OffsetForLeaderEpochRequest>(),
    case::<messages::ConsumerGroupHeartbeatRequest>(),
];

#[test]
fn kafka_protocol_and_we_find_the_same_in_every_response_of_every_version() {
    CASES.iter().for_each(|case| (case.agrees)());
}

#[test]
fn no_request_that_is_sent_lacks_a_second_opinion() {
    let apis = (0..=i16::from(u8::MAX)).filter_map(|key| ApiKey::try_from(key).ok());
    // Fetch is written and read without kafka-protocol, and has oracles of its own.
    let sent = apis.filter(|api| *api != ApiKey::Fetch && supported_versions(*api).is_some());
    assert!(sent.eq(CASES.iter().map(|case| case.api)));
}

const fn case<R: Api>() -> Case
where
    R::Response: PartialEq + Debug,
{
    Case { api: R::API, agrees: agrees::<R> }
}

fn agrees<R: Api>()
where
    R::Response: PartialEq + Debug,
{
    for version in R::SUPPORTED.min..=R::SUPPORTED.max {
        proptest!(Config::with_cases(RESPONSES), |(seed in any::<u64>())| {
            agrees_in::<R>(version, &mut Rng::with_seed(seed));
        });
    }
}

fn agrees_in<R: Api>(version: i16, rng: &mut Rng)
where
    R::Response: PartialEq + Debug,
{
    let what = format!("{:?} v{version}", R::API);
    let schema = R::response_schema();
    let is_flexible = version >= schema.flexible_from;
    let mut writer = Writer { out: Vec::new(), rng, version, is_flexible };
    writer.fields(schema.fields);
    let body = writer.out;
    assert_eq!(schema.check(version, &body), Ok(()), "{what}");
    let mut rest = Bytes::from(body.clone());
    let theirs = R::Response::decode(&mut rest, version).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(rest.is_empty(), "{what}: {} bytes are left", rest.len());
    let mut again = Vec::new();
    theirs.encode(&mut again, version).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(again, body, "{what}: {theirs:?}");
    let frame = frame::<R>(version, &body);
    assert_eq!(decode_response::<R>(version, &frame), Ok(theirs), "{what}");
    let end = rng.usize(..frame.len());
    assert!(decode_response::<R>(version, &frame.slice(..end)).is_err(), "{what} cut at {end}");
}

/// The body behind a header with a correlation id and, where there can be, a tagged field that nobody knows.
fn frame<R: Request>(version: i16, body: &[u8]) -> Bytes {
    let mut frame = 7_i32.to_be_bytes().to_vec();
    if R::Response::header_version(version) >= 1 {
        frame.extend([1, UNKNOWN_TAG as u8, 2, 0xab, 0xcd]);
    }
    frame.extend_from_slice(body);
    frame.into()
}

/// Writes what a schema describes.
struct Writer<'a> {
    out: Vec<u8>,
    rng: &'a mut Rng,
    version: i16,
    is_flexible: bool,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &'static [Field]) {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.applies_to(version)) {
            self.value(&field.kind, 0);
        }
        if self.is_flexible {
            self.tagged(fields);
        }
    }

    /// Tagged fields may be left out, and one that is there is not what it would be without.
    fn tagged(&mut self, fields: &'static [Field]) {
        let version = self.version;
        let known = fields.iter().filter(|field| field.applies_to(version));
        let known = known.filter_map(|field| Some((field.tag?, &field.kind)));
        let mut tagged = Vec::new();
        for (tag, kind) in known {
            if self.rng.bool() {
                let before = std::mem::take(&mut self.out);
                self.value(kind, 1);
                tagged.push((tag, std::mem::replace(&mut self.out, before)));
            }
        }
        if self.rng.u8(..8) == 0 {
            tagged.push((UNKNOWN_TAG, self.bytes(5)));
        }
        tagged.sort_by_key(|(tag, _)| *tag);
        self.varint(tagged.len());
        for (tag, value) in tagged {
            self.varint(tag as usize);
            self.varint(value.len());
            self.out.extend(value);
        }
    }

    /// `least` says how many elements an array has at the least.
    fn value(&mut self, kind: &'static Kind, least: usize) {
        match kind {
            // A truth is one byte, 0 or 1, as small numbers may be.
            Kind::Fixed(1) => {
                let byte = if least > 0 { 1 } else { self.rng.u8(..2) };
                self.out.push(byte);
            }
            Kind::Fixed(size) => {
                let bytes = self.bytes(*size);
                self.out.extend(bytes);
            }
            Kind::String => {
                let text: String = (0..self.rng.usize(..6)).map(|_| LETTERS[self.rng.usize(..4)]).collect();
                self.length(text.len(), size_of::<i16>());
                self.out.extend_from_slice(text.as_bytes());
            }
            Kind::Bytes => {
                let length = self.rng.usize(..9);
                let bytes = self.bytes(length);
                self.length(length, size_of::<i32>());
                self.out.extend(bytes);
            }
            Kind::FixedArray(size) => {
                let count = self.rng.usize(least..=ELEMENTS_MAX);
                let bytes = self.bytes(count * size);
                self.length(count, size_of::<i32>());
                self.out.extend(bytes);
            }
            Kind::Array(fields) => {
                let count = self.rng.usize(least..=ELEMENTS_MAX);
                self.length(count, size_of::<i32>());
                (0..count).for_each(|_| self.fields(fields));
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::NullableStruct(fields) => match self.rng.bool() {
                true => {
                    self.out.push(1);
                    self.fields(fields);
                }
                // The -1 of null.
                false => self.out.push(0xff),
            },
        }
    }

    /// A length of so many bytes, or a compact one.
    fn length(&mut self, length: usize, bytes: usize) {
        match self.is_flexible {
            true => self.varint(length + 1),
            false => self.out.extend_from_slice(&(length as u64).to_be_bytes()[size_of::<u64>() - bytes..]),
        }
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.rng.u8(..)).collect()
    }
}
