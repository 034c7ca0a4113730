//! What librdkafka is told, whichever interface its records come through.

use crate::contract::Request;

/// A consumer without a group has to have one by name all the same before librdkafka lets it be assigned partitions.
const NO_GROUP: &str = "millstream-bench";

/// What is set beside the request where throughput is compared. A queue that is full (`queued.min.messages`) ends
/// fetching for a second as it ships, for which a program that takes records one by one then waits again and again;
/// with less it reads on when there is room.
pub const FOR_THROUGHPUT: [(&str, &str); 1] = [("fetch.queue.backoff.ms", "10")];

/// What the request and `beside` say, in librdkafka's names; everything else is as it ships. Settings of the request
/// come last and so win.
pub fn properties(request: &Request, beside: &[(&str, &str)]) -> Vec<(String, String)> {
    let fetching = &request.fetching;
    let in_group = request.group.is_some();
    let group = request.group.as_ref().map_or(NO_GROUP, |group| &group.name);
    let commit_interval = request.group.as_ref().map(|group| group.commit_interval.as_millis().to_string());
    let mut all = vec![
        ("bootstrap.servers", request.bootstrap.clone()),
        ("check.crcs", request.crc.to_string()),
        ("isolation.level", request.isolation.as_str().to_owned()),
        ("fetch.max.bytes", fetching.max_bytes.to_string()),
        ("max.partition.fetch.bytes", fetching.partition_max_bytes.to_string()),
        ("fetch.wait.max.ms", fetching.wait_ms.to_string()),
        ("fetch.min.bytes", fetching.min_bytes.to_string()),
        ("auto.offset.reset", "earliest".to_owned()),
        ("group.id", group.to_owned()),
        ("enable.auto.commit", in_group.to_string()),
        ("enable.auto.offset.store", in_group.to_string()),
    ];
    all.extend(commit_interval.map(|interval| ("auto.commit.interval.ms", interval)));
    all.extend(beside.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let own = request.properties.iter().cloned();
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(own).collect()
}
