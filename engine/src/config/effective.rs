//! Every value in force, for `millstream config` and `--dry-run`.

use super::origin::Origin;
use super::property::Status;
use super::table::PROPERTIES;
use super::values::Values;

/// One property with the value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EffectiveValue {
    /// The property's own name, also where it was set under an alias.
    pub name: &'static str,
    /// The value in the property's own unit; `None` where it has no default and nobody set it.
    pub value: Option<String>,
    /// Where the value is from.
    pub origin: Origin,
    /// Its unit, or the empty text.
    pub unit: &'static str,
    /// What it is.
    pub doc: &'static str,
}

impl EffectiveValue {
    pub(super) fn all(values: &Values) -> Vec<Self> {
        let used = PROPERTIES.iter().filter(|property| property.status == Status::Used);
        used.map(|property| Self {
            name: property.name,
            value: values.value(property.name).map(|value| value.text()),
            origin: values.origin(property.name),
            unit: property.unit(),
            doc: property.doc,
        })
        .collect()
    }
}
