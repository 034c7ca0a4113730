//! The configuration: properties files, variables and arguments of any text, and any value of any property.
//!
//! Input: a byte that chooses among files, single settings and the environment, then their text.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use millstream::config::{
    Config, ConfigError, ConfigSources, ENVIRONMENT_PREFIX, PROPERTIES, Verdict, check,
};

use crate::input::Input;
use crate::memory::measure;

/// What a configuration may take of memory per byte of its text, and whatever its length is.
const MEMORY_PER_BYTE: usize = 512;
const MEMORY_BYTES: usize = 256 << 10;
/// Settings of one input; more say nothing new.
const SETTINGS_MAX: usize = 6;

/// Makes a configuration: it is complete and valid or an error that says what is wrong; what is in force can be set
/// again and gives the same; and `check` agrees with `build`.
pub fn configuration(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        0 => a_file(input.rest()),
        1 => settings(&mut input),
        _ => environment(&mut input),
    }
}

fn a_file(text: &[u8]) {
    let (built, taken) = measure(|| {
        let mut sources = ConfigSources::new();
        sources.set("bootstrap.servers", "localhost:9092");
        sources.properties_text(PathBuf::from("kafka.properties"), text)?.build()
    });
    let limit = MEMORY_BYTES + MEMORY_PER_BYTE * text.len();
    assert!(taken.peak_bytes <= limit, "{taken:?} for {} bytes", text.len());
    look_at(built);
}

fn settings(input: &mut Input<'_>) {
    let mut sources = ConfigSources::new();
    sources.set("bootstrap.servers", "localhost:9092");
    for _ in 0..SETTINGS_MAX {
        let Some(choice) = input.next() else { break };
        let property = &PROPERTIES[usize::from(choice) % PROPERTIES.len()];
        let name = match (choice >> 7, property.alias) {
            (1, Some(alias)) => alias.name.to_owned(),
            _ if property.is_family() => property.name.replace('*', &input.text()),
            _ => property.name.to_owned(),
        };
        let value = value(input);
        let verdict = check(&name, &value);
        agrees(&name, &value, &verdict);
        if matches!(verdict, Verdict::Used { .. }) {
            sources.set(name, value);
        } else if let Err(error) = sources.argument(&format!("{name}={value}")) {
            crate::says_something(&error);
        }
    }
    look_at(sources.build());
}

/// A number in one byte out of two: text alone rarely is one.
fn value(input: &mut Input<'_>) -> String {
    match input.byte() % 4 {
        0 => i64::from(input.byte()).to_string(),
        1 => input.i32().to_string(),
        _ => input.text(),
    }
}

fn environment(input: &mut Input<'_>) {
    let mut sources = ConfigSources::new();
    for _ in 0..SETTINGS_MAX {
        let Some(choice) = input.next() else { break };
        let property = &PROPERTIES[usize::from(choice) % PROPERTIES.len()];
        let mut name = format!("{ENVIRONMENT_PREFIX}{}", property.name.to_uppercase().replace('.', "_"));
        if choice >= 0xc0 {
            name = input.text();
        }
        let value = OsString::from_vec(input.bytes().to_vec());
        if let Err(error) = sources.environment([(OsString::from(name), value)]) {
            crate::says_something(&error);
        }
    }
    look_at(sources.build());
}

/// A single setting is judged alike by `check` and by `build`.
fn agrees(name: &str, value: &str, verdict: &Verdict) {
    let mut sources = ConfigSources::new();
    if name != "bootstrap.servers" && name != "metadata.broker.list" {
        sources.set("bootstrap.servers", "localhost:9092");
    }
    let built = sources.set(name, value).build();
    match verdict {
        // Alone it may be missing something that goes with it.
        Verdict::Used { .. } => assert!(
            !matches!(built, Err(ConfigError::BadValue { .. } | ConfigError::UnknownKey { .. })),
            "{name}={value}: {built:?}"
        ),
        Verdict::NoEffect { .. } => assert!(built.is_ok_and(|config| !config.warnings().is_empty())),
        Verdict::NotYet { .. } => assert!(matches!(built, Err(ConfigError::NotYet { .. })), "{name}={value}"),
        Verdict::BadValue { .. } => {
            assert!(matches!(built, Err(ConfigError::BadValue { .. })), "{name}={value}: {built:?}");
        }
        Verdict::Unknown { .. } => {
            assert!(matches!(built, Err(ConfigError::UnknownKey { .. })), "{name}={value}: {built:?}");
        }
        _ => {}
    }
}

fn look_at(built: Result<Config, ConfigError>) {
    let config = match built {
        Ok(config) => config,
        Err(error) => return crate::says_something(&error),
    };
    for warning in config.warnings() {
        assert!(!warning.to_string().is_empty());
    }
    assert!(config.most_shards() >= 1, "a valid configuration carries a shard");
    let memory = config.shard_memory(1).expect("and has memory for it");
    assert!((memory.fetch_bytes + memory.decompression_bytes) as u64 <= config.memory_budget_bytes);
    assert!(config.max_poll_records >= 1 && config.max_poll_bytes >= 1);
    assert!(config.retry_backoff <= config.retry_backoff_max);
    let mut again = ConfigSources::new();
    for effective in config.effective() {
        if let Some(value) = &effective.value {
            again.set(effective.name, value);
        }
    }
    let again = again.build().expect("what is in force can be set");
    for (one, other) in config.effective().iter().zip(again.effective()) {
        assert_eq!((one.name, &one.value), (other.name, &other.value));
    }
}
