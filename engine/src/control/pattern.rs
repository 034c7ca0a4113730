//! Patterns that pick topics by their names, and who reads them.

use std::sync::Arc;

use regex_lite::{Regex, RegexBuilder};

use crate::config::GroupProtocol;
use crate::error::Error;

/// The longest pattern. Names of topics have 249 bytes at most, so a longer one is a slip; and it is sent whole.
const PATTERN_MAX_BYTES: usize = 4096;
/// The most that a compiled pattern takes, which bounds the time for each name as well.
const COMPILED_MAX_BYTES: usize = 64 << 10;
/// Groups within groups.
const NESTING_MAX: u32 = 32;
/// Kafka's limit on the names of topics.
const TOPIC_NAME_MAX_BYTES: usize = 249;

/// A pattern that a group's member subscribes to.
#[derive(Clone, Debug)]
pub(crate) enum Pattern {
    /// Read here, and compared with the names that Metadata lists.
    Own(TopicPattern),
    /// Read by the coordinator (KIP-848).
    Coordinators(Arc<str>),
}

/// A pattern that is read here: which names it is about as a whole.
#[derive(Clone, Debug)]
pub(crate) struct TopicPattern {
    text: Arc<str>,
    regex: Regex,
}

impl Pattern {
    /// The pattern, for whoever reads it under this protocol. What a coordinator makes of one is its business, so only
    /// its length is looked at here.
    pub(crate) fn new(protocol: GroupProtocol, text: Arc<str>) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(invalid(&text, "it is empty; .* is every topic"));
        }
        if text.len() > PATTERN_MAX_BYTES {
            let start: String = text.chars().take(40).collect();
            let (has, most) = (text.len(), PATTERN_MAX_BYTES);
            return Err(invalid(&format!("{start}…"), &format!("it has {has} bytes, the most are {most}")));
        }
        match protocol {
            GroupProtocol::Classic => TopicPattern::new(text).map(Self::Own),
            GroupProtocol::Consumer => Ok(Self::Coordinators(text)),
        }
    }
}

impl TopicPattern {
    pub(super) fn new(text: Arc<str>) -> Result<Self, Error> {
        // By itself first: a stray bracket must not pair with one of those around it.
        compile(&text)
            .and_then(|_| compile(&format!("^(?:{text})$")))
            .map(|regex| Self { regex, text: Arc::clone(&text) })
            .map_err(|error| {
                let hint =
                    "it is read as the regex crates of Rust do, so without look-around and back-references";
                invalid(&text, &format!("{error}; {hint}"))
            })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is about this name, all of it. What cannot be a topic's name never is.
    pub(super) fn matches(&self, name: &str) -> bool {
        name.len() <= TOPIC_NAME_MAX_BYTES && self.regex.is_match(name)
    }
}

fn compile(text: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(text).size_limit(COMPILED_MAX_BYTES).nest_limit(NESTING_MAX).build()
}

fn invalid(pattern: &str, reason: &str) -> Error {
    Error::Pattern { pattern: pattern.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> TopicPattern {
        TopicPattern::new(text.into()).unwrap()
    }

    fn refused(protocol: GroupProtocol, text: &str) -> String {
        Pattern::new(protocol, text.into()).unwrap_err().to_string()
    }

    #[test]
    fn a_pattern_is_about_whole_names_as_in_java() {
        for (text, name, matches) in [
            ("orders-.*", "orders-eu", true),
            ("orders-.*", "old-orders-eu", false),
            ("orders", "orders-eu", false),
            ("^orders$", "orders", true),
            ("^orders", "orders-eu", false),
            ("a|ab", "ab", true),
            ("a|b", "ab", false),
            ("(?i)ORDERS", "orders", true),
            (r"t\d{2}", "t42", true),
            (r"t\d{2}", "t4", false),
            (".*", &"x".repeat(249), true),
            (".*", &"x".repeat(250), false),
        ] {
            assert_eq!(pattern(text).matches(name), matches, "{text} on {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_the_reason() {
        for text in ["a[", "a)(b", "(", "a{2", "*", r"\1", "a(?=b)", r"\p{Greek}"] {
            let said = refused(GroupProtocol::Classic, text);
            let start = format!("the topic pattern {text:?} is not valid: ");
            assert!(said.starts_with(&start) && said.contains("look-around"), "{said}");
        }
        for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
            assert!(refused(protocol, "").contains("is empty"));
            let said = refused(protocol, &"x".repeat(PATTERN_MAX_BYTES + 1));
            assert!(said.contains("4097 bytes") && said.len() < 200, "{said}");
        }
    }

    #[test]
    fn a_pattern_that_would_take_too_much_is_refused() {
        let wide = "(a{100}){100}";
        assert!(refused(GroupProtocol::Classic, wide).contains(wide));
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert!(refused(GroupProtocol::Classic, &deep).contains("not valid"));
    }

    #[test]
    fn what_the_coordinator_reads_is_left_to_it() {
        let kept = Pattern::new(GroupProtocol::Consumer, r"\p{Greek}[".into()).unwrap();
        assert!(matches!(kept, Pattern::Coordinators(text) if &*text == r"\p{Greek}["));
    }
}
