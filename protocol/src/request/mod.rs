//! Requests and responses of the control plane: framing, headers, versions, error codes.
//!
//! Messages are kafka-protocol's types. [`encode_request`] writes a whole frame, [`decode_response`]
//! reads one back after proving its lengths, [`VersionTable`] picks the version, and [`ErrorCode`] says
//! what a broker's error asks of a client.
//!
//! ```
//! use millstream_protocol::request::{
//!     ApiKey, ApiVersionsAnswer, FIRST_API_VERSIONS, encode_api_versions, read_api_versions,
//! };
//!
//! let mut frame = Vec::new();
//! encode_api_versions(FIRST_API_VERSIONS, 1, "my-client", &mut frame)?;
//! // ... send it; `answer` is what came back, without its four bytes of length ...
//! # let answer = bytes::Bytes::from_static(&[0, 0, 0, 1, 0, 0, 2, 0, 1, 0, 4, 0, 18, 0, 0, 0, 0, 0, 0]);
//! match read_api_versions(FIRST_API_VERSIONS, &answer)? {
//!     ApiVersionsAnswer::Table(table) => assert_eq!(table.negotiate(ApiKey::Fetch)?, 18),
//!     ApiVersionsAnswer::RetryAt(version) => { /* ask again at that version */ }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(test)]
mod agreement;
mod api;
mod codec;
mod error_code;
mod frame;
mod schema;
mod schemas;
mod version;

pub use api::{Api, api_name};
pub use codec::{RequestError, correlation_id, decode_response, encode_request};
pub use error_code::ErrorCode;
pub use frame::{FRAME_PREFIX_BYTES, FrameError, MAX_CONTROL_RESPONSE_BYTES, frame_length};
pub use kafka_protocol::messages::ApiKey;
pub use schema::{Schema, SchemaError};
pub use version::{
    ApiVersionsAnswer, FIRST_API_VERSIONS, Unsupported, VersionTable, encode_api_versions, read_api_versions,
    supported_versions,
};
