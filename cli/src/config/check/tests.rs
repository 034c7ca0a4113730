//! Each client's properties, sorted.

use super::*;

fn checked(text: &str) -> Checked {
    Checked::of("pasted".into(), text).unwrap()
}

/// The text of one property's line, with its group.
fn said(text: &str) -> (Group, String) {
    let checked = checked(text);
    assert_eq!(checked.properties.len(), 1, "{checked:?}");
    (checked.properties[0].group, checked.properties[0].said())
}

#[test]
fn java_properties_are_sorted_into_all_groups() {
    let checked = checked(
        "bootstrap.servers=broker:9092\n\
         key.deserializer=org.apache.kafka.common.serialization.StringDeserializer\n\
         client.dns.lookup=resolve_canonical_bootstrap_servers_only\n\
         fetch.min.bytes=1k\n\
         fetch.mn.bytes=1\n",
    );
    assert_eq!(
        checked.text(),
        "used:\n  line 1: bootstrap.servers = broker:9092\n\
         no effect:\n  line 2: key.deserializer: handlers are Rust code and get bytes\n\
         not yet:\n  line 3: client.dns.lookup: use use_all_dns_ips\n\
         bad value:\n  line 4: fetch.min.bytes: expected a whole number of bytes from 0 to 2147483647\n\
         unknown:\n  line 5: fetch.mn.bytes: did you mean fetch.min.bytes?\n"
    );
    assert_eq!(checked.refused(), 3);
}

#[test]
fn librdkafkas_names_are_told_with_the_property_they_are_and_its_unit() {
    assert_eq!(
        said("queued.max.messages.kbytes=65536"),
        (Group::Used, "queued.max.messages.kbytes is memory.budget.bytes = 67108864 bytes".into())
    );
    assert_eq!(
        said("queued.min.messages=100000"),
        (
            Group::NoEffect,
            "queued.min.messages: memory.budget.bytes alone decides how much is fetched ahead".into()
        )
    );
}

#[test]
fn springs_names_are_read_in_each_spelling_with_its_units() {
    for name in ["fetch-max-wait", "fetchMaxWait", "fetch_max_wait", "FETCH-MAX-WAIT"] {
        let (group, said) = said(&format!("spring.kafka.consumer.{name}=1s"));
        assert_eq!(group, Group::Used, "{said}");
        assert!(said.ends_with(" is fetch.max.wait.ms = 1000 ms"), "{said}");
    }
    for (text, group) in [
        ("spring.kafka.bootstrap-servers=a:1,b:2", Group::Used),
        ("spring.kafka.consumer.isolation-level=read-committed", Group::Used),
        ("spring.kafka.consumer.properties.fetch.max.bytes=7", Group::Used),
        ("spring.kafka.properties[session.timeout.ms]=10000", Group::Used),
        ("spring.kafka.consumer.value-deserializer=x.Y", Group::NoEffect),
        ("spring.kafka.listener.concurrency=3", Group::NoEffect),
        ("spring.application.name=orders", Group::NoEffect),
        ("spring.kafka.producer.acks=all", Group::NoEffect),
        ("spring.kafka.ssl.key-store-password=secret", Group::NotYet),
        ("spring.kafka.properties.sasl.jaas.config=secret", Group::NotYet),
        ("spring.kafka.consumer.fetch-max-wait=soon", Group::BadValue),
        ("spring.kafka.consumer.no-such-thing=1", Group::Unknown),
    ] {
        assert_eq!(said(text).0, group, "{text}");
    }
}

#[test]
fn springs_yaml_is_read_with_its_lines() {
    let checked = checked(
        "spring:\n  kafka:\n    consumer:\n      fetch-max-wait: 1s\n    listener:\n      type: batch\n",
    );
    assert_eq!(
        checked.text(),
        "used:\n  line 4: spring.kafka.consumer.fetch-max-wait is fetch.max.wait.ms = 1000 ms\n\
         no effect:\n  line 6: spring.kafka.listener.type: a handler always gets batches\n"
    );
}

#[test]
fn go_code_for_sarama_and_franz_go_is_read() {
    for (text, expected) in [
        (
            "config.Consumer.MaxWaitTime = 250 * time.Millisecond",
            "config.Consumer.MaxWaitTime is fetch.max.wait.ms = 250 ms",
        ),
        (
            "Consumer.Offsets.Initial = sarama.OffsetOldest",
            "Consumer.Offsets.Initial is auto.offset.reset = earliest",
        ),
        ("cfg.ClientID = \"risk\"", "cfg.ClientID is client.id = risk"),
        ("kgo.SeedBrokers(\"a:9092\", \"b:9092\"),", "kgo.SeedBrokers is bootstrap.servers = a:9092,b:9092"),
        (
            "  kgo.Balancers(kgo.RoundRobinBalancer(), kgo.RangeBalancer()), // ours",
            "kgo.Balancers is partition.assignment.strategy = roundrobin,range",
        ),
        ("kgo.DisableAutoCommit(),", "kgo.DisableAutoCommit is enable.auto.commit = false"),
        (
            "kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),",
            "kgo.ConsumeResetOffset is auto.offset.reset = earliest",
        ),
    ] {
        assert_eq!(said(text), (Group::Used, expected.into()));
    }
    for (text, group) in [
        ("config.Net.SASL.Password = \"secret\"", Group::NotYet),
        ("config.Consumer.Group.Rebalance.Strategy = sarama.NewBalanceStrategySticky()", Group::Used),
        ("config.Producer.Return.Successes = true", Group::NoEffect),
        ("config.Consumer.Fetch.Mim = 1", Group::Unknown),
        ("kgo.ConsumeRegex(),", Group::NoEffect),
        ("kgo.ConsumeExcludeTopics(\"audit\"),", Group::NotYet),
        ("kgo.ProducerLinger(time.Second),", Group::NoEffect),
        ("kgo.SessionTimeout(timeout),", Group::BadValue),
        ("kgo.NoSuchOption(),", Group::Unknown),
    ] {
        assert_eq!(said(text).0, group, "{text}");
    }
}

#[test]
fn no_value_that_may_be_a_secret_is_repeated() {
    let checked =
        checked("sasl.jaas.config=hunter2\npassword=hunter2\nspring.kafka.jaas.options.password=hunter2\n");
    assert!(!checked.text().contains("hunter2") && !checked.json().contains("hunter2"));
}

#[test]
fn of_one_name_the_last_value_wins_and_two_names_with_two_values_are_refused_as_by_the_engine() {
    let checked = checked("fetch.max.wait.ms=1\nfetch.max.wait.ms=2\n");
    assert_eq!(checked.properties[0].said(), "fetch.max.wait.ms = 1 ms: line 2 wins");
    assert_eq!(checked.refused(), 0);
    for (value, refused) in [("1", 0), ("2", 1)] {
        let text = format!("fetch.max.wait.ms=1\nfetch.wait.max.ms={value}\nbootstrap.servers=k:1\n");
        assert_eq!(self::checked(&text).refused(), refused, "{text}");
        let mut sources = ConfigSources::new();
        let built = sources.properties_text("pasted".into(), text.as_bytes()).unwrap().build();
        assert_eq!(built.is_err(), refused == 1, "{text}");
    }
}

#[test]
fn what_spring_says_for_consumers_wins_over_what_it_says_for_all() {
    let (all, consumer) = ("spring.kafka.client-id=all\n", "spring.kafka.consumer.client-id=mine\n");
    for (text, loser) in [([all, consumer].concat(), 0), ([consumer, all].concat(), 1)] {
        let checked = checked(&text);
        assert_eq!(checked.refused(), 0, "{text}");
        assert_eq!(checked.properties[loser].name, "spring.kafka.client-id");
        assert!(checked.properties[loser].note.ends_with(" wins"), "{checked:?}");
        assert_eq!(checked.properties[1 - loser].note, "", "{checked:?}");
    }
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let checked = checked("session.timeout.ms=1000\nheartbeat.interval.ms=3000\n");
    assert_eq!(checked.refused(), 1);
    assert!(checked.together[0].contains("heartbeat.interval.ms"), "{checked:?}");
}

#[test]
fn json_has_what_the_text_says() {
    let json: serde_json::Value = serde_json::from_str(&checked("fetch.wait.max.ms=7").json()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"file": "pasted", "properties": [{
            "line": 1, "name": "fetch.wait.max.ms", "group": "used",
            "property": "fetch.max.wait.ms", "value": "7", "unit": "ms",
        }]})
    );
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    assert!(!checked("a\\u001b[2J=1").text().contains('\u{1b}'));
}
