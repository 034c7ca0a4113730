//! What a test broker is to do wrong.

use std::time::Duration;

use kafka_protocol::ResponseError;
use millstream_protocol::request::ErrorCode;
use millstream_testbroker::{self as testbroker, ApiKey};

/// The requests of a consumer, for [`Fault`] and [`TestBroker::requests`](super::TestBroker::requests).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Request {
    /// Which versions the broker speaks: the first on every connection.
    ApiVersions,
    /// Brokers, topics and leaders.
    Metadata,
    /// Records.
    Fetch,
    /// The ends of a log, or the offset of a time.
    ListOffsets,
    /// Where a leader epoch ends.
    OffsetForLeaderEpoch,
    /// Which broker coordinates a group.
    FindCoordinator,
    /// A member joins its group.
    JoinGroup,
    /// A member gets its assignment.
    SyncGroup,
    /// A member is alive.
    Heartbeat,
    /// A member leaves.
    LeaveGroup,
    /// Offsets are committed.
    OffsetCommit,
    /// Committed offsets are read.
    OffsetFetch,
}

/// Something that happens to the next request of a kind; see [`TestBroker::inject`](super::TestBroker::inject).
///
/// ```
/// use millstream::testing::{Deliveries, ErrorCode, Expected, Fault, Request, TestBroker, record};
/// use std::time::Duration;
///
/// const PATIENCE: Duration = Duration::from_secs(30);
///
/// let broker = TestBroker::start()?;
/// broker.create_topic("orders", 1)?;
/// broker.append("orders", 0, [record("a"), record("b")])?;
/// broker.inject(Fault::error(Request::Fetch, ErrorCode::NOT_LEADER_OR_FOLLOWER).times(3).partition("orders", 0));
/// broker.inject(Fault::disconnect_after(Request::OffsetCommit));
///
/// let deliveries = Deliveries::new();
/// let engine = broker.engine().group("checks").topics(["orders"]).build()?.start(deliveries.factory())?;
/// let expected = Expected::new().batch("orders", 0, [record("a"), record("b")]);
/// deliveries.wait_for(2, PATIENCE).assert_each_once_in_order(&expected);
/// assert!(broker.wait_for_commit("checks", "orders", 0, 2, PATIENCE));
/// # engine.handle().shutdown(PATIENCE)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fault(testbroker::Fault);

impl Fault {
    /// The request is not applied, and answered with this error.
    pub fn error(request: Request, error: ErrorCode) -> Self {
        // 0 is no error; as one it is of a kind that nobody knows.
        let error = ResponseError::try_from_code(error.0).unwrap_or(ResponseError::Unknown(error.0));
        Self(testbroker::Fault::error(api_key(request), error))
    }

    /// The request is applied, and its response held back this long.
    pub fn delay(request: Request, delay: Duration) -> Self {
        Self::new(request, testbroker::Effect::Delay(delay))
    }

    /// The connection is closed before the request is applied.
    pub fn disconnect_before(request: Request) -> Self {
        Self::new(request, testbroker::Effect::DisconnectBefore)
    }

    /// The request is applied, and the connection closed instead of answering.
    pub fn disconnect_after(request: Request) -> Self {
        Self::new(request, testbroker::Effect::DisconnectAfter)
    }

    /// How many requests meet it; one unless set.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self(self.0.times(times))
    }

    /// Only requests to this broker meet it.
    #[must_use]
    pub fn at_broker(self, broker: i32) -> Self {
        Self(self.0.at_broker(broker))
    }

    /// Only this partition's part of a request meets it: for errors of [`Fetch`](Request::Fetch),
    /// [`ListOffsets`](Request::ListOffsets), [`OffsetForLeaderEpoch`](Request::OffsetForLeaderEpoch),
    /// [`OffsetCommit`](Request::OffsetCommit), [`OffsetFetch`](Request::OffsetFetch) and
    /// [`Metadata`](Request::Metadata).
    #[must_use]
    pub fn partition(self, topic: &str, partition: i32) -> Self {
        Self(self.0.for_partition(topic, partition))
    }

    pub(super) fn into_inner(self) -> testbroker::Fault {
        self.0
    }

    fn new(request: Request, effect: testbroker::Effect) -> Self {
        Self(testbroker::Fault::new(api_key(request), effect))
    }
}

pub(super) fn api_key(request: Request) -> ApiKey {
    match request {
        Request::ApiVersions => ApiKey::ApiVersions,
        Request::Metadata => ApiKey::Metadata,
        Request::Fetch => ApiKey::Fetch,
        Request::ListOffsets => ApiKey::ListOffsets,
        Request::OffsetForLeaderEpoch => ApiKey::OffsetForLeaderEpoch,
        Request::FindCoordinator => ApiKey::FindCoordinator,
        Request::JoinGroup => ApiKey::JoinGroup,
        Request::SyncGroup => ApiKey::SyncGroup,
        Request::Heartbeat => ApiKey::Heartbeat,
        Request::LeaveGroup => ApiKey::LeaveGroup,
        Request::OffsetCommit => ApiKey::OffsetCommit,
        Request::OffsetFetch => ApiKey::OffsetFetch,
    }
}
