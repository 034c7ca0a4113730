//! Walks a received Fetch response in place: no part of it is copied or allocated.
//!
//! [`FetchResponse::parse`] walks the whole response once (records are skipped, so this costs some nanoseconds per
//! partition), so a malformed response is refused before any of its partitions is acted upon, and everything read from
//! it afterwards is infallible.
//!
//! The layout is Kafka's `FetchResponse.json`, versions 4 to 18. Flexible versions are those from 12, topic ids come
//! instead of names from 13 (KIP-516), node endpoints from 16 (KIP-951).

mod endpoint;
mod partition;
mod reader;

pub use endpoint::{NodeEndpoint, NodeEndpoints};
pub use partition::{
    AbortedTransactions, AbortedTransactionsLocation, CurrentLeader, DivergingEpoch, Partition, TopicRef,
};
pub use reader::WalkError;

use partition::TopicReader;
use reader::Reader;

/// The oldest Fetch version that can be walked: the first with record batches v2 throughout (KIP-98).
pub const FETCH_VERSION_MIN: i16 = 4;
/// The newest Fetch version that can be walked.
pub const FETCH_VERSION_MAX: i16 = 18;
/// The first Fetch version with compact lengths and tagged fields.
pub const FETCH_VERSION_FLEXIBLE: i16 = 12;
/// The first Fetch version that names topics by id.
pub const FETCH_VERSION_TOPIC_IDS: i16 = 13;

/// The least that a topic takes: its name's length, its count of partitions.
const TOPIC_MIN_BYTES: usize = 2;

/// A response's header, read past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The correlation id of the request that is answered.
    pub correlation_id: i32,
    /// Where the body starts in the frame.
    pub body_start: usize,
}

impl ResponseHeader {
    /// Reads the header of a frame (without its length prefix): version 0 is the correlation id, version 1
    /// (`flexible`) adds tagged fields. ApiVersions alone has version 0 in all its versions.
    pub fn parse(frame: &[u8], flexible: bool) -> Result<Self, WalkError> {
        let mut reader = Reader::at(frame, 0);
        let correlation_id = reader.i32("correlation_id")?;
        if flexible {
            reader.skip_tagged_fields()?;
        }
        Ok(Self { correlation_id, body_start: reader.position() })
    }
}

/// A Fetch response, borrowed from the frame that it was received in.
#[derive(Debug, Clone, Copy)]
pub struct FetchResponse<'a> {
    version: i16,
    throttle_time_ms: i32,
    error_code: i16,
    session_id: i32,
    topic_count: usize,
    topics: Reader<'a>,
    partition_count: usize,
    node_endpoints: NodeEndpoints<'a>,
}

impl<'a> FetchResponse<'a> {
    /// Reads header and body out of a frame (without its length prefix). Positions and ranges count from the
    /// start of `frame`.
    pub fn parse_frame(version: i16, frame: &'a [u8]) -> Result<(ResponseHeader, Self), WalkError> {
        let header = ResponseHeader::parse(frame, version >= FETCH_VERSION_FLEXIBLE)?;
        Ok((header, Self::parse_at(version, frame, header.body_start)?))
    }

    /// Reads a body, the part after the response header. Positions and ranges count from the start of `body`.
    pub fn parse(version: i16, body: &'a [u8]) -> Result<Self, WalkError> {
        Self::parse_at(version, body, 0)
    }

    /// Delay that the broker has put on this response because of a quota, in milliseconds.
    pub fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// Error of the whole response (versions below 7 have none and read 0).
    pub fn error_code(&self) -> i16 {
        self.error_code
    }

    /// The fetch session, 0 when the broker keeps none (KIP-227; versions below 7 read 0).
    pub fn session_id(&self) -> i32 {
        self.session_id
    }

    /// How many partitions the response holds.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The partitions, in the order in which the broker sent them.
    pub fn partitions(&self) -> Partitions<'a> {
        Partitions {
            walk: PartitionWalk::new(self.version, self.topics, self.topic_count),
            left: self.partition_count,
        }
    }

    /// Endpoints of the leaders named by [`Partition::current_leader`] (version 16 and up, otherwise none).
    pub fn node_endpoints(&self) -> NodeEndpoints<'a> {
        self.node_endpoints
    }

    fn parse_at(version: i16, bytes: &'a [u8], start: usize) -> Result<Self, WalkError> {
        if !(FETCH_VERSION_MIN..=FETCH_VERSION_MAX).contains(&version) {
            let (min, max) = (FETCH_VERSION_MIN, FETCH_VERSION_MAX);
            return Err(WalkError::UnsupportedVersion { version, min, max });
        }
        let flexible = version >= FETCH_VERSION_FLEXIBLE;
        let mut reader = Reader::at(bytes, start);
        let throttle_time_ms = reader.i32("throttle_time_ms")?;
        let (error_code, session_id) =
            if version >= 7 { (reader.i16("error_code")?, reader.i32("session_id")?) } else { (0, 0) };
        let topic_count = reader.count("responses", flexible, TOPIC_MIN_BYTES)?;

        let topics = reader;
        let mut walk = PartitionWalk::new(version, topics, topic_count);
        let mut partition_count = 0;
        while walk.next_partition()?.is_some() {
            partition_count += 1;
        }

        let mut reader = walk.reader;
        let mut node_endpoints = NodeEndpoints::none();
        if flexible {
            reader.tagged_fields(|tag, value| {
                if tag != 0 || version < 16 {
                    return Ok(false);
                }
                node_endpoints = NodeEndpoints::parse(value)?;
                Ok(true)
            })?;
        }
        if reader.left() > 0 {
            return Err(WalkError::TrailingBytes { position: reader.position(), count: reader.left() });
        }
        Ok(Self {
            version,
            throttle_time_ms,
            error_code,
            session_id,
            topic_count,
            topics,
            partition_count,
            node_endpoints,
        })
    }
}

/// The partitions of a Fetch response, in order.
#[derive(Debug, Clone)]
pub struct Partitions<'a> {
    walk: PartitionWalk<'a>,
    left: usize,
}

impl<'a> Iterator for Partitions<'a> {
    type Item = Partition<'a>;

    fn next(&mut self) -> Option<Partition<'a>> {
        self.left = self.left.checked_sub(1)?;
        let partition = self.walk.next_partition();
        // The same walk over the same bytes went through when the response was parsed.
        debug_assert!(matches!(partition, Ok(Some(_))), "{partition:?}");
        partition.ok().flatten()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Partitions<'_> {}

/// The fallible walk over topics and their partitions that parsing and [`Partitions`] share.
#[derive(Debug, Clone)]
struct PartitionWalk<'a> {
    version: i16,
    reader: Reader<'a>,
    topics_left: usize,
    topic: Option<TopicReader<'a>>,
}

impl<'a> PartitionWalk<'a> {
    fn new(version: i16, topics: Reader<'a>, topic_count: usize) -> Self {
        Self { version, reader: topics, topics_left: topic_count, topic: None }
    }

    fn next_partition(&mut self) -> Result<Option<Partition<'a>>, WalkError> {
        loop {
            if let Some(topic) = &mut self.topic {
                if let Some(partition) = topic.next_partition(&mut self.reader)? {
                    return Ok(Some(partition));
                }
                self.topic = None;
            }
            if self.topics_left == 0 {
                return Ok(None);
            }
            self.topics_left -= 1;
            self.topic = Some(TopicReader::parse(self.version, &mut self.reader)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_skipped_with_and_without_tagged_fields() {
        let frame = [0, 0, 0, 7, 1, 9, 2, 0xaa, 0xbb, 1];
        let header = ResponseHeader::parse(&frame, false);
        assert_eq!(header, Ok(ResponseHeader { correlation_id: 7, body_start: 4 }));
        let header = ResponseHeader::parse(&frame, true);
        assert_eq!(header, Ok(ResponseHeader { correlation_id: 7, body_start: 9 }));
        assert!(matches!(
            ResponseHeader::parse(&frame[..3], false),
            Err(WalkError::Truncated { field: "correlation_id", position: 0, needed: 4, left: 3 })
        ));
    }

    #[test]
    fn versions_out_of_range_are_refused() {
        for version in [3, 19, -1] {
            let error = FetchResponse::parse(version, &[0; 64]).unwrap_err();
            assert_eq!(error, WalkError::UnsupportedVersion { version, min: 4, max: 18 });
        }
    }

    #[test]
    fn bytes_after_the_last_field_are_refused() {
        let error = FetchResponse::parse(4, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 2]).unwrap_err();
        assert_eq!(error, WalkError::TrailingBytes { position: 8, count: 2 });
    }

    #[test]
    fn what_is_counted_is_refused_by_name_before_it_is_read_where_it_cannot_fit() {
        let refused = |version: i16, body: &[u8]| match FetchResponse::parse(version, body).unwrap_err() {
            WalkError::Truncated { field, needed, left, .. } => (field, needed, left),
            other => panic!("{other}"),
        };
        // Throttle, error, session; then two topics, of which one byte is missing.
        let flexible = |rest: &[u8]| [&[0; 10], rest].concat();
        assert_eq!(refused(13, &flexible(&[3, 0, 0, 0])), ("responses", 4, 3));
        // One topic by its id, which says that it has two partitions.
        let topic = [[2].as_slice(), &[7; 16], &[3]].concat();
        assert_eq!(refused(13, &flexible(&[&topic[..], &[0; 47]].concat())), ("partitions", 48, 47));
        // A partition of version 13 up to its count of aborted transactions.
        let partition = [[2].as_slice(), &[7; 16], &[2], &[0; 30], &[3]].concat();
        let expected = ("aborted_transactions", 32, 31);
        assert_eq!(refused(13, &flexible(&[&partition[..], &[0; 31]].concat())), expected);
        // No topic, and a tagged field with two endpoints.
        let endpoints = [[1, 1, 0, 22, 3].as_slice(), &[0; 21]].concat();
        assert_eq!(refused(16, &flexible(&endpoints)), ("node_endpoints", 22, 21));
    }

    #[test]
    fn endpoints_are_read_since_version_16_and_other_tagged_fields_are_skipped() {
        let endpoint = [&[2][..], &9i32.to_be_bytes(), &[2, b'h'], &9092i32.to_be_bytes(), &[0, 0]].concat();
        let body = |tag: u8| {
            let size = endpoint.len() as u8;
            // Throttle, error, session, no topic, one tagged field.
            [&[0; 10][..], &[1, 1, tag, size], &endpoint].concat()
        };
        let hosts = |version, tag| {
            let body = body(tag);
            let response = FetchResponse::parse(version, &body).unwrap();
            let endpoints = response.node_endpoints();
            let count = endpoints.count();
            assert_eq!(endpoints.size_hint(), (count, Some(count)));
            endpoints.map(|e| (e.node_id, e.host.to_owned(), e.port, e.rack.is_some())).collect::<Vec<_>>()
        };
        for version in [16, 18] {
            assert_eq!(hosts(version, 0), [(9, "h".to_owned(), 9092, false)]);
            assert_eq!(hosts(version, 1), []);
        }
        for version in [12, 15] {
            assert_eq!((hosts(version, 0), hosts(version, 1)), (vec![], vec![]), "nobody knows it yet");
        }
    }

    #[test]
    fn a_full_response_of_version_4_is_read_field_by_field() {
        let mut body = Vec::new();
        body.extend(5i32.to_be_bytes()); // throttle
        body.extend(1i32.to_be_bytes()); // topics
        body.extend([0, 1, b't']);
        body.extend(1i32.to_be_bytes()); // partitions
        body.extend(3i32.to_be_bytes());
        body.extend(0i16.to_be_bytes());
        body.extend(100i64.to_be_bytes());
        body.extend(90i64.to_be_bytes());
        body.extend(1i32.to_be_bytes()); // aborted transactions
        body.extend(77i64.to_be_bytes());
        body.extend(55i64.to_be_bytes());
        let records_start = body.len() + 4;
        body.extend(3i32.to_be_bytes());
        body.extend([1, 2, 3]);

        let response = FetchResponse::parse(4, &body).unwrap();
        assert_eq!((response.throttle_time_ms(), response.error_code(), response.session_id()), (5, 0, 0));
        assert_eq!(response.node_endpoints().count(), 0);
        let partitions: Vec<_> = response.partitions().collect();
        assert_eq!(partitions.len(), response.partition_count());
        let partition = &partitions[0];
        assert_eq!(partition.topic, TopicRef::Name("t"));
        assert_eq!((partition.index, partition.error_code), (3, 0));
        assert_eq!((partition.high_watermark, partition.last_stable_offset), (100, 90));
        assert_eq!((partition.log_start_offset, partition.preferred_read_replica), (-1, -1));
        assert_eq!(partition.records, [1, 2, 3]);
        assert_eq!(partition.records_range, records_start..records_start + 3);
        let location = partition.aborted_transactions.location();
        let aborted: Vec<_> = location.in_frame(&body).map(|t| (t.producer_id, t.first_offset)).collect();
        assert_eq!(aborted, [(77, 55)]);
        assert_eq!(location.in_frame(&body[..40]).count(), 0, "another frame is not read out of bounds");
        let mut aborted = partition.aborted_transactions;
        assert_eq!(aborted.size_hint(), (0, Some(1)), "a list may end early in another frame");
        assert_eq!((aborted.by_ref().count(), aborted.size_hint()), (1, (0, Some(0))));
    }
}
