//! Fetch: sessions, long polling, and reading partitions within the byte limits.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::protocol::StrBytes;

use super::cluster::{Answer, Cluster, ConnectionId};
use super::fetch_response::{self, FetchedPartition};
use super::log::AbortedTransaction;
use super::request::Request;
use super::session::{FINAL_EPOCH, INITIAL_EPOCH, NO_SESSION, PartitionKey, Wanted};
use super::topics::Partition;
use crate::versions::FETCH_TOPIC_ID_VERSION;

/// Isolation level of clients that want decided transactions only.
pub(crate) const READ_COMMITTED: i8 = 1;
/// First Fetch version in which clients tell their racks, and followers answer.
const FETCH_FROM_FOLLOWER_VERSION: i16 = 11;
/// First Fetch version with sessions.
const FETCH_SESSION_VERSION: i16 = 7;

/// A Fetch that waits for bytes.
#[derive(Debug)]
pub(crate) struct ParkedFetch {
    request: Request,
    plan: FetchPlan,
    pub(crate) deadline: Instant,
}

/// What a Fetch reads, once its session has been looked up.
#[derive(Debug)]
struct FetchPlan {
    session: SessionUse,
    wanted: Vec<(PartitionKey, Wanted)>,
    isolation_level: i8,
    max_bytes: usize,
    min_bytes: usize,
    /// Where the client is; empty where it does not tell.
    rack: StrBytes,
}

/// How a Fetch's answer relates to sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SessionUse {
    /// None: everything is answered, and nothing kept.
    None,
    /// Everything is answered, and a session opened if there is room.
    Create,
    /// What changed is answered.
    Incremental(i32),
}

/// The records of one partition, or why there are none.
#[derive(Debug, Default)]
pub(crate) struct PartitionRead {
    pub(crate) error: Option<ResponseError>,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
    /// Under `read_committed` the aborted transactions among the records, otherwise nothing.
    pub(crate) aborted: Option<Vec<AbortedTransaction>>,
    /// Epoch and end offset where the client's history and the log part (KIP-595).
    pub(crate) diverging_epoch: Option<(i32, i64)>,
    /// Leader and epoch, told along with errors that mean the client has them wrong (KIP-951).
    pub(crate) current_leader: Option<(i32, i32)>,
    /// The follower to fetch from instead of this leader.
    pub(crate) preferred_read_replica: Option<i32>,
    pub(crate) records: Vec<Bytes>,
}

impl PartitionRead {
    fn failed(error: ResponseError) -> Self {
        Self {
            error: Some(error),
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            ..Self::default()
        }
    }

    pub(crate) fn record_bytes(&self) -> usize {
        self.records.iter().map(Bytes::len).sum()
    }
}

impl Cluster {
    pub(crate) fn fetch(&mut self, request: &Request, body: FetchRequest) -> Answer {
        self.count_fetch(request, &body);
        if let Some(error_code) = request.injected_error {
            return self.failed_fetch(request, error_code, &body);
        }
        let plan = match self.plan_fetch(request, &body) {
            Ok(plan) => plan,
            Err(error) => return self.failed_fetch(request, error.code(), &body),
        };
        let max_wait = Duration::from_millis(u64::try_from(body.max_wait_ms).unwrap_or(0));
        if max_wait.is_zero() || plan.wanted.is_empty() || self.is_satisfied(request, &plan) {
            return Answer::Encoded(self.answer_fetch(request, &plan));
        }
        self.counters.parked_fetches += 1;
        let parked = ParkedFetch { request: request.clone(), plan, deadline: request.now + max_wait };
        self.parked_fetches.insert(request.connection, parked);
        Answer::Parked
    }

    /// Answers the parked fetches that a change of this partition satisfies.
    pub(crate) fn wake_fetches_of(&mut self, topic: &str, partition: i32, now: Instant) {
        let topic_id = self.topics.named(topic).map(|topic| topic.id);
        let watches = |parked: &ParkedFetch| {
            parked.plan.wanted.iter().any(|(key, _)| {
                key.partition == partition
                    && (key.topic.as_str() == topic
                        || (key.topic.is_empty() && Some(key.topic_id) == topic_id))
            })
        };
        self.wake_fetches(now, watches);
    }

    /// Answers all parked fetches that can be answered after a change of leaders or topics.
    pub(crate) fn wake_all_fetches(&mut self, now: Instant) {
        self.wake_fetches(now, |_| true);
    }

    /// Answers the parked fetches whose wait is over.
    pub(crate) fn expire_fetches(&mut self, now: Instant) {
        let due: Vec<ConnectionId> = self
            .parked_fetches
            .iter()
            .filter(|(_, parked)| parked.deadline <= now)
            .map(|(&connection, _)| connection)
            .collect();
        self.counters.expired_fetches += due.len() as u64;
        self.answer_parked(due, now);
    }

    fn wake_fetches(&mut self, now: Instant, watches: impl Fn(&ParkedFetch) -> bool) {
        let ready: Vec<ConnectionId> = self
            .parked_fetches
            .iter()
            .filter(|(_, parked)| watches(parked) && self.is_satisfied(&parked.request, &parked.plan))
            .map(|(&connection, _)| connection)
            .collect();
        self.answer_parked(ready, now);
    }

    fn answer_parked(&mut self, connections: Vec<ConnectionId>, now: Instant) {
        for connection in connections {
            if let Some(parked) = self.parked_fetches.remove(&connection) {
                let response = self.answer_fetch(&parked.request, &parked.plan);
                self.answer(connection, response, now);
            }
        }
    }

    fn count_fetch(&mut self, request: &Request, body: &FetchRequest) {
        let counters = &mut self.counters;
        match body.session_epoch {
            _ if request.api_version < FETCH_SESSION_VERSION => counters.sessionless_fetches += 1,
            FINAL_EPOCH => counters.sessionless_fetches += 1,
            INITIAL_EPOCH => counters.full_fetches += 1,
            _ => counters.incremental_fetches += 1,
        }
    }

    /// Looks up or ends the session that the request names, and lists what is to be read.
    fn plan_fetch(&mut self, request: &Request, body: &FetchRequest) -> Result<FetchPlan, ResponseError> {
        let wanted = wanted_partitions(body);
        let plan = FetchPlan {
            session: SessionUse::None,
            wanted,
            isolation_level: body.isolation_level,
            max_bytes: usize::try_from(body.max_bytes).unwrap_or(0),
            min_bytes: usize::try_from(body.min_bytes).unwrap_or(0),
            rack: body.rack_id.clone(),
        };
        let Some(broker) = self.brokers.get_mut(&request.broker_id) else { return Ok(plan) };
        if request.api_version < FETCH_SESSION_VERSION {
            return Ok(plan);
        }
        let is_full = matches!(body.session_epoch, INITIAL_EPOCH | FINAL_EPOCH);
        if is_full {
            if body.session_id != NO_SESSION {
                broker.sessions.remove(body.session_id);
            }
            let create = body.session_epoch == INITIAL_EPOCH;
            let session = if create { SessionUse::Create } else { SessionUse::None };
            return Ok(FetchPlan { session, ..plan });
        }
        let session = broker.sessions.advance(
            body.session_id,
            body.session_epoch,
            request.api_version >= FETCH_TOPIC_ID_VERSION,
            &plan.wanted,
            &forgotten_partitions(body),
            request.now,
        )?;
        Ok(match session {
            None => plan,
            Some(session) => FetchPlan {
                session: SessionUse::Incremental(body.session_id),
                wanted: session.wanted(),
                ..plan
            },
        })
    }

    /// Whether enough bytes are there, or a partition has an error that the client should know at once.
    fn is_satisfied(&self, request: &Request, plan: &FetchPlan) -> bool {
        let mut bytes = 0;
        for (key, wanted) in &plan.wanted {
            let Ok((name, partition)) = self.fetchable(request, key, wanted) else { return true };
            if self.faults.waits_for(request.api_key, request.broker_id, name, key.partition) {
                return true;
            }
            if self.preferred_replica(request, partition, &plan.rack).is_some() {
                return true;
            }
            let log = &partition.log;
            let in_range = (log.log_start_offset()..=log.high_watermark()).contains(&wanted.fetch_offset);
            if !in_range || diverging_epoch(partition, wanted).is_some() {
                return true;
            }
            let end = readable_end(partition, plan.isolation_level);
            let limit = usize::try_from(wanted.max_bytes).unwrap_or(0);
            bytes += log.bytes_between(wanted.fetch_offset, end, limit);
        }
        bytes >= plan.min_bytes
    }

    fn answer_fetch(&mut self, request: &Request, plan: &FetchPlan) -> super::response::Response {
        let fetched = self.read_all(request, plan);
        let (session_id, fetched) = self.note_in_session(request, plan, fetched);
        fetch_response::encode(request, 0, session_id, &fetched, |id| self.address_of(id))
    }

    fn read_all(&mut self, request: &Request, plan: &FetchPlan) -> Vec<FetchedPartition> {
        let mut left = plan.max_bytes;
        let mut at_least_one = true;
        let mut fetched = Vec::with_capacity(plan.wanted.len());
        for (key, wanted) in &plan.wanted {
            let read = self.read_one(request, plan, key, wanted, left, at_least_one);
            let read = read.unwrap_or_else(PartitionRead::failed);
            let bytes = read.record_bytes();
            at_least_one &= bytes == 0;
            left = left.saturating_sub(bytes);
            fetched.push(FetchedPartition { key: key.clone(), read });
        }
        fetched
    }

    fn read_one(
        &mut self,
        request: &Request,
        plan: &FetchPlan,
        key: &PartitionKey,
        wanted: &Wanted,
        left: usize,
        at_least_one: bool,
    ) -> Result<PartitionRead, ResponseError> {
        let name = self.topic_by(&key.topic, key.topic_id)?.name.clone();
        self.injected_partition_error(request, &name, key.partition)?;
        let (_, partition) = match self.fetchable(request, key, wanted) {
            Ok(found) => found,
            Err(error) => return Ok(self.told_leader(&name, key.partition, error)),
        };
        let preferred_read_replica = self.preferred_replica(request, partition, &plan.rack);
        let is_follower = partition.leader != request.broker_id;
        let log = &partition.log;
        // As Kafka: beyond the end of a log that was cut, a client is told where, rather than that it is out of range.
        let diverging_epoch = diverging_epoch(partition, wanted);
        let is_before_start = wanted.fetch_offset < log.log_start_offset();
        if is_before_start || wanted.fetch_offset > log.high_watermark() && diverging_epoch.is_none() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let read = PartitionRead {
            high_watermark: log.high_watermark(),
            last_stable_offset: log.last_stable_offset(),
            log_start_offset: log.log_start_offset(),
            diverging_epoch,
            preferred_read_replica,
            ..PartitionRead::default()
        };
        if read.preferred_read_replica.is_some() {
            self.counters.named_followers += 1;
            return Ok(read);
        }
        if read.diverging_epoch.is_some() {
            return Ok(read);
        }
        let end = readable_end(partition, plan.isolation_level);
        let max_bytes = usize::try_from(wanted.max_bytes).unwrap_or(0).min(left);
        let records = log.read(wanted.fetch_offset, end, max_bytes, at_least_one);
        let aborted = (plan.isolation_level == READ_COMMITTED)
            .then(|| if records.is_empty() { vec![] } else { log.aborted_between(wanted.fetch_offset, end) });
        self.counters.follower_reads += u64::from(is_follower && !records.is_empty());
        Ok(PartitionRead { aborted, records, ..read })
    }

    /// The running follower in the client's rack, where this broker leads the partition from another rack.
    fn preferred_replica(&self, request: &Request, partition: &Partition, rack: &str) -> Option<i32> {
        let racks = &self.config.racks;
        let is_near = |id: &i32| racks.get(id).is_some_and(|known| known == rack);
        let may_name = request.api_version >= FETCH_FROM_FOLLOWER_VERSION && !rack.is_empty();
        if !may_name || partition.leader != request.broker_id || is_near(&partition.leader) {
            return None;
        }
        let is_running = |id: &i32| self.brokers.get(id).is_some_and(|broker| broker.running);
        partition.replicas.iter().copied().find(|id| is_near(id) && is_running(id))
    }

    /// The topic name and partition of a key, if this broker leads it under the client's epoch, or follows it and
    /// answers for it.
    fn fetchable(
        &self,
        request: &Request,
        key: &PartitionKey,
        wanted: &Wanted,
    ) -> Result<(&str, &Partition), ResponseError> {
        let topic = self.topic_by(&key.topic, key.topic_id)?;
        let partition = topic.partition(key.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let follows = request.api_version >= FETCH_FROM_FOLLOWER_VERSION && !self.config.racks.is_empty();
        match follows {
            true => partition.check_replica(request.broker_id, wanted.leader_epoch)?,
            false => partition.check_leader(request.broker_id, wanted.leader_epoch)?,
        }
        Ok((&topic.name, partition))
    }

    /// A failure along with the leader as it is, where the client has it wrong.
    fn told_leader(&self, topic: &str, partition: i32, error: ResponseError) -> PartitionRead {
        let outdated = matches!(error, ResponseError::NotLeaderOrFollower | ResponseError::FencedLeaderEpoch);
        let current = self.topics.named(topic).and_then(|topic| topic.partition(partition));
        let current_leader =
            current.filter(|_| outdated).map(|current| (current.leader, current.leader_epoch));
        PartitionRead { current_leader, ..PartitionRead::failed(error) }
    }

    /// Opens or updates the session and drops what an incremental answer leaves out.
    fn note_in_session(
        &mut self,
        request: &Request,
        plan: &FetchPlan,
        mut fetched: Vec<FetchedPartition>,
    ) -> (i32, Vec<FetchedPartition>) {
        let Some(broker) = self.brokers.get_mut(&request.broker_id) else { return (NO_SESSION, fetched) };
        let session_id = match plan.session {
            SessionUse::None => return (NO_SESSION, fetched),
            SessionUse::Incremental(session_id) => session_id,
            SessionUse::Create => {
                let by_id = request.api_version >= FETCH_TOPIC_ID_VERSION;
                broker.sessions.create(&plan.wanted, by_id, &mut self.random, request.now)
            }
        };
        let Some(session) = broker.sessions.get_mut(session_id) else { return (session_id, fetched) };
        let everything = plan.session == SessionUse::Create;
        fetched.retain(|partition| {
            let read = &partition.read;
            let is_error = read.error.is_some()
                || read.diverging_epoch.is_some()
                || read.preferred_read_replica.is_some();
            let rotate = !everything && read.record_bytes() > 0;
            let changed = session.note_answer(
                &partition.key,
                rotate,
                is_error,
                read.high_watermark,
                read.log_start_offset,
            );
            everything || changed
        });
        (session_id, fetched)
    }

    /// A Fetch that fails as a whole; versions without such an error get it for every partition.
    fn failed_fetch(&mut self, request: &Request, error_code: i16, body: &FetchRequest) -> Answer {
        let has_field = request.api_version >= FETCH_SESSION_VERSION;
        let failed = |(key, _)| FetchedPartition {
            key,
            read: ResponseError::try_from_code(error_code)
                .map_or_else(PartitionRead::default, PartitionRead::failed),
        };
        let fetched: Vec<FetchedPartition> =
            if has_field { vec![] } else { wanted_partitions(body).into_iter().map(failed).collect() };
        let code = if has_field { error_code } else { 0 };
        Answer::Encoded(fetch_response::encode(request, code, NO_SESSION, &fetched, |_| None))
    }

    /// Host and port of a broker.
    pub(crate) fn address_of(&self, broker_id: i32) -> Option<(String, u16)> {
        self.brokers.get(&broker_id).map(|broker| (broker.host.clone(), broker.port))
    }
}

/// Where reading ends for this isolation level.
fn readable_end(partition: &Partition, isolation_level: i8) -> i64 {
    if isolation_level == READ_COMMITTED {
        partition.log.last_stable_offset()
    } else {
        partition.log.high_watermark()
    }
}

/// Where the client's log, as far as the epoch of its last record tells, leaves the broker's.
fn diverging_epoch(partition: &Partition, wanted: &Wanted) -> Option<(i32, i64)> {
    if wanted.last_fetched_epoch < 0 {
        return None;
    }
    let (epoch, end_offset) =
        partition.log.end_offset_for_epoch(wanted.last_fetched_epoch, partition.leader_epoch)?;
    (epoch < wanted.last_fetched_epoch || end_offset < wanted.fetch_offset).then_some((epoch, end_offset))
}

fn wanted_partitions(body: &FetchRequest) -> Vec<(PartitionKey, Wanted)> {
    let each_topic = body.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|asked| {
            let key = PartitionKey {
                topic: topic.topic.0.clone(),
                topic_id: topic.topic_id,
                partition: asked.partition,
            };
            let wanted = Wanted {
                fetch_offset: asked.fetch_offset,
                max_bytes: asked.partition_max_bytes,
                leader_epoch: asked.current_leader_epoch,
                last_fetched_epoch: asked.last_fetched_epoch,
            };
            (key, wanted)
        })
    });
    each_topic.collect()
}

fn forgotten_partitions(body: &FetchRequest) -> Vec<PartitionKey> {
    let each_topic = body.forgotten_topics_data.iter().flat_map(|topic| {
        topic.partitions.iter().map(|&partition| PartitionKey {
            topic: topic.topic.0.clone(),
            topic_id: topic.topic_id,
            partition,
        })
    });
    each_topic.collect()
}
