//! Faults that tests ask for: errors, delays and disconnects, so many times, for an API or one of its partitions.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;

/// What happens to a request that a fault meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is not applied and answered with this error: for the whole request, or for the fault's partition only.
    Error(ResponseError),
    /// It is applied, and its response held back this long. Requests behind it on the connection wait too.
    Delay(Duration),
    /// It is applied and answered, and the response says that the client is to wait this long (KIP-219). For requests
    /// whose responses begin with that time: all that consumers send but ApiVersions.
    Throttle(Duration),
    /// The connection closes before the request is applied.
    DisconnectBefore,
    /// The request is applied and the connection closes instead of answering.
    DisconnectAfter,
}

/// One fault, to be given to [`Cluster::inject`](crate::core::Cluster::inject).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    api: ApiKey,
    effect: Effect,
    times: u32,
    broker_id: Option<i32>,
    partition: Option<(String, i32)>,
}

impl Fault {
    /// A fault that the next request of `api`, to any broker, meets.
    pub fn new(api: ApiKey, effect: Effect) -> Self {
        Self { api, effect, times: 1, broker_id: None, partition: None }
    }

    /// Short for an [`Effect::Error`].
    pub fn error(api: ApiKey, error: ResponseError) -> Self {
        Self::new(api, Effect::Error(error))
    }

    /// How many requests meet it.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Only requests to this broker meet it.
    #[must_use]
    pub fn at_broker(mut self, broker_id: i32) -> Self {
        self.broker_id = Some(broker_id);
        self
    }

    /// Only this partition's part of a request meets it. Takes effect for [`Effect::Error`] in Fetch, Produce,
    /// ListOffsets, OffsetForLeaderEpoch, OffsetCommit, OffsetFetch and Metadata.
    #[must_use]
    pub fn for_partition(mut self, topic: &str, partition: i32) -> Self {
        self.partition = Some((topic.to_owned(), partition));
        self
    }

    fn meets(&self, api: ApiKey, broker_id: i32) -> bool {
        self.api == api && self.times > 0 && self.broker_id.is_none_or(|id| id == broker_id)
    }
}

/// The faults still to come, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pending: Vec<Fault>,
}

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.pending.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.pending.clear();
    }

    /// Uses up the oldest fault that meets a request as a whole.
    pub(crate) fn take(&mut self, api: ApiKey, broker_id: i32) -> Option<Effect> {
        let index =
            self.pending.iter().position(|fault| fault.partition.is_none() && fault.meets(api, broker_id))?;
        Some(self.use_up(index))
    }

    /// Whether an error waits for this partition.
    pub(crate) fn waits_for(&self, api: ApiKey, broker_id: i32, topic: &str, partition: i32) -> bool {
        self.find(api, broker_id, topic, partition).is_some()
    }

    /// Uses up the oldest error for this partition.
    pub(crate) fn take_for_partition(
        &mut self,
        api: ApiKey,
        broker_id: i32,
        topic: &str,
        partition: i32,
    ) -> Option<ResponseError> {
        let index = self.find(api, broker_id, topic, partition)?;
        match self.use_up(index) {
            Effect::Error(error) => Some(error),
            Effect::Delay(_) | Effect::Throttle(_) | Effect::DisconnectBefore | Effect::DisconnectAfter => {
                None
            }
        }
    }

    fn find(&self, api: ApiKey, broker_id: i32, topic: &str, partition: i32) -> Option<usize> {
        self.pending.iter().position(|fault| {
            matches!(fault.effect, Effect::Error(_))
                && fault.meets(api, broker_id)
                && fault.partition.as_ref().is_some_and(|(name, index)| name == topic && *index == partition)
        })
    }

    fn use_up(&mut self, index: usize) -> Effect {
        let fault = &mut self.pending[index];
        fault.times -= 1;
        let effect = fault.effect;
        if fault.times == 0 {
            self.pending.remove(index);
        }
        effect
    }
}
