//! Names, sources, precedence and origins.

use std::io::Write;
use std::os::unix::ffi::OsStringExt;

use super::*;

fn with_broker() -> ConfigSources {
    let mut sources = ConfigSources::new();
    sources.set("bootstrap.servers", "localhost:9092");
    sources
}

fn argument(key_value: &str) -> Result<Config, ConfigError> {
    let mut sources = with_broker();
    sources.argument(key_value)?;
    sources.build()
}

fn file(text: &str) -> ConfigSources {
    let mut sources = with_broker();
    sources.properties_text(PathBuf::from("kafka.properties"), text.as_bytes()).unwrap();
    sources
}

fn message(result: Result<impl std::fmt::Debug, ConfigError>) -> String {
    result.unwrap_err().to_string()
}

fn value_and_origin(config: &Config, name: &str) -> (String, String) {
    let value = config.effective().iter().find(|value| value.name == name).unwrap();
    (value.value.clone().unwrap(), value.origin.to_string())
}

fn variable(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

#[test]
fn each_source_wins_over_those_before_it_whatever_the_order_of_the_calls() {
    const KEY: &str = "max.poll.records";
    let in_force = |sources: &ConfigSources| value_and_origin(&sources.build().unwrap(), KEY);
    let mut sources = with_broker();
    assert_eq!(in_force(&sources), ("500".into(), "default".into()));
    sources.properties_text("a.properties".into(), b"\nmax.poll.records=1").unwrap();
    assert_eq!(in_force(&sources), ("1".into(), "a.properties:2".into()));
    sources.properties_text("b.properties".into(), b"max.poll.records=2").unwrap();
    assert_eq!(in_force(&sources), ("2".into(), "b.properties:1".into()));

    let mut backwards = with_broker();
    backwards.set(KEY, "5").argument("max.poll.records=4").unwrap();
    backwards.environment([variable("MILLSTREAM_MAX_POLL_RECORDS", "3")]).unwrap();
    backwards.properties_text("a.properties".into(), b"max.poll.records=1").unwrap();
    assert_eq!(in_force(&backwards), ("5".into(), "set by the program".into()));

    let mut arguments = with_broker();
    arguments.argument("max.poll.records=4").unwrap();
    arguments.environment([variable("MILLSTREAM_MAX_POLL_RECORDS", "3")]).unwrap();
    assert_eq!(in_force(&arguments), ("4".into(), "-X".into()));

    sources.environment([variable("MILLSTREAM_MAX_POLL_RECORDS", "3")]).unwrap();
    assert_eq!(in_force(&sources), ("3".into(), "environment variable MILLSTREAM_MAX_POLL_RECORDS".into()));
}

#[test]
fn within_one_source_the_last_wins() {
    let config = file("group.id=a\ngroup.id=b").build().unwrap();
    assert_eq!(config.group_id.as_deref(), Some("b"));
}

#[test]
fn an_unknown_key_names_itself_its_line_and_the_nearest_known_key() {
    assert_eq!(
        message(file("client.id=x\ngruop.id=y").build()),
        "kafka.properties:2: unknown property \"gruop.id\"; did you mean group.id?"
    );
    assert_eq!(
        message(argument("nonsense=1")),
        "-X: unknown property \"nonsense\"; `millstream config` lists them all"
    );
    let unknown = ConfigSources::new().environment([variable("MILLSTREAM_GROUPID", "x")]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "environment variable MILLSTREAM_GROUPID: unknown property \"MILLSTREAM_GROUPID\"; did you mean MILLSTREAM_GROUP_ID?"
    );
}

#[test]
fn an_unknown_key_is_an_error_even_where_another_source_wins_everything() {
    let mut sources = file("gruop.id=y");
    sources.set("group.id", "x");
    assert!(matches!(sources.build(), Err(ConfigError::UnknownKey { .. })));
}

#[test]
fn a_bad_value_names_key_place_unit_and_range() {
    assert_eq!(
        message(file("\nsession.timeout.ms = 45s").build()),
        "kafka.properties:2: session.timeout.ms=45s: expected a whole number of ms from 1 to 2147483647"
    );
    assert_eq!(
        message(argument("queued.max.messages.kbytes=0")),
        "-X: queued.max.messages.kbytes=0: expected a whole number of KiB from 1024 to 1099511627776"
    );
    assert!(message(argument("cores=3-1")).contains("runs backwards"));
    assert_eq!(message(argument("check.crcs=maybe")), "-X: check.crcs=maybe: expected true or false");
}

#[test]
fn a_bad_value_that_another_source_overrides_does_no_harm() {
    let mut sources = file("max.poll.records=many\nsecurity.protocol=SSL");
    sources.argument("max.poll.records=7").unwrap();
    sources.argument("security.protocol=PLAINTEXT").unwrap();
    assert_eq!(sources.build().unwrap().max_poll_records, 7);
}

#[test]
fn what_is_known_and_not_supported_yet_says_so_without_its_secrets() {
    for key_value in [
        "security.protocol=SASL_SSL",
        "sasl.mechanism=PLAIN",
        "sasl.password=hunter2",
        "ssl.truststore.location=/x",
        "client.dns.lookup=resolve_canonical_bootstrap_servers_only",
        "socket.keepalive.enable=true",
    ] {
        let message = message(argument(key_value));
        assert!(message.contains("not supported yet"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let mut sources = ConfigSources::new();
    sources.set("sasl.password", "hunter2");
    assert!(!format!("{sources:?}").contains("hunter2"));
}

#[test]
fn what_has_no_effect_is_a_warning_with_its_reason() {
    let config = file("key.deserializer=x.y.Z\nstatistics.interval.ms=1000\nacks=all").build().unwrap();
    let warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 3);
    assert!(
        warnings.contains(
            &"kafka.properties:1: key.deserializer has no effect: handlers are Rust code and get bytes"
                .to_owned()
        )
    );
    assert!(argument("max.poll.records=1").unwrap().warnings().is_empty());
}

#[test]
fn librdkafkas_names_work_in_their_own_units() {
    let config = argument("queued.max.messages.kbytes=100000").unwrap();
    assert_eq!(config.memory_budget_bytes, 100_000 * 1024);
    assert_eq!(argument("fetch.wait.max.ms=7").unwrap().fetch_max_wait.as_millis(), 7);
    assert_eq!(argument("fetch.message.max.bytes=7").unwrap().max_partition_fetch_bytes, 7);
    assert_eq!(argument("socket.receive.buffer.bytes=0").unwrap().receive_buffer_bytes, None);
    assert_eq!(argument("socket.send.buffer.bytes=9999").unwrap().send_buffer_bytes, Some(9999));
    let never = argument("topic.metadata.refresh.interval.ms=-1").unwrap();
    assert_eq!(never.metadata_max_age.as_millis(), i32::MAX as u128);
    let mut sources = ConfigSources::new();
    sources.set("metadata.broker.list", "h");
    assert_eq!(sources.build().unwrap().bootstrap_servers[0].to_string(), "h:9092");
}

#[test]
fn two_names_of_one_property_in_one_source_must_agree() {
    assert_eq!(
        message(file("fetch.max.wait.ms=1\nfetch.wait.max.ms=2").build()),
        "kafka.properties:1: fetch.max.wait.ms=1, and kafka.properties:2: fetch.wait.max.ms=2: both name fetch.max.wait.ms; keep one"
    );
    assert!(file("fetch.max.wait.ms=2\nfetch.wait.max.ms=2").build().is_ok());
    let mut two_sources = file("fetch.max.wait.ms=1");
    two_sources.argument("fetch.wait.max.ms=2").unwrap();
    assert_eq!(two_sources.build().unwrap().fetch_max_wait.as_millis(), 2);
}

#[test]
fn the_environment_takes_our_variables_and_leaves_the_others_alone() {
    let mut sources = with_broker();
    let variables = [
        variable("MILLSTREAM_GROUP_ID", "g"),
        variable("MILLSTREAM_LOG_LEVEL", "7"),
        variable("MILLSTREAM_LOG", "debug"),
        variable("MILLSTREAM_TEST_KAFKA", "4.1"),
        variable("GROUP_ID", "other"),
    ];
    let config = sources.environment(variables).unwrap().build().unwrap();
    assert_eq!(config.group_id.as_deref(), Some("g"));
    assert_eq!(
        config.warnings().iter().map(|warning| warning.key.as_str()).collect::<Vec<_>>(),
        ["log_level"]
    );

    let password = with_broker().environment([variable("MILLSTREAM_SASL_PASSWORD", "x")]).unwrap().build();
    assert!(matches!(password, Err(ConfigError::NotYet { .. })));

    let not_utf8 = (OsString::from("MILLSTREAM_GROUP_ID"), OsString::from_vec(vec![0xff]));
    assert!(matches!(ConfigSources::new().environment([not_utf8]), Err(ConfigError::NotUtf8 { .. })));
}

#[test]
fn an_argument_without_key_or_equals_sign_is_refused() {
    for bad in ["group.id", "=x", " =x", ""] {
        assert!(
            matches!(ConfigSources::new().argument(bad), Err(ConfigError::NotKeyValue { .. })),
            "{bad:?}"
        );
    }
    assert_eq!(argument("client.id=a=b").unwrap().client_id, "a=b");
}

#[test]
fn files_are_read_with_their_limits_and_named_in_errors() {
    let folder = std::env::temp_dir().join(format!("millstream-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("kafka.properties");
    std::fs::write(&path, "group.id = from-file\n").unwrap();
    let mut sources = with_broker();
    assert_eq!(
        sources.properties_file(&path).unwrap().build().unwrap().group_id.as_deref(),
        Some("from-file")
    );

    std::fs::write(&path, "a=\\u12").unwrap();
    assert!(message(sources.properties_file(&path)).contains("kafka.properties:1: "));

    let mut large = File::create(&path).unwrap();
    large.write_all(&vec![b'#'; MAX_PROPERTIES_FILE_BYTES as usize + 1]).unwrap();
    assert!(matches!(sources.properties_file(&path), Err(ConfigError::FileTooLarge { .. })));

    std::fs::remove_dir_all(&folder).unwrap();
    assert!(message(sources.properties_file(&path)).contains("cannot read the properties file"));
}
