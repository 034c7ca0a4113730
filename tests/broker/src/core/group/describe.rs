//! ListGroups, DescribeGroups and DeleteGroups, and what tests read of a group.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Group, GroupState};
use crate::core::cluster::Cluster;
use crate::core::request::Request;

/// First DescribeGroups version that tells unknown groups from dead ones.
const GROUP_ID_NOT_FOUND_VERSION: i16 = 6;

/// What a test sees of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Where it stands.
    pub state: GroupState,
    /// The newest generation, or the group's epoch under the consumer protocol.
    pub generation: i32,
    /// The assignor in use.
    pub protocol_name: Option<String>,
    /// The member that computes assignments.
    pub leader: Option<String>,
    /// The ids of its members.
    pub members: Vec<String>,
}

impl Cluster {
    /// A group as it is now; `None` when nobody has named it yet.
    pub fn group(&self, group_id: &str) -> Option<GroupSummary> {
        let group = self.groups.get(group_id)?;
        Some(GroupSummary {
            state: group.state(),
            generation: if group.consumers.is_empty() { group.generation } else { group.consumers.epoch() },
            protocol_name: group.protocol_name.as_ref().map(ToString::to_string),
            leader: group.leader.as_ref().map(ToString::to_string),
            members: group
                .members
                .keys()
                .chain(group.consumers.member_ids())
                .map(ToString::to_string)
                .collect(),
        })
    }

    pub(crate) fn list_groups(&self, request: &Request, body: ListGroupsRequest) -> ListGroupsResponse {
        if let Some(error_code) = request.injected_error {
            return ListGroupsResponse::default().with_error_code(error_code);
        }
        let asked = |filter: &[StrBytes], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
        };
        let listed = self
            .groups
            .iter()
            .filter(|(group_id, _)| self.coordinator(group_id) == Some(request.broker_id))
            .filter(|(_, group)| asked(&body.states_filter, group.state_name()))
            .filter(|(_, group)| asked(&body.types_filter, group.type_name()))
            .map(|(group_id, group)| {
                ListedGroup::default()
                    .with_group_id(GroupId(StrBytes::from_string(group_id.clone())))
                    .with_protocol_type(group.protocol_type())
                    .with_group_state(StrBytes::from_static_str(group.state_name()))
                    .with_group_type(StrBytes::from_static_str(group.type_name()))
            });
        ListGroupsResponse::default().with_groups(listed.collect())
    }

    pub(crate) fn describe_groups(
        &self,
        request: &Request,
        body: DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let groups = body.groups.into_iter().map(|group_id| {
            let described = DescribedGroup::default().with_group_id(group_id.clone());
            if let Err(error) = self.check_coordinator(request, &group_id) {
                return described.with_error_code(error.code());
            }
            // Groups of the consumer protocol are described by an API of their own.
            match self.groups.get(&group_id).filter(|group| group.consumers.is_empty()) {
                Some(group) => describe(described, group),
                None if request.api_version >= GROUP_ID_NOT_FOUND_VERSION => described
                    .with_error_code(ResponseError::GroupIdNotFound.code())
                    .with_error_message(Some(StrBytes::from_static_str("no such group")))
                    .with_group_state(StrBytes::from_static_str("Dead")),
                None => described.with_group_state(StrBytes::from_static_str("Dead")),
            }
        });
        DescribeGroupsResponse::default().with_groups(groups.collect())
    }

    pub(crate) fn delete_groups(
        &mut self,
        request: &Request,
        body: DeleteGroupsRequest,
    ) -> DeleteGroupsResponse {
        let results = body.groups_names.into_iter().map(|group_id| {
            let outcome = self.delete_group(request, &group_id);
            DeletableGroupResult::default()
                .with_group_id(group_id)
                .with_error_code(outcome.err().map_or(0, |error| error.code()))
        });
        DeleteGroupsResponse::default().with_results(results.collect())
    }

    fn delete_group(&mut self, request: &Request, group_id: &str) -> Result<(), ResponseError> {
        self.check_coordinator(request, group_id)?;
        match self.groups.get(group_id).map(Group::state) {
            None => Err(ResponseError::GroupIdNotFound),
            Some(GroupState::Empty) => {
                self.groups.delete(group_id);
                Ok(())
            }
            Some(_) => Err(ResponseError::NonEmptyGroup),
        }
    }
}

impl Group {
    /// The kind of group, as ListGroups names it.
    fn type_name(&self) -> &'static str {
        if self.consumers.is_empty() { "classic" } else { "consumer" }
    }

    /// Its state, as ListGroups names it.
    fn state_name(&self) -> &'static str {
        match self.state() {
            GroupState::PreparingRebalance if !self.consumers.is_empty() => "Reconciling",
            state => state.name(),
        }
    }

    fn protocol_type(&self) -> StrBytes {
        let of_consumers = (!self.consumers.is_empty()).then(|| StrBytes::from_static_str("consumer"));
        of_consumers.or_else(|| self.protocol_type.clone()).unwrap_or_default()
    }
}

fn describe(described: DescribedGroup, group: &Group) -> DescribedGroup {
    let settled = matches!(group.state, GroupState::Stable | GroupState::CompletingRebalance);
    let protocol = group.protocol_name.clone().filter(|_| settled).unwrap_or_default();
    let members = group.members.iter().map(|(member_id, member)| {
        DescribedGroupMember::default()
            .with_member_id(member_id.clone())
            .with_group_instance_id(member.instance_id.clone())
            .with_client_id(member.client_id.clone())
            .with_client_host(StrBytes::from_static_str("/127.0.0.1"))
            .with_member_metadata(member.metadata_for(&protocol))
            .with_member_assignment(member.assignment.clone())
    });
    described
        .with_group_state(StrBytes::from_static_str(group.state.name()))
        .with_protocol_type(group.protocol_type.clone().unwrap_or_default())
        .with_protocol_data(protocol.clone())
        .with_members(members.collect())
}
