//! What is known of the cluster, and when to ask again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream_protocol::backoff::Backoff;
use millstream_protocol::group::assignor::PartitionRacks;
use millstream_protocol::request::ErrorCode;

use super::brokers::BrokerAddress;
use super::matching::Matching;
use super::topic_partition::TopicPartition;
use super::wire::{MetadataAnswer, PartitionMetadata, TopicMetadata};
use crate::link::{Leader, Topic};

/// Brokers that are kept of one answer; far beyond any cluster that runs. Each has its name looked up.
const MAX_BROKERS: usize = 4_096;

/// The cluster as last heard, restricted to the topics in use.
#[derive(Debug)]
pub(super) struct Metadata {
    in_use: BTreeSet<Arc<str>>,
    /// Topics whose names are wanted.
    unnamed: BTreeSet<[u8; 16]>,
    /// Kept where topics are subscribed to by a pattern.
    matching: Option<Matching>,
    topics: BTreeMap<Arc<str>, TopicState>,
    brokers: BTreeMap<i32, BrokerAddress>,
    /// Where brokers are, by id. One that is down for a while is there still: nobody is to move for its sake.
    racks: BTreeMap<i32, Arc<str>>,
    max_age: Duration,
    backoff: Backoff,
    /// When the next question is due; `None` while one is on its way.
    due: Option<Instant>,
    /// No question before this, whoever wants one.
    not_before: Instant,
    /// Somebody wants to know more since the question that is on its way was sent.
    wanted_again: bool,
    /// Answers taken in so far.
    answers: u64,
    /// Since when it is asked without an answer.
    asking_since: Option<Instant>,
}

/// One topic as last heard.
#[derive(Clone, Debug)]
pub(super) struct TopicState {
    /// Its name and id.
    pub(super) topic: Arc<Topic>,
    /// Its partitions, ascending; none while the broker answers with an error.
    pub(super) partitions: Vec<PartitionMetadata>,
    /// What the broker last said about it.
    pub(super) error: ErrorCode,
    /// How many answers in a row named this error.
    pub(super) failures: u32,
    /// The ids of the brokers that have each partition.
    replicas: Vec<Vec<i32>>,
}

/// The topics of a question.
#[derive(Debug)]
pub(super) struct AskedTopics {
    /// Those that have names; `None` asks for all that there are.
    pub(super) names: Option<Vec<Arc<str>>>,
    /// Those of which only the id is known.
    pub(super) ids: Vec<[u8; 16]>,
}

/// What an answer changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Brokers came, went or moved.
    pub(super) brokers: bool,
    /// A topic's partitions, leaders or id changed.
    pub(super) topics: bool,
    /// Other topics match the pattern, or it is known for the first time which do.
    pub(super) matches: bool,
}

impl Metadata {
    /// Knows nothing, and is due at once.
    pub(super) fn new(max_age: Duration, backoff: Backoff, matching: Option<Matching>, now: Instant) -> Self {
        Self {
            in_use: BTreeSet::new(),
            unnamed: BTreeSet::new(),
            matching,
            topics: BTreeMap::new(),
            brokers: BTreeMap::new(),
            racks: BTreeMap::new(),
            max_age,
            backoff,
            due: Some(now),
            not_before: now,
            wanted_again: false,
            answers: 0,
            asking_since: None,
        }
    }

    /// Replaces the topics in use; asks at once when there are new ones.
    pub(super) fn use_topics(&mut self, topics: impl IntoIterator<Item = Arc<str>>, now: Instant) {
        let topics: BTreeSet<Arc<str>> = topics.into_iter().collect();
        let is_new = |topic| !self.in_use.contains(topic) && !self.is_complete(topic);
        let has_new = topics.iter().any(is_new);
        self.topics.retain(|name, _| topics.contains(name));
        self.in_use = topics;
        if has_new {
            self.not_before = now;
            self.want(now);
        }
    }

    /// Replaces the topics of which only the id is known; asks at once when there are new ones. A topic that an answer
    /// names stays until [`Metadata::use_topics`] is called.
    pub(super) fn use_ids(&mut self, ids: &[[u8; 16]], now: Instant) {
        let has_new = ids.iter().any(|id| !self.unnamed.contains(id));
        if !has_new && ids.len() == self.unnamed.len() {
            return;
        }
        self.unnamed = ids.iter().copied().collect();
        if has_new {
            self.not_before = now;
            self.want(now);
        }
    }

    /// Somebody saw that what is known is not so any more (a moved leader, a missing partition). Asks soon, but waits
    /// longer each time that an answer brought nothing new.
    pub(super) fn want(&mut self, now: Instant) {
        match &mut self.due {
            Some(due) => *due = (*due).min(self.not_before.max(now)),
            None => self.wanted_again = true,
        }
    }

    /// The topics to ask for by name and by id, when a question is due; it counts as sent then.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<AskedTopics> {
        self.due.filter(|&due| due <= now)?;
        self.due = None;
        self.wanted_again = false;
        self.asking_since.get_or_insert(now);
        let is_about_all = self.matching.as_mut().is_some_and(|matching| matching.ask(now));
        let names = (!is_about_all).then(|| self.in_use.iter().cloned().collect());
        Some(AskedTopics { names, ids: self.unnamed.iter().copied().collect() })
    }

    /// The topics that match the pattern, where one was subscribed to.
    pub(super) fn matching(&self) -> Option<&Matching> {
        self.matching.as_ref()
    }

    /// The topics that match are to be found out anew, where a pattern was subscribed to.
    pub(super) fn match_again(&mut self, now: Instant) {
        if let Some(matching) = &mut self.matching {
            matching.look_again(now);
            self.want(now);
        }
    }

    /// When the next question is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The question was not answered.
    pub(super) fn failed(&mut self, now: Instant, rng: &mut fastrand::Rng) {
        if let Some(matching) = &mut self.matching {
            matching.failed(now);
        }
        self.not_before = now + self.backoff.failed(rng);
        self.due = Some(self.not_before);
    }

    /// Takes an answer in.
    pub(super) fn apply(&mut self, answer: MetadataAnswer, now: Instant, rng: &mut fastrand::Rng) -> Changes {
        self.answers += 1;
        self.asking_since = None;
        let brokers: BTreeMap<_, _> =
            answer.brokers.into_iter().take(MAX_BROKERS).map(|b| (b.id, b)).collect();
        let mut changes = Changes { brokers: brokers != self.brokers, ..Changes::default() };
        self.brokers = brokers;
        if self.racks.len() > MAX_BROKERS {
            self.racks.clear();
        }
        self.racks.extend(answer.racks.into_iter().take(MAX_BROKERS));
        if let Some(matching) = &mut self.matching {
            changes.matches = matching.apply(&answer.topics, self.max_age, now);
        }
        for topic in answer.topics {
            let is_named = self.unnamed.contains(&topic.id);
            let is_matched = || self.matching.as_ref().is_some_and(|known| known.contains(&topic.name));
            if self.in_use.contains(&topic.name) || is_named || is_matched() {
                changes.topics |= self.apply_topic(topic);
            }
        }
        if changes.topics {
            self.backoff.reset();
        }
        self.not_before = now + self.backoff.failed(rng);
        let incomplete = self.in_use.iter().any(|name| !self.is_complete(name));
        let unnamed = self.unnamed.iter().any(|id| !self.topics.values().any(|known| known.topic.id == *id));
        let again = self.wanted_again || incomplete || unnamed;
        let due = if again { self.not_before } else { now + self.max_age };
        let matching_due = self.matching.as_ref().and_then(Matching::due);
        self.due = Some(matching_due.map_or(due, |at| due.min(at.max(self.not_before))));
        changes
    }

    /// When it has been asked without an answer for so long.
    pub(super) fn gives_up_at(&self, trigger: Duration) -> Option<Instant> {
        self.asking_since.map(|since| since + trigger)
    }

    /// Somebody else is asked from now on.
    pub(super) fn ask_others(&mut self, now: Instant) {
        self.asking_since = Some(now);
    }

    /// One topic.
    pub(super) fn topic(&self, name: &str) -> Option<&TopicState> {
        self.topics.get(name)
    }

    /// All topics heard of, by name.
    pub(super) fn topics(&self) -> impl Iterator<Item = &TopicState> {
        self.topics.values()
    }

    /// Who leads a partition; `None` when nobody does or it is unknown.
    pub(super) fn leader(&self, at: &TopicPartition) -> Option<Leader> {
        self.topics.get(&at.topic)?.partition(at.partition)?.leader
    }

    /// In which racks the partitions of the topics have replicas, as far as brokers name theirs.
    pub(super) fn partition_racks(&self) -> PartitionRacks {
        if self.racks.is_empty() {
            return PartitionRacks::new();
        }
        let racks =
            |replicas: &Vec<i32>| replicas.iter().filter_map(|id| self.racks.get(id).cloned()).collect();
        let of_topic = |state: &TopicState| state.replicas.iter().map(racks).collect();
        self.topics.iter().map(|(name, state)| (Arc::clone(name), of_topic(state))).collect()
    }

    /// The brokers, by id.
    pub(super) fn brokers(&self) -> impl Iterator<Item = &BrokerAddress> {
        self.brokers.values()
    }

    /// One broker.
    pub(super) fn broker(&self, id: i32) -> Option<&BrokerAddress> {
        self.brokers.get(&id)
    }

    /// A broker has named a newer leader; whether that is news. The next answer confirms it or knows better.
    pub(super) fn learn_leader(&mut self, at: &TopicPartition, leader: Leader) -> bool {
        let Some(topic) = self.topics.get_mut(&at.topic) else { return false };
        let known = topic.partitions.binary_search_by_key(&at.partition, |known| known.partition);
        let Some(known) = known.ok().and_then(|index| topic.partitions.get_mut(index)) else { return false };
        let is_news = known.leader.is_none_or(|known| known.epoch < leader.epoch);
        if is_news {
            known.leader = Some(leader);
        }
        is_news
    }

    /// A broker has told where another is reached; whether that is news.
    pub(super) fn learn_broker(&mut self, broker: BrokerAddress) -> bool {
        let is_news = self.brokers.get(&broker.id) != Some(&broker)
            && (self.brokers.len() < MAX_BROKERS || self.brokers.contains_key(&broker.id));
        if is_news {
            self.brokers.insert(broker.id, broker);
        }
        is_news
    }

    /// Answers taken in so far.
    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    fn is_complete(&self, name: &Arc<str>) -> bool {
        self.topics.get(name).is_some_and(TopicState::is_complete)
    }

    fn apply_topic(&mut self, answer: TopicMetadata) -> bool {
        let known = self.topics.get(&answer.name);
        if !answer.error.is_ok() {
            // What is known stays: a topic whose leader is being elected keeps its partitions.
            let failures =
                known.filter(|known| known.error == answer.error).map_or(0, |known| known.failures) + 1;
            match self.topics.get_mut(&answer.name) {
                Some(known) => (known.error, known.failures) = (answer.error, failures),
                None => {
                    let topic = Arc::new(Topic { name: Arc::clone(&answer.name), id: answer.id });
                    let (partitions, replicas, error) = (Vec::new(), Vec::new(), answer.error);
                    let state = TopicState { topic, partitions, error, failures, replicas };
                    self.topics.insert(answer.name, state);
                }
            }
            return false;
        }
        let same_topic = known.is_some_and(|known| known.topic.id == answer.id);
        let mut partitions = answer.partitions;
        if let Some(known) = known.filter(|_| same_topic) {
            for partition in &mut partitions {
                partition.keep_newer(known.partition(partition.partition));
            }
        }
        let changed =
            !same_topic || known.is_none_or(|known| known.partitions != partitions || !known.error.is_ok());
        let topic = match known.filter(|_| same_topic) {
            Some(known) => Arc::clone(&known.topic),
            None => Arc::new(Topic { name: Arc::clone(&answer.name), id: answer.id }),
        };
        let (error, replicas) = (ErrorCode::NONE, answer.replicas);
        let state = TopicState { topic, partitions, error, failures: 0, replicas };
        self.topics.insert(answer.name, state);
        changed
    }
}

impl TopicState {
    /// One partition.
    pub(super) fn partition(&self, partition: i32) -> Option<&PartitionMetadata> {
        let at = self.partitions.binary_search_by_key(&partition, |known| known.partition).ok()?;
        Some(&self.partitions[at])
    }

    /// The topic exists and each of its partitions has a leader.
    fn is_complete(&self) -> bool {
        self.error.is_ok() && self.partitions.iter().all(|partition| partition.leader.is_some())
    }
}

impl PartitionMetadata {
    /// A broker that is behind must not undo what a newer one said (KIP-320).
    fn keep_newer(&mut self, known: Option<&PartitionMetadata>) {
        if let (Some(ours), Some(theirs)) = (known.and_then(|known| known.leader), self.leader)
            && theirs.epoch >= 0
            && theirs.epoch < ours.epoch
        {
            self.leader = Some(ours);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(epoch: i32, leader: i32, error: ErrorCode) -> MetadataAnswer {
        let partition = PartitionMetadata { partition: 0, leader: Some(Leader { broker: leader, epoch }) };
        let topic = TopicMetadata {
            name: "t".into(),
            error,
            id: [1; 16],
            is_internal: false,
            partitions: vec![partition],
            replicas: vec![vec![leader]],
        };
        let broker = BrokerAddress { id: leader, host: "h".into(), port: 9092 };
        let racks = vec![(leader, Arc::from(format!("rack-{leader}")))];
        MetadataAnswer { error: ErrorCode::NONE, brokers: vec![broker], racks, topics: vec![topic] }
    }

    fn metadata(now: Instant) -> (Metadata, fastrand::Rng) {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut metadata = Metadata::new(Duration::from_secs(300), backoff, None, now);
        metadata.use_topics([Arc::from("t")], now);
        (metadata, fastrand::Rng::with_seed(7))
    }

    #[test]
    fn wishes_that_bring_nothing_new_are_granted_ever_more_slowly() {
        let start = Instant::now();
        let (mut metadata, mut rng) = metadata(start);
        let mut now = start;
        let mut asked = 0;
        while now < start + Duration::from_secs(20) {
            metadata.want(now);
            if metadata.take_due(now).is_some() {
                asked += 1;
                metadata.apply(answer(1, 1, ErrorCode::NONE), now, &mut rng);
            }
            now += Duration::from_millis(1);
        }
        assert!((15..40).contains(&asked), "{asked} questions in 20 s");
    }

    #[test]
    fn an_older_leader_epoch_does_not_undo_a_newer_one() {
        let now = Instant::now();
        let (mut metadata, mut rng) = metadata(now);
        metadata.apply(answer(5, 2, ErrorCode::NONE), now, &mut rng);
        let changes = metadata.apply(answer(4, 1, ErrorCode::NONE), now, &mut rng);
        assert!(!changes.topics);
        let leader = metadata.leader(&TopicPartition::new("t", 0));
        assert_eq!(leader, Some(Leader { broker: 2, epoch: 5 }));
    }

    #[test]
    fn a_topic_in_error_is_asked_for_again_and_its_failures_are_counted() {
        let now = Instant::now();
        let (mut metadata, mut rng) = metadata(now);
        for _ in 0..3 {
            metadata.apply(answer(0, 1, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION), now, &mut rng);
        }
        assert_eq!(metadata.topic("t").map(|topic| topic.failures), Some(3));
        assert!(metadata.deadline().is_some_and(|due| due < now + Duration::from_secs(2)));
        metadata.apply(answer(0, 1, ErrorCode::NONE), now, &mut rng);
        assert_eq!(metadata.topic("t").map(|topic| topic.failures), Some(0));
        assert_eq!(metadata.deadline(), Some(now + Duration::from_secs(300)));
    }

    #[test]
    fn a_broker_that_is_down_stays_in_its_rack() {
        let now = Instant::now();
        let (mut metadata, mut rng) = metadata(now);
        metadata.apply(answer(0, 1, ErrorCode::NONE), now, &mut rng);
        let at_first = metadata.partition_racks();
        assert_eq!(at_first["t"], [[Arc::from("rack-1")].into()]);
        let mut without = answer(0, 1, ErrorCode::NONE);
        (without.brokers, without.racks) = (Vec::new(), Vec::new());
        metadata.apply(without, now, &mut rng);
        assert_eq!(metadata.partition_racks(), at_first);
    }

    #[test]
    fn topics_that_nobody_asked_for_are_not_kept() {
        let now = Instant::now();
        let (mut metadata, mut rng) = metadata(now);
        let mut other = answer(0, 1, ErrorCode::NONE);
        other.topics[0].name = "other".into();
        metadata.apply(other, now, &mut rng);
        assert!(metadata.topic("other").is_none());
    }

    #[test]
    fn without_an_answer_for_too_long_others_are_asked() {
        let now = Instant::now();
        let (mut metadata, mut rng) = metadata(now);
        let trigger = Duration::from_secs(300);
        assert_eq!(metadata.gives_up_at(trigger), None, "nobody was asked");
        metadata.take_due(now).unwrap();
        metadata.failed(now, &mut rng);
        let later = now + Duration::from_secs(100);
        metadata.take_due(later).unwrap();
        assert_eq!(metadata.gives_up_at(trigger), Some(now + trigger), "failures do not put it off");
        metadata.ask_others(later);
        assert_eq!(metadata.gives_up_at(trigger), Some(later + trigger));
        metadata.apply(answer(0, 1, ErrorCode::NONE), later, &mut rng);
        assert_eq!(metadata.gives_up_at(trigger), None);
    }
}
