//! What the helper program does: replays a workload, or delays connections, until its stdin ends.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use millstream_testbroker::{ApiKey, Config, Handle, TestBroker};
use serde::Serialize;

use super::feed::{self, Feed};
use super::replay::RENEW;
use super::{DelayProxy, Error, Offer};
use crate::workload::{PartitionWriter, Truth, Workload};

/// Batches are handed to the broker in pieces of about this size: what one piece holds leaves it in one slice.
const CHUNK_BYTES: usize = 4 << 20;
/// The longest wait for a consumer before looking whether the topic is still wanted.
const WATCH: Duration = Duration::from_millis(50);

/// Serves a workload from memory. Says where on stdout, and again after each line `renew`.
///
/// # Errors
/// If the broker cannot be started or filled, or stdin and stdout fail.
pub fn replay(workload: &Workload) -> Result<(), Error> {
    workload.check()?;
    let mut server = Server::start(workload)?;
    let mut feed = server.fill()?;
    say(&server.offer)?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|source| Error::Io { what: "reading commands", source })?;
        if line == RENEW {
            // The old feed ends before its topic does.
            drop(feed);
            server.empty()?;
            feed = server.fill()?;
            say(&server.offer)?;
        }
    }
    Ok(())
}

/// Delays connections. Says where it listens, and reads from a line where to pass them on.
///
/// # Errors
/// If there is no port or no thread, or stdin and stdout fail.
pub fn delay(one_way: Duration) -> Result<(), Error> {
    let proxy = DelayProxy::start(one_way)?;
    say(&proxy.address())?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|source| Error::Io { what: "reading commands", source })?;
        let target: SocketAddr = line.parse().map_err(|_| Error::Answer {
            what: "delay".to_owned(),
            line,
            reason: "no address".to_owned(),
        })?;
        proxy.forward_to(target);
    }
    Ok(())
}

struct Server<'w> {
    workload: &'w Workload,
    broker: TestBroker,
    topics_made: u32,
    offer: Offer,
}

impl<'w> Server<'w> {
    fn start(workload: &'w Workload) -> Result<Self, Error> {
        let broker = TestBroker::start(Config::default())?;
        let mut bootstrap = broker.bootstrap();
        if let Some(one_way) = workload.one_way_delay() {
            let proxy = DelayProxy::start(one_way)?;
            for id in Config::default().brokers {
                proxy.forward_to(broker.address(id)?);
                let address = proxy.address();
                let host = address.ip().to_string();
                broker.handle().with(|cluster, _| cluster.set_address(id, &host, address.port()))?;
            }
            bootstrap = proxy.address().to_string();
        }
        let offer = Offer { bootstrap, topic: String::new(), truth: Truth::default() };
        Ok(Self { workload, broker, topics_made: 0, offer })
    }

    /// Makes the next topic with all that lies ready in it, and the feed of what comes later.
    fn fill(&mut self) -> Result<Option<Feed>, Error> {
        self.topics_made += 1;
        let topic = format!("bench-{}", self.topics_made);
        let handle = self.broker.handle();
        // The workload was checked to have few partitions.
        handle.create_topic(&topic, self.workload.partitions as i32)?;
        let mut truth = feed::truth(self.workload)?;
        for partition in self.workload.preloaded_partitions() {
            truth.merge(&preload(self.workload, partition, &handle, &topic)?);
        }
        self.offer.topic = topic;
        self.offer.truth = truth;
        self.workload.live.map(|_| self.feed()).transpose()
    }

    /// Drops the present topic and what it holds.
    fn empty(&self) -> Result<(), Error> {
        let topic = &self.offer.topic;
        Ok(self.broker.handle().with(|cluster, now| cluster.delete_topic(topic, now))?)
    }

    fn feed(&self) -> Result<Feed, Error> {
        let (handle, topic) = (self.broker.handle(), self.offer.topic.clone());
        let fetches_before = handle.counters().requests(ApiKey::Fetch);
        let watching = handle.clone();
        let begin = move || {
            watching.wait_until(WATCH, |cluster| cluster.counters().requests(ApiKey::Fetch) > fetches_before)
        };
        Feed::start(self.workload, begin, move |partition, batch| {
            handle.append(&topic, partition as i32, Bytes::from(batch))?;
            Ok(())
        })
    }
}

fn preload(workload: &Workload, partition: u32, handle: &Handle, topic: &str) -> Result<Truth, Error> {
    let mut writer = PartitionWriter::new(workload, partition);
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    while let Some(batch) = writer.preloaded_batch()? {
        if chunk.len() + batch.len() > CHUNK_BYTES && !chunk.is_empty() {
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_BYTES));
            handle.append(topic, partition as i32, Bytes::from(full))?;
        }
        chunk.extend_from_slice(&batch);
    }
    if !chunk.is_empty() {
        chunk.shrink_to_fit();
        handle.append(topic, partition as i32, Bytes::from(chunk))?;
    }
    Ok(*writer.truth())
}

/// Answers with a line of JSON.
pub(crate) fn say(answer: &impl Serialize) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, answer)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush())
        .map_err(|source| Error::Io { what: "answering", source })
}
