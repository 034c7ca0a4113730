//! Commits on their way to the coordinator, read off the wire.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, OffsetCommitRequest, RequestHeader};
use kafka_protocol::protocol::Decodable;

/// Bytes of a request's length.
const LENGTH_BYTES: usize = 4;
/// Bytes of api key and version.
const KEY_BYTES: usize = 4;

/// Whether a request, without its length, is an OffsetCommit.
pub(super) fn is_commit(request: &[u8]) -> bool {
    request.starts_with(&(ApiKey::OffsetCommit as i16).to_be_bytes())
}

/// Partitions and offsets of all OffsetCommits in these bytes, which are whole requests with their lengths.
pub(super) fn sent_commits(mut bytes: &[u8]) -> Vec<(i32, i64)> {
    let mut commits = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() {
        let (request, next) = rest.split_at((u32::from_be_bytes(*length) as usize).min(rest.len()));
        bytes = next;
        if is_commit(request) {
            commits.extend(offsets_of(request));
        }
    }
    commits
}

fn offsets_of(request: &[u8]) -> Vec<(i32, i64)> {
    let Some(&[_, _, high, low]) = request.first_chunk::<KEY_BYTES>() else { return Vec::new() };
    let version = i16::from_be_bytes([high, low]);
    let mut bytes = Bytes::copy_from_slice(request);
    let header = RequestHeader::decode(&mut bytes, ApiKey::OffsetCommit.request_header_version(version));
    let body = header.and_then(|_| OffsetCommitRequest::decode(&mut bytes, version));
    let body = body.expect("the engine's own request can be read");
    let partitions = body.topics.into_iter().flat_map(|topic| topic.partitions);
    partitions.map(|partition| (partition.partition_index, partition.committed_offset)).collect()
}
