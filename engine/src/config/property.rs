//! What a property is: name, kind, range, default, alias, and what Millstream does with it.

use super::table::PROPERTIES;

/// One row of [`PROPERTIES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property {
    /// Kafka's name, or ours where Kafka has none. A name that ends in `*` stands for all that begin so.
    pub name: &'static str,
    /// Kind, unit and range of the value.
    pub kind: Kind,
    /// The value where nobody sets one, as it would be written; `None` is "not set".
    pub default: Option<&'static str>,
    /// What it is, in one sentence or two.
    pub doc: &'static str,
    /// librdkafka's name, where it has another one.
    pub alias: Option<Alias>,
    /// What Millstream does with it.
    pub status: Status,
    /// Where our default is not that of Kafka's Java consumer: its value, and why ours differs.
    pub java_default: Option<JavaDefault>,
}

/// Another name of a property, with the unit that its values have there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alias {
    /// The other name.
    pub name: &'static str,
    /// How a value under the other name is to be read.
    pub conversion: Conversion,
}

/// How a value under an alias becomes a value of the property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conversion {
    /// Same unit, same meaning.
    Same,
    /// The alias counts in units of 1024 bytes.
    Kibibytes,
    /// `-1` under the alias means "never": the longest time of the property.
    MinusOneIsNever,
    /// `0` under the alias means "the system's default": `-1` of the property.
    ZeroIsSystemDefault,
}

/// The default of Kafka's Java consumer where ours is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct JavaDefault {
    /// As Java would write it.
    pub value: &'static str,
    /// Why ours differs.
    pub reason: &'static str,
}

/// What Millstream does with a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It does what its description says.
    Used,
    /// To set it is an error that says what is missing.
    NotYet(&'static str),
    /// To set it is a warning that says why it changes nothing.
    NoEffect(&'static str),
}

/// Kind, unit and range of a value. Ranges include both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Any text.
    Text,
    /// Any text but the empty one.
    Name,
    /// `true` or `false`.
    Bool,
    /// A whole number of what `unit` says.
    Integer {
        /// `ms`, `bytes` or `records`.
        unit: &'static str,
        /// The smallest allowed.
        min: i64,
        /// The largest allowed.
        max: i64,
    },
    /// One of some words, in any case.
    Choice(&'static [Choice]),
    /// A list of such words, parted by commas, the most wanted first.
    Choices(&'static [Choice]),
    /// One of some words, or `by_duration:` and a span of time as ISO 8601 writes it.
    OffsetReset(&'static [Choice]),
    /// A list of `host:port`, parted by commas.
    Servers,
    /// `auto`, or a list of core ids such as `0-3,6`.
    Cores,
}

/// One word that a [`Kind::Choice`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Choice {
    /// The word as Kafka writes it. One that ends in `:` stands for all that begin so.
    pub word: &'static str,
    /// Words that mean the same.
    pub synonyms: &'static [&'static str],
    /// Why it is not supported yet, where it is not.
    pub not_yet: Option<&'static str>,
}

impl Choice {
    /// True where `text` is this choice's word or one of its synonyms, in any case.
    pub(super) fn matches(&self, text: &str) -> bool {
        let begins = self.word.ends_with(':')
            && text.get(..self.word.len()).is_some_and(|start| start.eq_ignore_ascii_case(self.word));
        begins
            || self.word.eq_ignore_ascii_case(text)
            || self.synonyms.iter().any(|synonym| synonym.eq_ignore_ascii_case(text))
    }
}

impl Property {
    /// The property of this name or alias, and how its values are to be read under that name.
    pub fn find(name: &str) -> Option<(&'static Property, Conversion)> {
        PROPERTIES.iter().find_map(|property| {
            if property.covers(name) {
                return Some((property, Conversion::Same));
            }
            let alias = property.alias.filter(|alias| alias.name == name)?;
            Some((property, alias.conversion))
        })
    }

    /// True for names that stand for many (`ssl.*`).
    pub fn is_family(&self) -> bool {
        self.name.ends_with('*')
    }

    /// Its unit, or the empty text where it has none.
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Integer { unit, .. } => unit,
            _ => "",
        }
    }

    fn covers(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(start) => name.len() > start.len() && name.starts_with(start),
            None => self.name == name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_aliases_and_families_are_found() {
        let found = |name| Property::find(name).map(|(property, conversion)| (property.name, conversion));
        assert_eq!(found("fetch.max.wait.ms"), Some(("fetch.max.wait.ms", Conversion::Same)));
        assert_eq!(found("fetch.wait.max.ms"), Some(("fetch.max.wait.ms", Conversion::Same)));
        assert_eq!(found("queued.max.messages.kbytes"), Some(("memory.budget.bytes", Conversion::Kibibytes)));
        assert_eq!(found("ssl.truststore.location"), Some(("ssl.*", Conversion::Same)));
        assert_eq!(found("ssl."), None);
        assert_eq!(found("Group.Id"), None);
    }
}
