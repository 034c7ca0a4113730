//! A subscription by a pattern that is read here: which of the cluster's topics match, and when all of them are looked
//! at again.
//!
//! All topics of a cluster may be many, so they are asked for when that says something: at first, when metadata is too
//! old, with each join (so that the members of a group see the same topics, and rebalance once), and when one that
//! matched seems to be gone. In between only those that matched are asked for, by name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::request::ErrorCode;

use super::Control;
use super::pattern::TopicPattern;
use super::wire::TopicMetadata;
use crate::event::EngineEvent;

/// The topics that match.
#[derive(Debug)]
pub(super) struct Matching {
    pattern: TopicPattern,
    excludes_internal: bool,
    /// As last heard. No more than one response of Metadata can name.
    topics: BTreeSet<Arc<str>>,
    /// Whether they were heard of at all.
    is_known: bool,
    /// When to look at all topics; `None` while that is under way.
    due: Option<Instant>,
    /// The question under way is about all topics.
    is_asked: bool,
}

impl Matching {
    /// Nothing is known yet, and due at once.
    pub(super) fn new(pattern: TopicPattern, excludes_internal: bool, now: Instant) -> Self {
        let topics = BTreeSet::new();
        Self { pattern, excludes_internal, topics, is_known: false, due: Some(now), is_asked: false }
    }

    /// The topics that match, as last heard.
    pub(super) fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.iter()
    }

    /// Whether a topic is one of them.
    pub(super) fn contains(&self, topic: &str) -> bool {
        self.topics.contains(topic)
    }

    /// When all topics are to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// All topics are to be looked at now.
    pub(super) fn look_again(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// A question is sent: whether it has to be about all topics.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        self.is_asked = self.due.is_some_and(|due| due <= now);
        if self.is_asked {
            self.due = None;
        }
        self.is_asked
    }

    /// The question was not answered.
    pub(super) fn failed(&mut self, now: Instant) {
        if std::mem::take(&mut self.is_asked) {
            self.due = Some(now);
        }
    }

    /// Takes the answer to the question; whether other topics match than did, or the first ones do.
    pub(super) fn apply(&mut self, answer: &[TopicMetadata], max_age: Duration, now: Instant) -> bool {
        if !std::mem::take(&mut self.is_asked) {
            if answer.iter().any(|topic| self.contains(&topic.name) && is_gone(topic.error)) {
                self.look_again(now);
            }
            return false;
        }
        self.due.get_or_insert(now + max_age);
        let picked = answer.iter().filter(|topic| self.picks(topic)).map(|topic| Arc::clone(&topic.name));
        let picked: BTreeSet<Arc<str>> = picked.collect();
        let is_news = !self.is_known || picked != self.topics;
        self.is_known = true;
        self.topics = picked;
        is_news
    }

    fn picks(&self, topic: &TopicMetadata) -> bool {
        if !topic.error.is_ok() {
            // A broker that is at a loss for now does not make a topic come or go.
            return self.contains(&topic.name) && !is_gone(topic.error);
        }
        !(topic.is_internal && self.excludes_internal) && self.pattern.matches(&topic.name)
    }
}

/// Whether a broker says by this that there is no such topic, or none that may be read.
fn is_gone(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::TOPIC_AUTHORIZATION_FAILED)
}

impl Control {
    /// Other topics match than did: the member subscribes to these.
    pub(super) fn on_topics_matched(&mut self) {
        let Some(matching) = self.metadata.matching() else { return };
        let topics: Vec<Arc<str>> = matching.topics().cloned().collect();
        let pattern = matching.pattern.text().to_owned();
        if self.stopping.is_some() {
            return;
        }
        let names = topics.iter().map(|topic| topic.to_string()).collect();
        self.notify(EngineEvent::TopicsMatched { pattern, topics: names });
        if let Some(membership) = &mut self.membership {
            membership.subscribe(topics);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(300);

    fn topic(name: &str) -> TopicMetadata {
        TopicMetadata {
            name: name.into(),
            error: ErrorCode::NONE,
            id: [1; 16],
            is_internal: false,
            partitions: Vec::new(),
            replicas: Vec::new(),
        }
    }

    fn failing(name: &str, error: ErrorCode) -> TopicMetadata {
        TopicMetadata { error, ..topic(name) }
    }

    fn internal(name: &str) -> TopicMetadata {
        TopicMetadata { is_internal: true, ..topic(name) }
    }

    fn matching(pattern: &str, excludes_internal: bool, now: Instant) -> Matching {
        Matching::new(TopicPattern::new(pattern.into()).unwrap(), excludes_internal, now)
    }

    /// Asks for all topics and takes the answer; whether it is news.
    fn look(matching: &mut Matching, answer: &[TopicMetadata], now: Instant) -> bool {
        matching.look_again(now);
        assert!(matching.ask(now));
        matching.apply(answer, MAX_AGE, now)
    }

    fn names(matching: &Matching) -> Vec<&str> {
        matching.topics().map(AsRef::as_ref).collect()
    }

    #[test]
    fn topics_that_come_and_go_are_news_and_the_rest_is_not() {
        let now = Instant::now();
        let mut matching = matching("a.*", true, now);
        assert!(look(&mut matching, &[], now), "that there is none is news at first");
        assert!(!look(&mut matching, &[topic("b")], now));
        assert!(look(&mut matching, &[topic("a1"), topic("b"), topic("a2")], now));
        assert!(!look(&mut matching, &[topic("a2"), topic("a1")], now));
        assert_eq!(names(&matching), ["a1", "a2"]);
        assert!(look(&mut matching, &[topic("a2")], now));
        assert_eq!(names(&matching), ["a2"]);
    }

    #[test]
    fn internal_topics_match_only_where_they_are_asked_for() {
        let now = Instant::now();
        let answer = [internal("__consumer_offsets"), topic("__mine")];
        let mut without = matching(".*", true, now);
        look(&mut without, &answer, now);
        assert_eq!(names(&without), ["__mine"]);
        let mut with = matching(".*", false, now);
        look(&mut with, &answer, now);
        assert_eq!(names(&with), ["__consumer_offsets", "__mine"]);
    }

    #[test]
    fn all_topics_are_asked_for_when_metadata_is_old_and_not_each_time() {
        let now = Instant::now();
        let mut matching = matching("a", true, now);
        assert!(matching.ask(now), "at first");
        matching.failed(now);
        assert!(matching.ask(now), "it was not answered");
        matching.apply(&[topic("a")], MAX_AGE, now);
        assert_eq!(matching.due(), Some(now + MAX_AGE));
        assert!(!matching.ask(now + MAX_AGE / 2));
        assert!(!matching.apply(&[], MAX_AGE, now), "the answer is about topics by name");
        assert_eq!(names(&matching), ["a"]);
        assert!(matching.ask(now + MAX_AGE));
    }

    #[test]
    fn a_wish_during_a_question_is_not_answered_by_it() {
        let now = Instant::now();
        let mut matching = matching("a", true, now);
        assert!(matching.ask(now));
        matching.look_again(now);
        matching.apply(&[], MAX_AGE, now);
        assert!(matching.ask(now));
    }

    #[test]
    fn one_that_is_gone_by_name_makes_all_be_looked_at() {
        let now = Instant::now();
        for (error, looks) in [
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, true),
            (ErrorCode::TOPIC_AUTHORIZATION_FAILED, true),
            (ErrorCode::LEADER_NOT_AVAILABLE, false),
            (ErrorCode::NONE, false),
        ] {
            let mut matching = matching("a", true, now);
            look(&mut matching, &[topic("a")], now);
            assert!(!matching.ask(now));
            let other = failing("b", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            matching.apply(&[failing("a", error), other], MAX_AGE, now);
            assert_eq!(matching.ask(now), looks, "{error}");
        }
    }

    #[test]
    fn errors_that_pass_make_no_topic_come_or_go() {
        let now = Instant::now();
        let mut matching = matching(".*", true, now);
        look(&mut matching, &[topic("a"), topic("b")], now);
        let answer = [
            failing("a", ErrorCode::LEADER_NOT_AVAILABLE),
            failing("b", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            failing("c", ErrorCode::LEADER_NOT_AVAILABLE),
        ];
        look(&mut matching, &answer, now);
        assert_eq!(names(&matching), ["a"]);
    }
}
