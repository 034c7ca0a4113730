//! FindCoordinator: which broker keeps a group.

use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use millstream_protocol::request::ErrorCode;

use super::super::brokers::BrokerAddress;
use super::{name, text};

/// The key type of groups.
const GROUP_KEY: i8 = 0;
/// The first version that asks for several keys at once.
const BATCHED_SINCE: i16 = 4;

/// A group's coordinator.
pub(in super::super) type Coordinator = BrokerAddress;

pub(super) fn request(version: i16, group: &str) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default().with_key_type(GROUP_KEY);
    if version >= BATCHED_SINCE {
        request.with_coordinator_keys(vec![text(group)])
    } else {
        request.with_key(text(group))
    }
}

pub(super) fn read(response: FindCoordinatorResponse, group: &str) -> Result<Coordinator, ErrorCode> {
    let of_group = response.coordinators.iter().find(|coordinator| coordinator.key.as_str() == group);
    let (code, id, host, port) = match of_group {
        Some(found) => (found.error_code, found.node_id, &found.host, found.port),
        None if response.coordinators.is_empty() => {
            (response.error_code, response.node_id, &response.host, response.port)
        }
        None => return Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
    };
    ErrorCode(code).ok()?;
    let port = u16::try_from(port).ok().filter(|&port| port != 0 && id.0 >= 0);
    let port = port.ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
    Ok(BrokerAddress { id: id.0, host: name(host), port })
}
