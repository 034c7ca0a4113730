//! What one setting would do, without making a configuration of it.

use super::property::{Property, Status};
use super::sources::nearest_name;
use super::value::{Refusal, Value, expected};

/// What Millstream makes of one name and value; see [`check`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It takes effect.
    Used {
        /// The property, also where another of its names was written.
        property: &'static Property,
        /// The value in the property's own unit.
        value: String,
    },
    /// It is known and changes nothing.
    NoEffect {
        /// Why.
        reason: &'static str,
    },
    /// Kafka or librdkafka has this property or value; Millstream does not do it yet.
    NotYet {
        /// What Millstream does today.
        reason: &'static str,
    },
    /// The property is used, but the value is not of its kind or out of its range.
    BadValue {
        /// Kind, unit and range.
        expected: String,
        /// What is wrong in particular, where there is more to say.
        detail: Option<String>,
    },
    /// No property has this name.
    Unknown {
        /// The known name that is most like it, if one is.
        nearest: Option<&'static str>,
    },
}

/// Says what setting `name` to `value` would do, each setting by itself.
///
/// Whether values go together is found out by [`ConfigSources::build`](super::ConfigSources::build) only.
///
/// ```
/// use millstream::config::{Verdict, check};
///
/// let Verdict::Used { property, value } = check("queued.max.messages.kbytes", "65536") else { panic!() };
/// assert_eq!((property.name, value.as_str()), ("memory.budget.bytes", "67108864"));
/// assert!(matches!(check("sasl.mechanism", "PLAIN"), Verdict::NotYet { .. }));
/// assert_eq!(check("gruop.id", "g"), Verdict::Unknown { nearest: Some("group.id") });
/// ```
pub fn check(name: &str, value: &str) -> Verdict {
    let Some((property, conversion)) = Property::find(name) else {
        return Verdict::Unknown { nearest: nearest_name(name) };
    };
    if let Status::NotYet(reason) = property.status {
        return Verdict::NotYet { reason };
    }
    match (Value::parse(property.kind, conversion, value), property.status) {
        (Err(Refusal::NotYet(reason)), _) => Verdict::NotYet { reason },
        (Err(Refusal::Bad(detail)), _) => {
            Verdict::BadValue { expected: expected(property.kind, conversion), detail }
        }
        (Ok(_), Status::NoEffect(reason)) => Verdict::NoEffect { reason },
        (Ok(value), _) => Verdict::Used { property, value: value.text() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, ConfigSources};

    /// What making a configuration says of the same setting.
    fn built(name: &str, value: &str) -> Result<usize, ConfigError> {
        let mut sources = ConfigSources::new();
        sources.set("bootstrap.servers", "localhost:9092").set(name, value);
        sources.build().map(|config| config.warnings().len())
    }

    #[test]
    fn a_verdict_agrees_with_what_making_a_configuration_says() {
        for (name, value) in [
            ("fetch.wait.max.ms", "10"),
            ("fetch.wait.max.ms", "ten"),
            ("queued.min.messages", "100000"),
            ("enable.auto.offset.store", "false"),
            ("group.protocol", "consumer"),
            ("sasl.jaas.config", "secret"),
            ("no.such.property", "1"),
        ] {
            let (verdict, built) = (check(name, value), built(name, value));
            let agrees = match &verdict {
                Verdict::Used { .. } => matches!(built, Ok(0)),
                Verdict::NoEffect { .. } => matches!(built, Ok(1)),
                Verdict::NotYet { .. } => matches!(built, Err(ConfigError::NotYet { .. })),
                Verdict::BadValue { .. } => matches!(built, Err(ConfigError::BadValue { .. })),
                Verdict::Unknown { .. } => matches!(built, Err(ConfigError::UnknownKey { .. })),
            };
            assert!(agrees, "{name}={value}: {verdict:?}, {built:?}");
        }
    }
}
