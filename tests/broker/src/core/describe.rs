//! DescribeCluster and DescribeConfigs, which Kafka's own tools ask before anything else.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    BrokerId, DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest,
    DescribeConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::cluster::Cluster;
use super::request::Request;

const TOPIC_RESOURCE: i8 = 2;
const BROKER_RESOURCE: i8 = 4;
/// Where a value comes from: set for this topic.
const TOPIC_CONFIG_SOURCE: i8 = 1;
/// Value type of strings (from version 3 on).
const STRING_TYPE: i8 = 2;

impl Cluster {
    pub(crate) fn describe_cluster(
        &self,
        request: &Request,
        body: &DescribeClusterRequest,
    ) -> DescribeClusterResponse {
        let brokers = self.running_brokers().into_iter().filter_map(|id| {
            let (host, port) = self.address_of(id)?;
            Some(
                DescribeClusterBroker::default()
                    .with_broker_id(BrokerId(id))
                    .with_host(StrBytes::from_string(host))
                    .with_port(i32::from(port))
                    .with_rack(self.rack_of(id)),
            )
        });
        DescribeClusterResponse::default()
            .with_error_code(request.injected_error.unwrap_or(0))
            .with_endpoint_type(body.endpoint_type)
            .with_cluster_id(StrBytes::from_string(self.config.cluster_id.clone()))
            .with_controller_id(BrokerId(self.controller()))
            .with_brokers(brokers.collect())
    }

    pub(crate) fn describe_configs(
        &self,
        request: &Request,
        body: DescribeConfigsRequest,
    ) -> DescribeConfigsResponse {
        let results = body.resources.into_iter().map(|resource| {
            let configs = match request.injected_error.and_then(ResponseError::try_from_code) {
                Some(error) => Err(error),
                None => self.configs_of(&resource),
            };
            let result = DescribeConfigsResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name);
            match configs {
                Ok(configs) => result.with_configs(configs),
                Err(error) => result
                    .with_error_code(error.code())
                    .with_error_message(Some(StrBytes::from_string(error.to_string()))),
            }
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    fn configs_of(
        &self,
        resource: &DescribeConfigsResource,
    ) -> Result<Vec<DescribeConfigsResourceResult>, ResponseError> {
        match resource.resource_type {
            TOPIC_RESOURCE => {
                let topic = self.topics.named(&resource.resource_name);
                let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
                let keys = resource.configuration_keys.as_ref();
                let asked = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name));
                let set = topic.configs.iter().filter(|(name, _)| asked(name));
                Ok(set.map(|(name, value)| string_config(name, value)).collect())
            }
            BROKER_RESOURCE => Ok(Vec::new()),
            _ => Err(ResponseError::InvalidRequest),
        }
    }
}

fn string_config(name: &str, value: &str) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_string(name.to_owned()))
        .with_value(Some(StrBytes::from_string(value.to_owned())))
        .with_config_source(TOPIC_CONFIG_SOURCE)
        .with_config_type(STRING_TYPE)
}
