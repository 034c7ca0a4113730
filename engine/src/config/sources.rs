//! Collecting settings from all sources, and resolving them to one value per property.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::ConfigError;
use super::nearest::nearest;
use super::origin::Origin;
use super::properties_file;
use super::property::{Conversion, Property};
use super::table::PROPERTIES;
use super::typed::Config;
use super::values::Values;

/// A properties file larger than this is refused.
pub const MAX_PROPERTIES_FILE_BYTES: u64 = 1 << 20;

/// Environment variables of ours begin so: `MILLSTREAM_GROUP_ID` is `group.id`.
pub const ENVIRONMENT_PREFIX: &str = "MILLSTREAM_";

/// The one variable of ours that is no property: the filter of the command line's logs.
const LOG_VARIABLE: &str = "MILLSTREAM_LOG";
/// Variables that begin so steer tests and their Kafka, and are no properties.
const TEST_PREFIXES: [&str; 2] = ["MILLSTREAM_TEST_", "MILLSTREAM_KAFKA_"];

/// Settings from all sources, not yet looked at. [`build`](Self::build) makes a [`Config`] of them.
///
/// A later kind of source wins over an earlier one, whatever the order of the calls: defaults, properties
/// files (a later file wins), the environment, `-X`, the program itself. Within one source the last wins.
///
/// ```
/// use millstream::config::ConfigSources;
///
/// let mut sources = ConfigSources::new();
/// sources.argument("fetch.wait.max.ms=10")?;
/// sources.set("bootstrap.servers", "localhost:9092");
/// let config = sources.build()?;
/// assert_eq!(config.fetch_max_wait.as_millis(), 10);
/// # Ok::<_, millstream::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct ConfigSources {
    settings: Vec<Setting>,
}

/// One `name = value` and where it was written.
#[derive(Clone)]
#[non_exhaustive]
pub struct Setting {
    /// The name as it was written.
    pub name: String,
    /// The value as it was written; it may be a password.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

/// By hand, because a value may be a password.
impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting")
            .field("name", &self.name)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl ConfigSources {
    /// No settings: every property has its default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the settings of a file in the syntax of Java's `.properties`, in UTF-8.
    ///
    /// # Errors
    /// [`ConfigError::File`], [`ConfigError::FileTooLarge`], [`ConfigError::Syntax`]. Names and values are
    /// looked at by [`build`](Self::build).
    pub fn properties_file(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, ConfigError> {
        let path = path.as_ref();
        let bytes = read_limited(path)?;
        self.properties_text(path.to_owned(), &bytes)
    }

    /// Adds settings in that syntax from bytes that came from elsewhere; `path` names them in errors.
    ///
    /// # Errors
    /// [`ConfigError::Syntax`].
    pub fn properties_text(&mut self, path: PathBuf, bytes: &[u8]) -> Result<&mut Self, ConfigError> {
        let path = Arc::new(path);
        let entries = properties_file::parse(bytes).map_err(|error| ConfigError::Syntax {
            path: path.as_ref().clone(),
            line: error.line,
            problem: error.problem,
        })?;
        self.settings.extend(entries.into_iter().map(|entry| Setting {
            name: entry.key,
            value: entry.value,
            origin: Origin::File { path: Arc::clone(&path), line: entry.line },
        }));
        Ok(self)
    }

    /// Adds the variables that begin with [`ENVIRONMENT_PREFIX`]; pass [`std::env::vars_os`]. The rest of the
    /// name is the property's in upper case with `_` for `.`; variables of other names are left alone.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`] for a variable of ours that names no property, [`ConfigError::NotUtf8`].
    pub fn environment(
        &mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<&mut Self, ConfigError> {
        for (variable, value) in variables {
            let variable = variable.to_string_lossy().into_owned();
            let Some(shouted) = variable.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            if variable == LOG_VARIABLE || TEST_PREFIXES.iter().any(|prefix| variable.starts_with(prefix)) {
                continue;
            }
            let origin = Origin::Environment { variable: variable.clone() };
            let Some(name) = name_of_variable(shouted) else {
                let nearest = nearest(&shouted.to_lowercase(), known_names()).map(variable_of_name);
                return Err(ConfigError::UnknownKey { key: variable, origin, nearest });
            };
            let value = value.into_string().map_err(|_| ConfigError::NotUtf8 { variable })?;
            self.settings.push(Setting { name, value, origin });
        }
        Ok(self)
    }

    /// Adds one `key=value` of the command line's `-X`.
    ///
    /// # Errors
    /// [`ConfigError::NotKeyValue`].
    pub fn argument(&mut self, key_value: &str) -> Result<&mut Self, ConfigError> {
        let Some((name, value)) = key_value.split_once('=').filter(|(name, _)| !name.trim().is_empty())
        else {
            return Err(ConfigError::NotKeyValue { argument: key_value.to_owned() });
        };
        self.settings.push(Setting {
            name: name.trim().to_owned(),
            value: value.to_owned(),
            origin: Origin::Argument,
        });
        Ok(self)
    }

    /// Sets a property from the program itself, which wins over every other source.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.settings.push(Setting { name: name.into(), value: value.into(), origin: Origin::Builder });
        self
    }

    /// Every setting so far, in the order in which it was added; one that another wins over, too.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Looks at every setting and makes the configuration.
    ///
    /// # Errors
    /// The first [`ConfigError`] met: an unknown name in any source, a value that wins and is out of range or
    /// not supported yet, a property without default that is not set, values that do not go together.
    pub fn build(&self) -> Result<Config, ConfigError> {
        Config::from_values(self.resolve()?)
    }

    fn resolve(&self) -> Result<Values, ConfigError> {
        let mut ordered: Vec<&Setting> = self.settings.iter().collect();
        ordered.sort_by_key(|setting| setting.origin.level());
        let mut winners: BTreeMap<&str, (&Setting, &'static Property, Conversion)> = BTreeMap::new();
        for setting in ordered {
            let (property, conversion) = lookup(setting)?;
            let key = if property.is_family() { setting.name.as_str() } else { property.name };
            if let Some((earlier, ..)) = winners.insert(key, (setting, property, conversion)) {
                refuse_two_names(property, earlier, setting)?;
            }
        }
        let mut values = Values::defaults();
        for (setting, property, conversion) in winners.into_values() {
            values.take(setting, property, conversion)?;
        }
        Ok(values)
    }
}

fn lookup(setting: &Setting) -> Result<(&'static Property, Conversion), ConfigError> {
    Property::find(&setting.name).ok_or_else(|| ConfigError::UnknownKey {
        key: setting.name.clone(),
        origin: setting.origin.clone(),
        nearest: nearest_name(&setting.name).map(str::to_owned),
    })
}

/// The known name or alias that is most like this one, if one is.
pub(super) fn nearest_name(name: &str) -> Option<&'static str> {
    nearest(name, known_names())
}

/// In one source, two names of one property with two values are a mistake, not a matter of order.
fn refuse_two_names(property: &Property, earlier: &Setting, later: &Setting) -> Result<(), ConfigError> {
    let clash = earlier.name != later.name
        && earlier.value.trim() != later.value.trim()
        && earlier.origin.same_source(&later.origin);
    if !clash {
        return Ok(());
    }
    Err(ConfigError::Conflict {
        key: property.name,
        first: format!("{}={}", earlier.name, earlier.value.trim()),
        first_origin: earlier.origin.clone(),
        second: format!("{}={}", later.name, later.value.trim()),
        second_origin: later.origin.clone(),
    })
}

fn known_names() -> impl Iterator<Item = &'static str> {
    PROPERTIES
        .iter()
        .filter(|property| !property.is_family())
        .flat_map(|property| [Some(property.name), property.alias.map(|alias| alias.name)])
        .flatten()
}

fn variable_of_name(name: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", name.to_uppercase().replace('.', "_"))
}

/// Some names hold a `_` of their own (`log_level`), so names are turned into variables and compared.
fn name_of_variable(shouted: &str) -> Option<String> {
    let name = known_names().find(|name| name.to_uppercase().replace('.', "_") == shouted);
    name.map(str::to_owned).or_else(|| {
        let spoken = shouted.to_lowercase().replace('_', ".");
        Property::find(&spoken).is_some_and(|(property, _)| property.is_family()).then_some(spoken)
    })
}

fn read_limited(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed =
        |source: std::io::Error| ConfigError::File { path: path.to_owned(), source: Arc::new(source) };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_PROPERTIES_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_PROPERTIES_FILE_BYTES {
        return Err(ConfigError::FileTooLarge {
            path: path.to_owned(),
            limit_bytes: MAX_PROPERTIES_FILE_BYTES,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
