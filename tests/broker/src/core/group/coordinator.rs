//! Which broker coordinates a group or a transactional id, and FindCoordinator.

use std::collections::BTreeMap;
use std::time::Instant;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{Group, MAX_GROUPS};
use crate::core::cluster::Cluster;
use crate::core::request::Request;
use crate::error::Error;

/// Key type of consumer groups.
const GROUP_KEY: i8 = 0;
/// Key type of transactional ids.
const TRANSACTION_KEY: i8 = 1;
/// First version that asks for several keys at once.
const BATCHED_VERSION: i16 = 4;

/// All groups, and the coordinators that tests chose.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_id: BTreeMap<String, Group>,
    chosen: BTreeMap<String, i32>,
}

impl Groups {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.by_id.values().filter_map(Group::deadline).min()
    }

    pub(super) fn get(&self, group_id: &str) -> Option<&Group> {
        self.by_id.get(group_id)
    }

    pub(super) fn get_mut(&mut self, group_id: &str) -> Option<&mut Group> {
        self.by_id.get_mut(group_id)
    }

    /// The group, made now if nobody has named it before; `None` when there are too many.
    pub(super) fn get_or_create(&mut self, group_id: &str) -> Option<&mut Group> {
        if !self.by_id.contains_key(group_id) {
            if self.by_id.len() >= MAX_GROUPS {
                return None;
            }
            self.by_id.insert(group_id.to_owned(), Group::new());
        }
        self.by_id.get_mut(group_id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Group)> {
        self.by_id.iter()
    }

    pub(super) fn delete(&mut self, group_id: &str) {
        self.by_id.remove(group_id);
    }

    /// Groups with something due at `now`.
    pub(super) fn due(&self, now: Instant) -> Vec<String> {
        let due = self.by_id.iter().filter(|(_, group)| group.deadline().is_some_and(|at| at <= now));
        due.map(|(group_id, _)| group_id.clone()).collect()
    }
}

impl Cluster {
    pub(crate) fn find_coordinator(
        &self,
        request: &Request,
        body: FindCoordinatorRequest,
    ) -> FindCoordinatorResponse {
        if request.api_version >= BATCHED_VERSION {
            let keys = body.coordinator_keys.into_iter();
            let coordinators = keys.map(|key| self.coordinator_entry(request, key, body.key_type));
            return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
        }
        let found = self.coordinator_entry(request, body.key, body.key_type);
        FindCoordinatorResponse::default()
            .with_error_code(found.error_code)
            .with_error_message(found.error_message)
            .with_node_id(found.node_id)
            .with_host(found.host)
            .with_port(found.port)
    }

    /// Lets another broker coordinate a group or transactional id. Its members and offsets move along; who waits for
    /// a join or an assignment is sent away.
    pub fn move_coordinator(&mut self, key: &str, broker_id: i32, now: Instant) -> Result<(), Error> {
        if !self.brokers.contains_key(&broker_id) {
            return Err(Error::UnknownBroker(broker_id));
        }
        self.groups.chosen.insert(key.to_owned(), broker_id);
        if let Some(group) = self.groups.get_mut(key) {
            group.send_away();
        }
        self.flush_group(key, now);
        Ok(())
    }

    /// The running broker that coordinates a group or transactional id: the chosen one, or one by a hash of the key;
    /// where it is stopped, the next one that runs.
    pub fn coordinator(&self, key: &str) -> Option<i32> {
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        let chosen = self.groups.chosen.get(key).and_then(|id| ids.iter().position(|known| known == id));
        let first = chosen.unwrap_or_else(|| {
            let hash = key.bytes().fold(0usize, |hash, byte| hash.wrapping_mul(31) + usize::from(byte));
            hash % ids.len()
        });
        let in_turn = ids.iter().cycle().skip(first).take(ids.len());
        in_turn.copied().find(|id| self.brokers.get(id).is_some_and(|broker| broker.running))
    }

    /// The errors that come before any group API looks at its group.
    pub(crate) fn check_coordinator(&self, request: &Request, key: &str) -> Result<(), ResponseError> {
        if let Some(error) = request.injected_error.and_then(ResponseError::try_from_code) {
            return Err(error);
        }
        match self.coordinator(key) {
            Some(broker_id) if broker_id == request.broker_id => Ok(()),
            _ => Err(ResponseError::NotCoordinator),
        }
    }

    fn coordinator_entry(&self, request: &Request, key: StrBytes, key_type: i8) -> Coordinator {
        let injected = request.injected_error.and_then(ResponseError::try_from_code);
        let found = match (injected, key_type) {
            (Some(error), _) => Err(error),
            (None, GROUP_KEY | TRANSACTION_KEY) => {
                self.coordinator(&key).ok_or(ResponseError::CoordinatorNotAvailable)
            }
            (None, _) => Err(ResponseError::InvalidRequest),
        };
        let entry = Coordinator::default().with_key(key);
        match found {
            Ok(broker_id) => {
                let (host, port) = self.address_of(broker_id).unwrap_or_default();
                entry
                    .with_node_id(BrokerId(broker_id))
                    .with_host(StrBytes::from_string(host))
                    .with_port(i32::from(port))
            }
            Err(error) => entry
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(error.to_string())))
                .with_node_id(BrokerId(-1))
                .with_port(-1),
        }
    }
}
