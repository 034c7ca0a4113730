//! Apache Kafka, filled with a workload's batches as they are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{MetadataRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use millstream_tests::kafka::{Client, Error as KafkaError, KafkaCluster, Spec};
use uuid::Uuid;

use super::feed::{self, Feed};
use super::helper::Helper;
use super::{Error, Offer};
use crate::workload::{PartitionWriter, Truth, Workload};

/// Kafka does not say when a consumer has come. Every client under comparison is ready after this time.
const LIVE_BEGINS_AFTER: Duration = Duration::from_secs(3);
/// How often the feed looks whether it is to begin.
const WATCH: Duration = Duration::from_millis(20);
/// Batches of one Produce request, well below `socket.request.max.bytes` of 100 MiB.
const REQUEST_BYTES: usize = 8 << 20;
/// Topics with so many batches to a request are written over one connection in turn.
const PARTITIONS_PER_REQUEST: usize = 256;
const TIMEOUT_MS: i32 = 30_000;
const BROKER: i32 = 1;

/// Topic properties: what is produced is kept, as it is.
const TOPIC_PROPERTIES: &[(&str, &str)] = &[
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("compression.type", "producer"),
    ("max.message.bytes", "2097152"),
];

/// A topic under both of its names: which one Produce wants depends on the version.
#[derive(Clone)]
pub(crate) struct Topic {
    name: TopicName,
    id: Uuid,
}

/// A running Kafka, and what was put into it.
pub(super) struct Kafka {
    workload: Workload,
    core: Option<usize>,
    // Before the broker that it writes to: fields are dropped in order.
    feed: Option<Feed>,
    cluster: KafkaCluster,
    /// The delay before it, which lives as long.
    _delay: Option<Helper>,
    topics_made: u32,
}

impl Kafka {
    pub(super) fn start(workload: &Workload, core: Option<usize>) -> Result<(Self, Offer), Error> {
        let mut spec = Spec::new();
        if let Some(core) = core {
            spec = spec.cores(&core.to_string());
        }
        let mut delay = workload.one_way_delay().map(|one_way| start_delay(one_way, core)).transpose()?;
        if let Some((_, address)) = &delay {
            spec = spec.property("advertised.listeners", &format!("PLAINTEXT://{address}"));
        }
        let cluster = KafkaCluster::start(spec)?;
        let mut bootstrap = cluster.bootstrap();
        if let Some((helper, address)) = &mut delay {
            helper.tell(&cluster.broker_address(BROKER).to_string())?;
            bootstrap = address.to_string();
        }
        let delay = delay.map(|(helper, _)| helper);
        let mut kafka =
            Self { workload: workload.clone(), core, feed: None, cluster, _delay: delay, topics_made: 0 };
        let (topic, truth) = kafka.fill()?;
        Ok((kafka, Offer { bootstrap, topic, truth }))
    }

    pub(super) fn renew(&mut self, offer: &Offer) -> Result<Offer, Error> {
        if self.workload.live.is_none() {
            return Ok(offer.clone());
        }
        self.feed = None;
        self.cluster.delete_topic(&offer.topic)?;
        let (topic, truth) = self.fill()?;
        Ok(Offer { topic, truth, ..offer.clone() })
    }

    pub(super) fn description(&self) -> String {
        let place = self.core.map_or("unpinned".to_owned(), |core| format!("on core {core}"));
        format!("Apache Kafka {}, one broker {place}", self.cluster.version())
    }

    fn fill(&mut self) -> Result<(String, Truth), Error> {
        self.topics_made += 1;
        let topic = format!("bench-{}", self.topics_made);
        self.cluster.create_topic(&topic, self.workload.partitions as i32, TOPIC_PROPERTIES)?;
        let mut client = self.cluster.client(BROKER)?;
        let known = look_up(&mut client, &topic)?;
        let mut truth = feed::truth(&self.workload)?;
        for partitions in self.workload.preloaded_partitions().chunks(PARTITIONS_PER_REQUEST) {
            truth.merge(&preload(&mut client, &known, &self.workload, partitions)?);
        }
        if self.workload.live.is_some() {
            self.feed = Some(self.feed(client, known)?);
        }
        Ok((topic, truth))
    }

    fn feed(&self, mut client: Client, topic: Topic) -> Result<Feed, Error> {
        let begins_at = Instant::now() + LIVE_BEGINS_AFTER;
        let begin = move || {
            std::thread::sleep(begins_at.saturating_duration_since(Instant::now()).min(WATCH));
            Instant::now() >= begins_at
        };
        Feed::start(&self.workload, begin, move |partition, batch| {
            produce(&mut client, &topic, vec![(partition, batch)])
        })
    }
}

/// The delay proxy on the broker's core, and where it listens.
fn start_delay(one_way: Duration, core: Option<usize>) -> Result<(Helper, SocketAddr), Error> {
    let mut helper = Helper::start("delay", &["delay", &one_way.as_micros().to_string()], core)?;
    let address = helper.answer()?;
    Ok((helper, address))
}

/// A topic by its name.
pub(crate) fn look_up(client: &mut Client, name: &str) -> Result<Topic, Error> {
    let name = TopicName(StrBytes::from_string(name.to_owned()));
    let asked = MetadataRequestTopic::default().with_name(Some(name.clone()));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let answer = client.request(&request)?;
    let id = answer.topics.first().map(|topic| topic.topic_id).unwrap_or_default();
    Ok(Topic { name, id })
}

/// Writes all that lies ready in these partitions: each request has one batch of each, as Kafka wants it.
fn preload(
    client: &mut Client,
    topic: &Topic,
    workload: &Workload,
    partitions: &[u32],
) -> Result<Truth, Error> {
    let mut writers: Vec<(u32, PartitionWriter<'_>)> =
        partitions.iter().map(|&partition| (partition, PartitionWriter::new(workload, partition))).collect();
    loop {
        let (mut batches, mut bytes) = (Vec::new(), 0);
        for (partition, writer) in &mut writers {
            if bytes > REQUEST_BYTES {
                produce(client, topic, std::mem::take(&mut batches))?;
                bytes = 0;
            }
            if let Some(batch) = writer.preloaded_batch()? {
                bytes += batch.len();
                batches.push((*partition, batch));
            }
        }
        if batches.is_empty() {
            break;
        }
        produce(client, topic, batches)?;
    }
    let mut truth = Truth::default();
    writers.iter().for_each(|(_, writer)| truth.merge(writer.truth()));
    Ok(truth)
}

/// Writes one batch to each of these partitions.
pub(crate) fn produce(client: &mut Client, topic: &Topic, batches: Vec<(u32, Vec<u8>)>) -> Result<(), Error> {
    let partitions = batches.into_iter().map(|(partition, batch)| {
        PartitionProduceData::default().with_index(partition as i32).with_records(Some(Bytes::from(batch)))
    });
    let data = TopicProduceData::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.id)
        .with_partition_data(partitions.collect());
    let request =
        ProduceRequest::default().with_acks(1).with_timeout_ms(TIMEOUT_MS).with_topic_data(vec![data]);
    let answer = client.request(&request)?;
    for partition in answer.responses.iter().flat_map(|topic| &topic.partition_responses) {
        if let Some(error) = ResponseError::try_from_code(partition.error_code) {
            let message = partition.error_message.as_ref().map_or(error.to_string(), ToString::to_string);
            let what = format!("producing to {}/{}", topic.name.as_str(), partition.index);
            return Err(KafkaError::Refused { what, code: partition.error_code, message }.into());
        }
    }
    Ok(())
}
