//! What a consumer asks before its first Fetch: the topic's id and leaders, and where its partitions begin.

use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ListOffsetsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use millstream_protocol::fetch::request::FetchPartition;
use millstream_protocol::request::ErrorCode;

use super::wire::Wire;
use crate::contract::Failure;

const EARLIEST: i64 = -2;

/// The first partitions of a topic, each at its beginning, in order. All must be led by the broker that was asked.
pub(super) fn look_up(wire: &mut Wire, topic: &str, partitions: u32) -> Result<Vec<FetchPartition>, Failure> {
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let asked = MetadataRequestTopic::default().with_name(Some(name.clone()));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    let metadata = wire.request(&request)?;
    let known = metadata.topics.first().ok_or("the broker says nothing of the topic")?;
    check(&format!("topic {topic}"), known.error_code)?;
    if metadata.brokers.len() != 1 {
        return Err(
            format!("the drain reads from one broker, and there are {}", metadata.brokers.len()).into()
        );
    }
    let starts = starts(wire, &name, partitions)?;
    let (topic, topic_id) = (Arc::<str>::from(topic), known.topic_id.into_bytes());
    starts
        .into_iter()
        .map(|(partition, fetch_offset)| {
            let led = known.partitions.iter().find(|led| led.partition_index == partition);
            let led = led.ok_or_else(|| format!("{topic}/{partition} is not there"))?;
            check(&format!("{topic}/{partition}"), led.error_code)?;
            Ok(FetchPartition {
                topic: Arc::clone(&topic),
                topic_id,
                partition,
                current_leader_epoch: led.leader_epoch,
                fetch_offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                max_bytes: 0,
            })
        })
        .collect()
}

/// Partitions and the offsets at which they begin.
fn starts(wire: &mut Wire, topic: &TopicName, partitions: u32) -> Result<Vec<(i32, i64)>, Failure> {
    let asked = (0..i32::try_from(partitions)?).map(|partition| {
        ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(EARLIEST)
    });
    let topics = ListOffsetsTopic::default().with_name(topic.clone()).with_partitions(asked.collect());
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topics]);
    let answer = wire.request(&request)?;
    let mut starts = Vec::new();
    for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
        check(&format!("the beginning of partition {}", partition.partition_index), partition.error_code)?;
        starts.push((partition.partition_index, partition.offset));
    }
    starts.sort_unstable();
    Ok(starts)
}

fn check(what: &str, code: i16) -> Result<(), Failure> {
    match ErrorCode(code) {
        ErrorCode::NONE => Ok(()),
        code => Err(format!("{what}: the broker answered with {code}").into()),
    }
}
