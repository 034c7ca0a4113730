//! The endpoints of new leaders that a Fetch response carries (KIP-951).

use super::reader::{Reader, WalkError};

/// The least that an endpoint takes: id, two lengths, port, tagged fields.
const ENDPOINT_MIN_BYTES: usize = 4 + 1 + 4 + 1 + 1;

/// Where to reach a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// The broker's id.
    pub node_id: i32,
    /// Its host name or address.
    pub host: &'a str,
    /// Its port, as sent: it is the caller's to check that it is a port.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<&'a str>,
}

/// The endpoints in a response; iterates over them in the order sent.
#[derive(Debug, Clone, Copy)]
pub struct NodeEndpoints<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> NodeEndpoints<'a> {
    pub(super) fn none() -> Self {
        Self { reader: Reader::at(&[], 0), left: 0 }
    }

    pub(super) fn parse(reader: &mut Reader<'a>) -> Result<Self, WalkError> {
        let count = reader.count("node_endpoints", true, ENDPOINT_MIN_BYTES)?;
        let endpoints = Self { reader: *reader, left: count };
        for _ in 0..count {
            read_endpoint(reader)?;
        }
        Ok(endpoints)
    }
}

impl<'a> Iterator for NodeEndpoints<'a> {
    type Item = NodeEndpoint<'a>;

    fn next(&mut self) -> Option<NodeEndpoint<'a>> {
        self.left = self.left.checked_sub(1)?;
        let endpoint = read_endpoint(&mut self.reader);
        // The same bytes were read when the response was parsed.
        debug_assert!(endpoint.is_ok(), "{endpoint:?}");
        endpoint.ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

fn read_endpoint<'a>(reader: &mut Reader<'a>) -> Result<NodeEndpoint<'a>, WalkError> {
    let node_id = reader.i32("node_endpoints.node_id")?;
    let host = reader.string("node_endpoints.host", true)?;
    let port = reader.i32("node_endpoints.port")?;
    let rack = reader.nullable_string("node_endpoints.rack", true)?;
    reader.skip_tagged_fields()?;
    Ok(NodeEndpoint { node_id, host, port, rack })
}
