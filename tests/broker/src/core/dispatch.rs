//! Which module answers which API.

use kafka_protocol::messages::{RequestKind, ResponseKind};

use super::cluster::{Answer, Cluster};
use super::request::Request;

impl Cluster {
    pub(crate) fn dispatch(&mut self, request: &Request, body: RequestKind) -> Answer {
        let response = match body {
            RequestKind::ApiVersions(_) => ResponseKind::ApiVersions(self.api_versions(request)),
            RequestKind::Metadata(body) => ResponseKind::Metadata(self.metadata(request, body)),
            RequestKind::ListOffsets(body) => ResponseKind::ListOffsets(self.list_offsets(request, body)),
            RequestKind::Fetch(body) => return self.fetch(request, body),
            RequestKind::Produce(body) => return self.produce(request, body),
            _ => return Answer::Close(format!("{:?} is not implemented", request.api_key)),
        };
        Answer::Ready(Box::new(response))
    }
}
