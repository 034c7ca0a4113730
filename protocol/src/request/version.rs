//! Which version of each request a broker and we both speak (ApiVersions, KIP-35 and KIP-511).

use bytes::Bytes;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::api::{Api, supported};
use super::codec::{RequestError, decode_response, encode_request, response_body};
use super::error_code::ErrorCode;

/// The version of ApiVersions to ask for first. Brokers since 2.4 answer it at once; the next one would
/// cost a second exchange on all before 3.9 and tells a consumer nothing more.
pub const FIRST_API_VERSIONS: i16 = 3;

/// The versions that one broker offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionTable {
    /// (API key, first version, last version), ascending by key, each key once.
    offered: Vec<(i16, i16, i16)>,
}

/// A request that a broker and we have no version of in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The broker does not have it.
    #[error("the broker does not support {api:?}")]
    ByBroker {
        /// The request.
        api: ApiKey,
    },
    /// We do not have it.
    #[error("this client does not support {api:?}")]
    ByClient {
        /// The request.
        api: ApiKey,
    },
    /// Both have it, in versions that do not meet.
    #[error(
        "the broker supports {api:?} versions {}..{}, this client {}..{}; use a broker or a client that is closer in age",
        offered.0, offered.1, known.0, known.1
    )]
    Disjoint {
        /// The request.
        api: ApiKey,
        /// The broker's first and last version.
        offered: (i16, i16),
        /// Our first and last version.
        known: (i16, i16),
    },
}

/// What to do after an answer to ApiVersions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiVersionsAnswer {
    /// The broker's versions.
    Table(VersionTable),
    /// The broker does not know the version asked for: ask again with this, lower one.
    RetryAt(i16),
}

/// The versions of `api` that this crate speaks, first and last; `None` where it does not.
pub fn supported_versions(api: ApiKey) -> Option<(i16, i16)> {
    supported(api).map(|range| (range.min, range.max))
}

/// Appends an ApiVersions request frame to `out`; start with [`FIRST_API_VERSIONS`].
///
/// # Errors
/// [`RequestError`], for a version that we do not know or a client id that is too long.
pub fn encode_api_versions(
    version: i16,
    correlation_id: i32,
    client_id: &str,
    out: &mut Vec<u8>,
) -> Result<(), RequestError> {
    let mut request = ApiVersionsRequest::default();
    if version >= 3 {
        request = request
            .with_client_software_name(StrBytes::from_static_str("millstream"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
    }
    encode_request(&request, version, correlation_id, client_id, out)
}

/// Reads the answer to an ApiVersions request that was sent with version `asked`.
///
/// A broker that does not know `asked` answers in version 0 with UNSUPPORTED_VERSION and the range that it
/// knows (some list nothing at all); the retry is always lower than `asked`, so it ends.
///
/// # Errors
/// [`RequestError`]: a malformed answer, an error other than UNSUPPORTED_VERSION, or no version left to ask for.
pub fn read_api_versions(asked: i16, frame: &Bytes) -> Result<ApiVersionsAnswer, RequestError> {
    let body = response_body::<ApiVersionsRequest>(asked, frame)?;
    let code = body.first_chunk().map_or(ErrorCode::NONE, |code| ErrorCode(i16::from_be_bytes(*code)));
    match code {
        ErrorCode::NONE => {
            let response = decode_response::<ApiVersionsRequest>(asked, frame)?;
            Ok(ApiVersionsAnswer::Table(VersionTable::from_response(&response)))
        }
        ErrorCode::UNSUPPORTED_VERSION => retry_version(asked, frame).map(ApiVersionsAnswer::RetryAt),
        code => Err(RequestError::ApiVersionsFailed { code }),
    }
}

impl VersionTable {
    /// A table of (API key, first version, last version); of a key that comes twice the first counts.
    pub fn new(offered: impl IntoIterator<Item = (i16, i16, i16)>) -> VersionTable {
        let mut offered: Vec<_> = offered.into_iter().collect();
        offered.sort_by_key(|(key, ..)| *key);
        offered.dedup_by_key(|(key, ..)| *key);
        VersionTable { offered }
    }

    /// The highest version of `api` that the broker and we both speak.
    ///
    /// # Errors
    /// [`Unsupported`] says whose side lacks it.
    pub fn negotiate(&self, api: ApiKey) -> Result<i16, Unsupported> {
        let known = supported(api).ok_or(Unsupported::ByClient { api })?;
        let (min, max) = self.offered(api).ok_or(Unsupported::ByBroker { api })?;
        let common = known.intersect(&VersionRange { min, max });
        if common.is_empty() {
            return Err(Unsupported::Disjoint { api, offered: (min, max), known: (known.min, known.max) });
        }
        Ok(common.max)
    }

    /// The broker's first and last version of `api`.
    pub fn offered(&self, api: ApiKey) -> Option<(i16, i16)> {
        let at = self.offered.binary_search_by_key(&(api as i16), |(key, ..)| *key).ok()?;
        let (_, min, max) = self.offered[at];
        Some((min, max))
    }

    /// Everything that the broker offers: (API key, first version, last version), ascending by key.
    pub fn iter(&self) -> impl Iterator<Item = (i16, i16, i16)> + '_ {
        self.offered.iter().copied()
    }

    fn from_response(response: &ApiVersionsResponse) -> VersionTable {
        let range = |api: &ApiVersion| (api.api_key, api.min_version, api.max_version);
        VersionTable::new(response.api_keys.iter().map(range))
    }
}

fn retry_version(asked: i16, frame: &Bytes) -> Result<i16, RequestError> {
    let table = VersionTable::from_response(&decode_response::<ApiVersionsRequest>(0, frame)?);
    let offered = table.offered(ApiKey::ApiVersions);
    // A broker that names no range knows at least version 0.
    let (min, max) = offered.unwrap_or((0, 0));
    let common = ApiVersionsRequest::SUPPORTED.intersect(&VersionRange { min, max });
    if common.is_empty() || common.max >= asked {
        let offered = offered.map_or("nothing".to_owned(), |(min, max)| format!("{min}..{max}"));
        return Err(RequestError::NoApiVersions { asked, offered });
    }
    Ok(common.max)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Encodable;

    use super::*;

    fn answer(version: i16, code: i16, keys: &[(i16, i16, i16)]) -> Bytes {
        let keys = keys.iter().map(|(key, min, max)| {
            ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
        });
        let response = ApiVersionsResponse::default().with_error_code(code).with_api_keys(keys.collect());
        let mut frame = vec![0, 0, 0, 1];
        response.encode(&mut frame, version).unwrap();
        frame.into()
    }

    #[test]
    fn the_highest_version_that_both_know_is_chosen() {
        let table = VersionTable::new([(1, 0, 12), (3, 0, 99), (12, 0, 4)]);
        assert_eq!(table.negotiate(ApiKey::Fetch), Ok(12));
        assert_eq!(table.negotiate(ApiKey::Metadata), Ok(13));
        assert_eq!(table.negotiate(ApiKey::Heartbeat), Ok(4));
    }

    #[test]
    fn what_one_side_lacks_is_named_with_its_side() {
        let table = VersionTable::new([(1, 0, 3), (3, 90, 99)]);
        let error = table.negotiate(ApiKey::Heartbeat).unwrap_err();
        assert_eq!(error.to_string(), "the broker does not support Heartbeat");
        let error = table.negotiate(ApiKey::AlterConfigs).unwrap_err();
        assert_eq!(error.to_string(), "this client does not support AlterConfigs");
        let disjoint = Unsupported::Disjoint { api: ApiKey::Fetch, offered: (0, 3), known: (4, 18) };
        assert_eq!(table.negotiate(ApiKey::Fetch), Err(disjoint));
        assert!(table.negotiate(ApiKey::Metadata).is_err());
    }

    #[test]
    fn an_answer_in_the_version_asked_for_is_a_table() {
        for version in 0..=4 {
            let frame = answer(version, 0, &[(18, 0, 4), (1, 4, 18)]);
            let table = VersionTable::new([(1, 4, 18), (18, 0, 4)]);
            assert_eq!(read_api_versions(version, &frame), Ok(ApiVersionsAnswer::Table(table)), "v{version}");
        }
    }

    #[test]
    fn a_broker_that_knows_less_is_asked_again_at_what_it_knows() {
        let offered = answer(0, 35, &[(18, 0, 2)]);
        assert_eq!(read_api_versions(3, &offered), Ok(ApiVersionsAnswer::RetryAt(2)));
        let nothing = answer(0, 35, &[]);
        assert_eq!(read_api_versions(3, &nothing), Ok(ApiVersionsAnswer::RetryAt(0)));
    }

    #[test]
    fn refusals_end_instead_of_going_round() {
        for (asked, offer) in [(0, &[] as &[_]), (2, &[(18, 0, 2)]), (2, &[(18, 0, 4)]), (3, &[(18, 7, 9)])] {
            let frame = answer(0, 35, offer);
            let error = read_api_versions(asked, &frame);
            assert!(matches!(error, Err(RequestError::NoApiVersions { .. })), "{asked} {offer:?}: {error:?}");
        }
    }

    #[test]
    fn other_errors_and_cut_answers_are_errors() {
        let error = read_api_versions(3, &answer(0, 34, &[])).unwrap_err();
        assert_eq!(error.to_string(), "the broker answered ApiVersions with ILLEGAL_SASL_STATE (34)");
        for frame in [&[][..], &[0, 0, 0, 1], &[0, 0, 0, 1, 0], &[0, 0, 0, 1, 0, 35]] {
            assert!(read_api_versions(3, &Bytes::copy_from_slice(frame)).is_err(), "{frame:?}");
        }
    }

    #[test]
    fn our_request_can_be_read_back() {
        for version in 0..=4 {
            let mut frame = Vec::new();
            encode_api_versions(version, 5, "client", &mut frame).unwrap();
            assert_eq!(frame[4..12], [0, 18, 0, version as u8, 0, 0, 0, 5]);
        }
    }
}
