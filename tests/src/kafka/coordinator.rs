//! What a group's coordinator knows: where it is, who is in the group, what is committed.

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    DescribeGroupsRequest, FindCoordinatorRequest, GroupId, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::client::check;
use super::cluster::KafkaCluster;
use super::error::{Error, Result};
use super::process::wait_until;

const COORDINATOR_LIMIT: Duration = Duration::from_secs(60);
/// The key type of groups.
const GROUP: i8 = 0;

/// A group as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable` or `Dead`.
    pub state: String,
    /// The client ids of its members, in order.
    pub clients: Vec<String>,
}

impl KafkaCluster {
    /// The id of the broker that coordinates a group; waits until there is one.
    ///
    /// # Errors
    /// If there is none in time.
    pub fn coordinator(&self, group: &str) -> Result<i32> {
        let known = wait_until(Instant::now() + COORDINATOR_LIMIT, || self.find_coordinator(group).ok());
        known.ok_or_else(|| Error::Broker {
            address: self.bootstrap(),
            message: format!("group {group} has no coordinator within {COORDINATOR_LIMIT:?}"),
        })
    }

    /// The state and the members of a group.
    ///
    /// # Errors
    /// What the coordinator answered.
    pub fn group(&self, group: &str) -> Result<GroupDescription> {
        let request = DescribeGroupsRequest::default().with_groups(vec![id(group)]);
        let answer = self.client(self.coordinator(group)?)?.request(&request)?;
        let known = answer.groups.first().ok_or_else(|| Error::Broker {
            address: self.bootstrap(),
            message: format!("group {group} is not described"),
        })?;
        check(&format!("describing group {group}"), known.error_code, None)?;
        let mut clients: Vec<String> =
            known.members.iter().map(|member| member.client_id.to_string()).collect();
        clients.sort();
        Ok(GroupDescription { state: known.group_state.to_string(), clients })
    }

    /// What a group has committed in a topic, by partition; `None` where nothing is.
    ///
    /// # Errors
    /// What the coordinator answered.
    pub fn committed(&self, group: &str, topic: &str, partitions: i32) -> Result<Vec<Option<i64>>> {
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let topics = OffsetFetchRequestTopics::default()
            .with_name(name)
            .with_partition_indexes((0..partitions).collect());
        let asked =
            OffsetFetchRequestGroup::default().with_group_id(id(group)).with_topics(Some(vec![topics]));
        let request = OffsetFetchRequest::default().with_groups(vec![asked]);
        let answer = self.client(self.coordinator(group)?)?.request(&request)?;
        let what = format!("offsets of group {group}");
        let mut offsets = vec![None; partitions.max(0) as usize];
        for known in &answer.groups {
            check(&what, known.error_code, None)?;
            for partition in known.topics.iter().flat_map(|topic| &topic.partitions) {
                check(&what, partition.error_code, None)?;
                if let Some(offset) = offsets.get_mut(partition.partition_index as usize) {
                    *offset = Some(partition.committed_offset).filter(|&offset| offset >= 0);
                }
            }
        }
        Ok(offsets)
    }

    fn find_coordinator(&self, group: &str) -> Result<i32> {
        let what = format!("finding the coordinator of group {group}");
        let request = FindCoordinatorRequest::default()
            .with_key_type(GROUP)
            .with_coordinator_keys(vec![StrBytes::from_string(group.to_owned())]);
        let answer = self.client(self.any_running()?)?.request(&request)?;
        let found = answer.coordinators.first();
        let code = found.map_or(ResponseError::CoordinatorNotAvailable.code(), |found| found.error_code);
        check(&what, code, None)?;
        // After a coordinator was killed its name is passed on for a while.
        found
            .map(|found| found.node_id.0)
            .filter(|id| self.running().any(|running| running == *id))
            .ok_or_else(|| Error::Broker {
                address: self.bootstrap(),
                message: format!("{what}: it is down"),
            })
    }
}

fn id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}
