//! Types, defaults, and what must hold between values.

use super::*;
use crate::config::ConfigSources;

fn sources(settings: &[&str]) -> ConfigSources {
    let mut sources = ConfigSources::new();
    sources.argument("bootstrap.servers=localhost:9092").unwrap();
    for setting in settings {
        sources.argument(setting).unwrap();
    }
    sources
}

fn config(settings: &[&str]) -> Config {
    sources(settings).build().unwrap()
}

fn message(settings: &[&str]) -> String {
    sources(settings).build().unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_javas_consumer_and_ours() {
    let config = config(&[]);
    assert_eq!(config.session_timeout, Duration::from_secs(45));
    assert_eq!(config.heartbeat_interval, Duration::from_secs(3));
    assert_eq!(config.max_poll_interval, Duration::from_secs(300));
    assert_eq!(config.auto_commit_interval, Duration::from_secs(5));
    assert_eq!(config.auto_offset_reset, OffsetReset::Latest);
    assert_eq!(config.isolation_level, IsolationLevel::ReadUncommitted);
    assert_eq!(
        config.partition_assignment_strategy,
        [AssignmentStrategy::Range, AssignmentStrategy::CooperativeSticky]
    );
    assert_eq!((config.fetch_min_bytes, config.fetch_max_bytes), (1, 50 << 20));
    assert_eq!(config.max_partition_fetch_bytes, 1 << 20);
    assert_eq!(config.fetch_max_wait, Duration::from_millis(500));
    assert_eq!((config.max_poll_records, config.max_poll_bytes), (500, 1 << 20));
    assert_eq!(config.memory_budget_bytes, 64 << 20);
    assert_eq!(config.receive_message_max_bytes, 100_000_000);
    assert_eq!(config.request_timeout, Duration::from_secs(30));
    assert_eq!(config.default_api_timeout, Duration::from_secs(60));
    assert_eq!(config.connections_max_idle, Some(Duration::from_secs(540)));
    assert_eq!(config.metadata_max_age, Duration::from_secs(300));
    assert_eq!((config.send_buffer_bytes, config.receive_buffer_bytes), (Some(128 << 10), None));
    assert_eq!((config.retry_backoff.as_millis(), config.retry_backoff_max.as_millis()), (100, 1000));
    assert_eq!((config.reconnect_backoff.as_millis(), config.reconnect_backoff_max.as_millis()), (50, 1000));
    assert_eq!((config.cores, config.idle_strategy), (CoresSetting::Auto, IdleStrategy::Park));
    assert!(config.check_crcs && config.exclude_internal_topics && !config.allow_auto_create_topics);
    assert_eq!((config.group_id, config.group_instance_id), (None, None));
}

#[test]
fn words_become_their_types() {
    assert_eq!(config(&["auto.offset.reset=smallest"]).auto_offset_reset, OffsetReset::Earliest);
    assert_eq!(config(&["auto.offset.reset=error"]).auto_offset_reset, OffsetReset::None);
    let by_duration = config(&["auto.offset.reset=By_Duration:P1DT1H"]);
    assert_eq!(by_duration.auto_offset_reset, OffsetReset::ByDuration(Duration::from_secs(25 * 3600)));
    let shown = by_duration.effective().iter().find(|one| one.name == "auto.offset.reset");
    assert_eq!(shown.unwrap().value.as_deref(), Some("by_duration:PT25H"));
    assert_eq!(config(&["isolation.level=read_committed"]).isolation_level, IsolationLevel::ReadCommitted);
    assert_eq!(config(&["idle.strategy=spin"]).idle_strategy, IdleStrategy::Spin);
    assert_eq!(config(&[]).memory_huge_pages, HugePages::Off);
    assert_eq!(config(&["memory.huge.pages=transparent"]).memory_huge_pages, HugePages::Transparent);
    let adaptive = config(&["idle.strategy=adaptive", "idle.spin.us=250"]);
    assert_eq!(adaptive.idle_strategy, IdleStrategy::Adaptive);
    assert_eq!(adaptive.idle_spin, Duration::from_micros(250));
    assert_eq!(config(&["transport=io_uring"]).transport, Transport::Uring);
    assert_eq!(config(&["transport=epoll"]).transport, Transport::Poll);
    assert_eq!(config(&["cores=1,3-4"]).cores, CoresSetting::List(vec![1, 3, 4]));
    assert_eq!(
        config(&["partition.assignment.strategy=org.apache.kafka.clients.consumer.RoundRobinAssignor,range"])
            .partition_assignment_strategy,
        [AssignmentStrategy::RoundRobin, AssignmentStrategy::Range]
    );
    assert_eq!(config(&["connections.max.idle.ms=-1"]).connections_max_idle, None);
}

#[test]
fn brokers_must_be_named() {
    let missing = ConfigSources::new().build().unwrap_err().to_string();
    assert_eq!(missing, "bootstrap.servers is not set: name at least one broker as host:port");
}

#[test]
fn nothing_is_committed_without_a_group() {
    assert!(!config(&[]).enable_auto_commit);
    assert!(config(&["group.id=g"]).enable_auto_commit);
    assert!(!config(&["group.id=g", "enable.auto.commit=false"]).enable_auto_commit);
    let asked = config(&["enable.auto.commit=true"]);
    assert!(!asked.enable_auto_commit);
    assert_eq!(
        asked.warnings()[0].to_string(),
        "-X: enable.auto.commit nothing is committed without group.id"
    );
}

#[test]
fn a_static_member_needs_a_group_and_a_legal_name() {
    assert!(message(&["group.instance.id=a"]).starts_with("group.id is not set"));
    let with_group = |id: &str| sources(&["group.id=g", &format!("group.instance.id={id}")]).build();
    assert_eq!(with_group("a-B_0.x").unwrap().group_instance_id.as_deref(), Some("a-B_0.x"));
    for bad in ["a b", "..", "é", &"x".repeat(250)] {
        assert!(matches!(with_group(bad), Err(ConfigError::BadValue { .. })), "{bad}");
    }
}

#[test]
fn the_heartbeat_is_shorter_than_the_session() {
    let message = message(&["session.timeout.ms=3000"]);
    assert!(
        message.contains("heartbeat.interval.ms=3000 must be less than session.timeout.ms=3000"),
        "{message}"
    );
    assert!(message.contains("(heartbeat.interval.ms: default; session.timeout.ms: -X)"), "{message}");
    config(&["session.timeout.ms=3001"]);
}

#[test]
fn a_response_that_was_asked_for_is_not_refused() {
    assert!(
        message(&["receive.message.max.bytes=1000"]).contains("at least fetch.max.bytes=52428800 plus 512")
    );
    config(&["receive.message.max.bytes=1512", "fetch.max.bytes=1000"]);
}

#[test]
fn a_backoff_raises_a_maximum_that_nobody_set_and_must_not_pass_one_that_was() {
    let alone = config(&["reconnect.backoff.ms=5000"]);
    assert_eq!(alone.reconnect_backoff_max, Duration::from_secs(5));
    let shown = alone.effective().iter().find(|value| value.name == "reconnect.backoff.max.ms").unwrap();
    assert_eq!((shown.value.as_deref(), shown.origin.to_string().as_str()), (Some("5000"), "-X"));
    assert!(message(&["retry.backoff.ms=200", "retry.backoff.max.ms=100"]).contains("must not be above"));
}

#[test]
fn each_shard_gets_its_share_or_the_error_says_what_the_budget_must_be() {
    let config = config(&["memory.budget.bytes=20971520", "decompressed.batch.max.bytes=4194304"]);
    assert_eq!(
        config.shard_memory(2).unwrap(),
        ShardMemory { fetch_bytes: 6 << 20, decompression_bytes: 4 << 20 }
    );
    assert_eq!(config.most_shards(), 4);
    assert!(config.shard_memory(4).is_ok());
    let message = config.shard_memory(5).unwrap_err().to_string();
    assert!(
        message.contains("too small for 5 shard(s)") && message.contains("at least 26214400"),
        "{message}"
    );
}

#[test]
fn a_budget_that_carries_no_shard_at_all_is_refused() {
    assert!(message(&["memory.budget.bytes=1048576"]).contains("too small for 1 shard(s)"));
}

#[test]
fn every_used_property_is_listed_with_unit_and_origin() {
    let config = config(&["group.id=g"]);
    let shown = |name: &str| config.effective().iter().find(|value| value.name == name).unwrap();
    assert_eq!(
        (shown("group.id").value.as_deref(), shown("group.id").origin.to_string()),
        (Some("g"), "-X".into())
    );
    assert_eq!(shown("group.instance.id").value, None);
    assert_eq!((shown("fetch.max.wait.ms").unit, shown("fetch.max.bytes").unit), ("ms", "bytes"));
    assert!(config.effective().iter().all(|value| !value.doc.is_empty()));
}

#[test]
fn what_belongs_to_one_group_protocol_cannot_be_set_under_the_other() {
    let config = config(&["group.id=g", "group.protocol=consumer", "group.remote.assignor=range"]);
    assert_eq!(config.group_protocol, GroupProtocol::Consumer);
    assert_eq!(config.group_remote_assignor.as_deref(), Some("range"));
    for set in
        ["session.timeout.ms=45000", "heartbeat.interval.ms=3000", "partition.assignment.strategy=range"]
    {
        let key = set.split('=').next().unwrap();
        let message = message(&["group.protocol=consumer", set]);
        assert!(message.contains(&format!("{key} cannot be set with group.protocol=consumer")), "{message}");
        assert!(message.contains("set group.protocol=classic"), "{message}");
    }
    let message = message(&["group.remote.assignor=range"]);
    assert!(message.contains("group.remote.assignor cannot be set with group.protocol=classic"), "{message}");
}
