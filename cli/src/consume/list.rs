//! `-L`: the cluster's brokers, topics and partitions.

use std::fmt::Write;

use millstream::admin::{ClusterDescription, TopicDescription, describe_cluster};
use millstream::config::Config;

use super::args::ConsumeArgs;
use crate::args::print;
use crate::exit::Failure;
use crate::units;

/// Asks and prints.
pub(crate) fn run(args: &ConsumeArgs, config: &Config) -> Result<(), Failure> {
    let topics = (!args.topics.is_empty()).then_some(&args.topics[..]);
    let cluster = describe_cluster(config, topics)?;
    let mut page = brokers(&cluster);
    // A String takes every write, here and below.
    _ = writeln!(page, "{}:", units::counted(cluster.topics.len(), "topic"));
    cluster.topics.iter().for_each(|topic| describe(topic, &mut page));
    print(&page)?;
    missing(&cluster.topics)
}

/// The cluster and its brokers.
pub(crate) fn brokers(cluster: &ClusterDescription) -> String {
    let mut page = String::new();
    let id = cluster.cluster_id.as_deref().unwrap_or("without id");
    _ = writeln!(page, "cluster {id}, as {} sees it", cluster.answered_by);
    _ = writeln!(page, "{}:", units::counted(cluster.brokers.len(), "broker"));
    for broker in &cluster.brokers {
        let controller = if cluster.controller == Some(broker.id) { " (controller)" } else { "" };
        let rack = broker.rack.as_ref().map_or_else(String::new, |rack| format!(" rack {rack}"));
        _ = writeln!(page, "  broker {} at {}:{}{rack}{controller}", broker.id, broker.host, broker.port);
    }
    page
}

/// An error that names the topics that are not there.
pub(crate) fn missing(topics: &[TopicDescription]) -> Result<(), Failure> {
    let said =
        topics.iter().filter_map(|topic| Some(format!("topic {}: {}", topic.name, topic.error.as_ref()?)));
    let said: Vec<_> = said.collect();
    if said.is_empty() { Ok(()) } else { Err(Failure::Failed(said.join("; "))) }
}

fn describe(topic: &TopicDescription, page: &mut String) {
    let error = topic.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    let partitions = units::counted(topic.partitions.len(), "partition");
    _ = writeln!(page, "  topic \"{}\" with {partitions}{error}", topic.name);
    for partition in &topic.partitions {
        let leader = partition.leader.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let error = partition.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        _ = writeln!(
            page,
            "    partition {}, leader {leader}, replicas {}, isrs {}{error}",
            partition.partition,
            ids(&partition.replicas),
            ids(&partition.in_sync),
        );
    }
}

fn ids(ids: &[i32]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
