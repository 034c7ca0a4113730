//! One value per property, after all sources, and readers for each kind.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ConfigWarning;
use super::error::ConfigError;
use super::origin::Origin;
use super::property::{Conversion, Property, Status};
use super::sources::Setting;
use super::table::PROPERTIES;
use super::value::{Refusal, Value, expected};

/// One value per property that has one, each with its origin, and what to warn of.
#[derive(Debug, Default)]
pub(super) struct Values {
    by_name: BTreeMap<&'static str, (Value, Origin)>,
    pub(super) warnings: Vec<ConfigWarning>,
}

impl Values {
    /// The table's defaults.
    pub(super) fn defaults() -> Self {
        let mut values = Self::default();
        for property in PROPERTIES {
            let Some(text) = property.default else { continue };
            let value = Value::parse(property.kind, Conversion::Same, text)
                .unwrap_or_else(|_| panic!("the table's default of {} is valid", property.name));
            values.by_name.insert(property.name, (value, Origin::Default));
        }
        values
    }

    /// Lets a setting that won take effect: as a value, a warning, or an error.
    pub(super) fn take(
        &mut self,
        setting: &Setting,
        property: &'static Property,
        conversion: Conversion,
    ) -> Result<(), ConfigError> {
        let origin = setting.origin.clone();
        if let Status::NotYet(reason) = property.status {
            let (setting, reason) = (setting.name.clone(), reason.to_owned());
            return Err(ConfigError::NotYet { setting, origin, reason });
        }
        let value =
            Value::parse(property.kind, conversion, &setting.value).map_err(|refusal| match refusal {
                Refusal::NotYet(reason) => ConfigError::NotYet {
                    setting: format!("{}={}", setting.name, setting.value.trim()),
                    origin: origin.clone(),
                    reason: reason.to_owned(),
                },
                Refusal::Bad(detail) => ConfigError::BadValue {
                    key: setting.name.clone(),
                    value: setting.value.clone(),
                    origin: origin.clone(),
                    expected: expected(property.kind, conversion),
                    detail,
                },
            })?;
        match property.status {
            Status::NoEffect(reason) => self.warnings.push(ConfigWarning {
                key: setting.name.clone(),
                origin,
                message: format!("has no effect: {reason}"),
            }),
            _ => {
                self.by_name.insert(property.name, (value, origin));
            }
        }
        Ok(())
    }

    /// The value of a property, if it has one.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.by_name.get(name).map(|(value, _)| value)
    }

    /// Where a property's value is from; a property without one has its (absent) default.
    pub(super) fn origin(&self, name: &str) -> Origin {
        self.by_name.get(name).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// A first value and the one it grows to. Where only the first is set and is above the other's default, it
    /// does not grow; where both are set they must be in order.
    pub(super) fn growing(
        &mut self,
        first: &'static str,
        most: &'static str,
    ) -> Result<(Duration, Duration), ConfigError> {
        let (base, limit) = (self.millis(first), self.millis(most));
        if base <= limit {
            return Ok((base, limit));
        }
        if self.origin(most) == Origin::Default {
            self.raise(most, first);
            return Ok((base, base));
        }
        Err(ConfigError::Inconsistent {
            problem: format!("{first}={} must not be above {most}={}", base.as_millis(), limit.as_millis()),
            left_key: first,
            left_origin: self.origin(first),
            right_key: most,
            right_origin: self.origin(most),
        })
    }

    /// Gives a limit that nobody set the value of what grows up to it.
    fn raise(&mut self, limit: &'static str, to: &'static str) {
        if let Some(entry) = self.by_name.get(to).cloned() {
            self.by_name.insert(limit, entry);
        }
    }

    /// A text, if there is one.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    // The kind and the default in the table's row are the invariant behind the readers below: a test reads
    // every one of them from the defaults.

    /// The word of a choice that has a default.
    pub(super) fn word(&self, name: &str) -> &'static str {
        match self.value(name) {
            Some(Value::Word(word)) => word,
            _ => unreachable!("the table has {name} as a word with a default"),
        }
    }

    /// A truth value that has a default.
    pub(super) fn boolean(&self, name: &str) -> bool {
        match self.value(name) {
            Some(&Value::Bool(value)) => value,
            _ => unreachable!("the table has {name} as true or false with a default"),
        }
    }

    /// A number that has a default.
    pub(super) fn integer(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(&Value::Integer(value)) => value,
            _ => unreachable!("the table has {name} as a number with a default"),
        }
    }

    /// A time; a negative one, which means "never", is zero.
    pub(super) fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(u64::try_from(self.integer(name)).unwrap_or(0))
    }

    /// A size or a count of a property whose range has no negative numbers.
    pub(super) fn size(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).unwrap_or(0)
    }

    /// A size; `None` for -1, which leaves it to the system.
    pub(super) fn system_or_size(&self, name: &str) -> Option<usize> {
        usize::try_from(self.integer(name)).ok()
    }
}
