//! A value's text, read as its property's kind.

use millstream_tuning::CoresSetting;

use super::bootstrap::{self, HostPort};
use super::duration;
use super::property::{Choice, Conversion, Kind};
use super::typed::OffsetReset;

/// Kafka writes strings with a 16-bit length.
const MAX_TEXT_BYTES: usize = i16::MAX as usize;

/// What a reset by a span of time begins with.
const BY_DURATION: &str = "by_duration:";

/// A value of the right kind and in its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Bool(bool),
    Integer(i64),
    Word(&'static str),
    Words(Vec<&'static str>),
    Reset(OffsetReset),
    Servers(Vec<HostPort>),
    Cores(CoresSetting),
}

/// Why a text is no value of its property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not of the kind, or out of range; with what is wrong in particular.
    Bad(Option<String>),
    /// A value that Kafka or librdkafka has and Millstream has not yet.
    NotYet(&'static str),
}

impl Value {
    /// Reads `text` (blanks around it do not count) as a value of `kind`.
    pub(super) fn parse(kind: Kind, conversion: Conversion, text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        match kind {
            Kind::Text | Kind::Name if text.len() > MAX_TEXT_BYTES => {
                Err(Refusal::Bad(Some(format!("longer than {MAX_TEXT_BYTES} bytes"))))
            }
            Kind::Name if text.is_empty() => Err(Refusal::Bad(None)),
            Kind::Text | Kind::Name => Ok(Self::Text(text.to_owned())),
            Kind::Bool => match text.to_ascii_lowercase().as_str() {
                "true" => Ok(Self::Bool(true)),
                "false" => Ok(Self::Bool(false)),
                _ => Err(Refusal::Bad(None)),
            },
            Kind::Integer { min, max, .. } => integer(text, conversion, min, max).map(Self::Integer),
            Kind::Choice(choices) => choose(choices, text).map(Self::Word),
            Kind::Choices(choices) => words(choices, text).map(Self::Words),
            Kind::OffsetReset(choices) => offset_reset(choices, text).map(Self::Reset),
            Kind::Servers => {
                bootstrap::parse(text).map(Self::Servers).map_err(|problem| Refusal::Bad(Some(problem)))
            }
            Kind::Cores => {
                text.parse().map(Self::Cores).map_err(|error| Refusal::Bad(Some(format!("{error}"))))
            }
        }
    }

    /// The value as it would be written under the property's own name.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Word(word) => (*word).to_owned(),
            Self::Words(words) => words.join(","),
            Self::Reset(OffsetReset::Earliest) => "earliest".to_owned(),
            Self::Reset(OffsetReset::Latest) => "latest".to_owned(),
            Self::Reset(OffsetReset::None) => "none".to_owned(),
            Self::Reset(OffsetReset::ByDuration(back)) => format!("{BY_DURATION}{}", duration::text(*back)),
            Self::Servers(servers) => servers.iter().map(HostPort::to_string).collect::<Vec<_>>().join(","),
            Self::Cores(cores) => cores.to_string(),
        }
    }
}

/// What a property takes under a name with this conversion, for people.
pub(super) fn expected(kind: Kind, conversion: Conversion) -> String {
    match kind {
        Kind::Text => format!("a text of at most {MAX_TEXT_BYTES} bytes"),
        Kind::Name => "a text that is not empty".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Integer { unit, min, max } => match conversion {
            Conversion::Same => format!("a whole number of {unit} from {min} to {max}"),
            Conversion::Kibibytes => {
                format!("a whole number of KiB from {} to {}", (min + KIB - 1) / KIB, max / KIB)
            }
            Conversion::MinusOneIsNever => {
                format!("a whole number of {unit} from {min} to {max}, or -1 for never")
            }
            Conversion::ZeroIsSystemDefault => {
                format!("a whole number of {unit} from 1 to {max}, or 0 for the system's default")
            }
        },
        Kind::Choice(choices) => format!("one of {}", supported(choices)),
        Kind::Choices(choices) => format!("a list of {}, parted by commas", supported(choices)),
        Kind::OffsetReset(choices) => {
            format!("one of {}, or {BY_DURATION} and a time such as PT1H or P7D", supported(choices))
        }
        Kind::Servers => "a list of host:port, parted by commas".to_owned(),
        Kind::Cores => "auto or a list of core ids such as 0-3,6".to_owned(),
    }
}

const KIB: i64 = 1024;

fn integer(text: &str, conversion: Conversion, min: i64, max: i64) -> Result<i64, Refusal> {
    let number: i64 = text.parse().map_err(|_| Refusal::Bad(None))?;
    let number = match (conversion, number) {
        (Conversion::Kibibytes, kib) => kib.checked_mul(KIB).ok_or(Refusal::Bad(None))?,
        (Conversion::MinusOneIsNever, -1) => max,
        (Conversion::ZeroIsSystemDefault, 0) => -1,
        // The other name's "system's default" is 0, so its -1 means nothing.
        (Conversion::ZeroIsSystemDefault, -1) => return Err(Refusal::Bad(None)),
        (_, number) => number,
    };
    if (min..=max).contains(&number) { Ok(number) } else { Err(Refusal::Bad(None)) }
}

fn choose(choices: &'static [Choice], text: &str) -> Result<&'static str, Refusal> {
    let choice = choices.iter().find(|choice| choice.matches(text)).ok_or(Refusal::Bad(None))?;
    choice.not_yet.map_or(Ok(choice.word), |reason| Err(Refusal::NotYet(reason)))
}

fn offset_reset(choices: &'static [Choice], text: &str) -> Result<OffsetReset, Refusal> {
    let begins = text.get(..BY_DURATION.len()).is_some_and(|start| start.eq_ignore_ascii_case(BY_DURATION));
    if begins {
        let back = duration::parse(&text[BY_DURATION.len()..]).map_err(|why| Refusal::Bad(Some(why)))?;
        return Ok(OffsetReset::ByDuration(back));
    }
    // The table admits no other words, so that the last arm stands for one word.
    Ok(match choose(choices, text)? {
        "earliest" => OffsetReset::Earliest,
        "latest" => OffsetReset::Latest,
        _ => OffsetReset::None,
    })
}

fn words(choices: &'static [Choice], text: &str) -> Result<Vec<&'static str>, Refusal> {
    let mut words = Vec::new();
    for part in text.split(',') {
        let part = part.trim();
        let word = choose(choices, part).map_err(|refusal| match refusal {
            Refusal::Bad(_) => Refusal::Bad(Some(format!("{part:?} is none of them"))),
            not_yet => not_yet,
        })?;
        if words.contains(&word) {
            return Err(Refusal::Bad(Some(format!("{word} comes twice"))));
        }
        words.push(word);
    }
    Ok(words)
}

fn supported(choices: &[Choice]) -> String {
    let words: Vec<_> =
        choices.iter().filter(|choice| choice.not_yet.is_none()).map(|choice| choice.word).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Kind = Kind::Integer { unit: "ms", min: 1, max: 100 };
    const CHOICES: &[Choice] = &[
        Choice { word: "range", synonyms: &["a.b.RangeAssignor"], not_yet: None },
        Choice { word: "roundrobin", synonyms: &[], not_yet: None },
        Choice { word: "sticky", synonyms: &[], not_yet: Some("use range") },
        Choice { word: "by:", synonyms: &[], not_yet: Some("use range") },
    ];

    fn parse(kind: Kind, text: &str) -> Result<Value, Refusal> {
        Value::parse(kind, Conversion::Same, text)
    }

    #[test]
    fn numbers_are_whole_and_in_range() {
        assert_eq!(parse(MS, " 100 "), Ok(Value::Integer(100)));
        for bad in ["0", "101", "", "1.5", "1k", "0x10", "9223372036854775808"] {
            assert_eq!(parse(MS, bad), Err(Refusal::Bad(None)), "{bad}");
        }
    }

    #[test]
    fn aliases_are_read_in_their_own_units() {
        let convert = |conversion, text| {
            Value::parse(Kind::Integer { unit: "bytes", min: -1, max: 1 << 20 }, conversion, text)
        };
        assert_eq!(convert(Conversion::Kibibytes, "3"), Ok(Value::Integer(3072)));
        assert_eq!(convert(Conversion::Kibibytes, "9223372036854775807"), Err(Refusal::Bad(None)));
        assert_eq!(convert(Conversion::ZeroIsSystemDefault, "0"), Ok(Value::Integer(-1)));
        assert_eq!(convert(Conversion::ZeroIsSystemDefault, "-1"), Err(Refusal::Bad(None)));
        assert_eq!(convert(Conversion::ZeroIsSystemDefault, "4096"), Ok(Value::Integer(4096)));
        assert_eq!(Value::parse(MS, Conversion::MinusOneIsNever, "-1"), Ok(Value::Integer(100)));
    }

    #[test]
    fn words_are_taken_in_any_case_and_by_their_synonyms() {
        assert_eq!(parse(Kind::Choice(CHOICES), "RoundRobin"), Ok(Value::Word("roundrobin")));
        assert_eq!(
            parse(Kind::Choices(CHOICES), "roundrobin, a.b.RangeAssignor"),
            Ok(Value::Words(vec!["roundrobin", "range"]))
        );
        assert_eq!(
            parse(Kind::Choices(CHOICES), "range,range"),
            Err(Refusal::Bad(Some("range comes twice".into())))
        );
        assert!(matches!(parse(Kind::Choices(CHOICES), "range,,"), Err(Refusal::Bad(Some(_)))));
    }

    #[test]
    fn a_word_that_is_not_supported_yet_is_told_from_nonsense() {
        assert_eq!(parse(Kind::Choices(CHOICES), "range,STICKY"), Err(Refusal::NotYet("use range")));
        assert_eq!(parse(Kind::Choice(CHOICES), "by:PT1H"), Err(Refusal::NotYet("use range")));
        assert_eq!(parse(Kind::Choice(CHOICES), "stick"), Err(Refusal::Bad(None)));
    }

    #[test]
    fn booleans_and_names_are_strict() {
        assert_eq!(parse(Kind::Bool, "TRUE"), Ok(Value::Bool(true)));
        assert_eq!(parse(Kind::Bool, "yes"), Err(Refusal::Bad(None)));
        assert_eq!(parse(Kind::Name, " "), Err(Refusal::Bad(None)));
        assert!(parse(Kind::Text, &"x".repeat(MAX_TEXT_BYTES + 1)).is_err());
    }

    #[test]
    fn expectations_name_unit_and_range_of_the_name_used() {
        assert_eq!(expected(MS, Conversion::Same), "a whole number of ms from 1 to 100");
        let budget = Kind::Integer { unit: "bytes", min: 1 << 20, max: 1 << 30 };
        assert_eq!(expected(budget, Conversion::Kibibytes), "a whole number of KiB from 1024 to 1048576");
        assert_eq!(expected(Kind::Choice(CHOICES), Conversion::Same), "one of range, roundrobin");
    }
}
