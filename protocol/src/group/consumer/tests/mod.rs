//! A member driven by hand against scripted answers, in virtual time.

mod errors;
mod membership;
mod reconciliation;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ResponseHeader,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use uuid::Uuid;

use super::*;
use crate::group::GroupRequestKind;
use crate::group::action::Body;

const MS: Duration = Duration::from_millis(1);
const INTERVAL: Duration = Duration::from_secs(5);
const T: TopicId = [1; 16];
const U: TopicId = [2; 16];

/// A member, and the coordinator's side of its conversation.
struct Talk {
    group: ConsumerGroup,
    now: Instant,
    version: i16,
    /// What the member said of itself, requests and coordinators left out.
    news: Vec<String>,
    asked_for_coordinator: usize,
}

impl Talk {
    fn new(config: ConsumerConfig) -> Talk {
        let mut group = ConsumerGroup::new(config);
        group.subscribe([Arc::from("t"), Arc::from("u")], None);
        group.start();
        Talk { group, now: Instant::now(), version: 1, news: Vec::new(), asked_for_coordinator: 0 }
    }

    /// A member that has joined with epoch 1 and owns nothing.
    fn joined(config: ConsumerConfig) -> Talk {
        let mut talk = Talk::new(config);
        talk.request().expect("a join");
        talk.answer(good(1));
        talk
    }

    /// A member that owns these partitions of topic `t`, and has said so.
    fn owning(config: ConsumerConfig, partitions: &[i32]) -> Talk {
        let mut talk = Talk::new(config);
        talk.request().expect("a join");
        talk.answer(assigning(1, &[(T, partitions)]));
        talk.settle();
        talk.name_topics();
        talk.request().expect("an acknowledgement");
        talk.answer(good(1));
        talk.settle();
        talk.news.clear();
        talk
    }

    /// Carries out what needs no answer; the requests that leave.
    fn settle(&mut self) -> Vec<GroupRequest> {
        let mut sent = Vec::new();
        while let Some(action) = self.group.poll(self.now) {
            match action {
                GroupAction::NeedCoordinator => {
                    self.asked_for_coordinator += 1;
                    self.group.coordinator_known(&table(self.version));
                }
                GroupAction::Send(request) => {
                    request.encode(1, "client", &mut Vec::new()).unwrap();
                    sent.push(request);
                }
                GroupAction::NeedMetadata { .. } => unreachable!("the coordinator assigns"),
                GroupAction::NeedTopicNames { topic_ids } => {
                    self.news.push(format!("names of {}", topic_ids.len()))
                }
                GroupAction::Revoke { partitions } => self.news.push(format!("revoke {}", list(&partitions))),
                GroupAction::Assigned { partitions, generation, .. } => {
                    self.news.push(format!("assigned {} in {generation}", list(&partitions)));
                }
                GroupAction::Lost { partitions, reason } => {
                    self.news.push(format!("lost {}: {reason}", list(&partitions)));
                }
                GroupAction::Left => self.news.push("left".to_owned()),
                GroupAction::Fatal(error) => self.news.push(format!("fatal {error}")),
            }
        }
        sent
    }

    /// The one request that leaves now, if any does.
    fn request(&mut self) -> Option<ConsumerGroupHeartbeatRequest> {
        let mut sent = self.settle();
        assert!(sent.len() <= 1, "{sent:?}");
        let request = sent.pop()?;
        match request.body {
            Body::ConsumerHeartbeat(body) => Some(body),
            _ => unreachable!("it speaks this request only"),
        }
    }

    fn answer(&mut self, response: ConsumerGroupHeartbeatResponse) {
        self.group.on_response(GroupRequestKind::Heartbeat, &frame(&response), self.now).unwrap();
    }

    fn name_topics(&mut self) {
        self.group.set_topic_names([(T, &Arc::from("t")), (U, &Arc::from("u"))]);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.news)
    }
}

fn config() -> ConsumerConfig {
    ConsumerConfig { seed: 7, ..ConsumerConfig::new("g") }
}

fn static_config() -> ConsumerConfig {
    ConsumerConfig { group_instance_id: Some("i".to_owned()), ..config() }
}

fn table(version: i16) -> VersionTable {
    VersionTable::new([(ApiKey::ConsumerGroupHeartbeat as i16, 0, version)])
}

fn frame(response: &ConsumerGroupHeartbeatResponse) -> Bytes {
    let mut bytes = BytesMut::new();
    let header = ConsumerGroupHeartbeatResponse::header_version(1);
    ResponseHeader::default().with_correlation_id(1).encode(&mut bytes, header).unwrap();
    response.encode(&mut bytes, 1).unwrap();
    bytes.freeze()
}

fn good(epoch: i32) -> ConsumerGroupHeartbeatResponse {
    let interval_ms = INTERVAL.as_millis() as i32;
    ConsumerGroupHeartbeatResponse::default().with_member_epoch(epoch).with_heartbeat_interval_ms(interval_ms)
}

fn assigning(epoch: i32, topics: &[(TopicId, &[i32])]) -> ConsumerGroupHeartbeatResponse {
    let topics = topics.iter().map(|(id, partitions)| {
        TopicPartitions::default().with_topic_id(Uuid::from_bytes(*id)).with_partitions(partitions.to_vec())
    });
    good(epoch).with_assignment(Some(Assignment::default().with_topic_partitions(topics.collect())))
}

fn bad(code: ErrorCode) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default().with_error_code(code.0)
}

/// What a heartbeat says the member owns, by topic.
fn said(request: &ConsumerGroupHeartbeatRequest) -> Option<Vec<(TopicId, Vec<i32>)>> {
    let topics = request.topic_partitions.as_ref()?;
    Some(topics.iter().map(|topic| (topic.topic_id.into_bytes(), topic.partitions.clone())).collect())
}

/// Whether a heartbeat says all that there is to say.
fn is_full(request: &ConsumerGroupHeartbeatRequest) -> bool {
    let said = [
        request.rebalance_timeout_ms == 300_000,
        request.subscribed_topic_names.is_some(),
        request.topic_partitions.is_some(),
    ];
    assert!(said == [true; 3] || !said[0], "{request:?}");
    said[0]
}

fn list(partitions: &[TopicPartition]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
