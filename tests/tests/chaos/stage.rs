//! A cluster behind proxies, a producer that writes all the while, and a group whose members are processes.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millstream_tests::anomalies::Op;
use millstream_tests::group::{EngineEvent, GroupUnderWatch};
use millstream_tests::kafka::{JavaTools, KafkaCluster, Produce, Produced, Result, Spec};
use millstream_tests::proxy::Faults;

const PROGRAM: &str = env!("CARGO_BIN_EXE_engine_member");
/// Brokers of the cluster that all scenarios share, one after the other.
pub(crate) const BROKERS: i32 = 3;
/// A member that commits often, and outlives a broker that is down for a while.
pub(crate) const PATIENT: [(&str, &str); 4] = [
    ("session.timeout.ms", "45000"),
    ("heartbeat.interval.ms", "500"),
    ("auto.commit.interval.ms", "200"),
    ("request.timeout.ms", "5000"),
];

/// A patient member with one property otherwise.
pub(crate) fn patient_but<'a>(name: &'a str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    let others = PATIENT.into_iter().filter(|(known, _)| *known != name);
    others.chain([(name, value)]).collect()
}

/// The cluster, for one scenario at a time. All brokers run and no faults are in force when a scenario gets it.
pub(crate) struct Cluster(MutexGuard<'static, Option<KafkaCluster>>);

impl Cluster {
    /// Waits for its turn.
    pub(crate) fn get() -> Result<Self> {
        static SHARED: Mutex<Option<KafkaCluster>> = Mutex::new(None);
        // A scenario that fails leaves the lock poisoned and the cluster as it may be, which is put right here.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *shared {
            Some(kafka) => {
                for id in 1..=BROKERS {
                    kafka.proxy(id).set(Faults::default());
                }
                kafka.start_all()?;
            }
            none => {
                *none = Some(KafkaCluster::start(spec())?);
            }
        }
        Ok(Self(shared))
    }

    /// Does this to all connections of members, to whichever broker.
    pub(crate) fn set_faults(&self, faults: Faults) {
        (1..=BROKERS).for_each(|id| self.proxy(id).set(faults));
    }
}

impl Deref for Cluster {
    type Target = KafkaCluster;

    fn deref(&self) -> &KafkaCluster {
        self.0.as_ref().expect("it was started when it was got")
    }
}

impl DerefMut for Cluster {
    fn deref_mut(&mut self) -> &mut KafkaCluster {
        self.0.as_mut().expect("it was started when it was got")
    }
}

/// A member of the consumer protocol is missed after 30 s, long enough for a coordinator that is killed to be replaced.
fn spec() -> Spec {
    Spec::new()
        .brokers(BROKERS as u16)
        .proxied()
        .racks()
        .property("min.insync.replicas", "1")
        .property("group.consumer.min.heartbeat.interval.ms", "1000")
        .property("group.consumer.heartbeat.interval.ms", "3300")
        .property("group.consumer.min.session.timeout.ms", "6000")
        .property("group.consumer.session.timeout.ms", "30000")
}

/// What is written, by whom, and who reads it.
pub(crate) struct Stage {
    pub(crate) written: Produce,
    pub(crate) group: GroupUnderWatch,
    began: Instant,
    producer: Option<JoinHandle<Result<Produced>>>,
}

impl Stage {
    /// A topic that is replicated to all brokers, named as its group, and a producer that begins to write to it.
    pub(crate) fn new(
        kafka: &Cluster,
        java: &JavaTools,
        name: &str,
        partitions: u32,
        records: u64,
        rate: u64,
    ) -> Self {
        kafka.create_replicated_topic(name, partitions as i32, BROKERS as i16, &[]).unwrap();
        let mut stage = Self::silent(kafka, name, partitions, records);
        stage.written.rate = rate;
        let (bootstrap, java, what) = (kafka.bootstrap(), java.clone(), stage.written.clone());
        stage.producer = Some(std::thread::spawn(move || java.produce(&bootstrap, &what)));
        stage
    }

    /// Of a topic that is there; nobody writes to it yet.
    pub(crate) fn silent(kafka: &Cluster, name: &str, partitions: u32, records: u64) -> Self {
        let written = Produce {
            seed: records,
            value_size: (1, 200),
            // It outlives what is done to the brokers.
            configs: [("delivery.timeout.ms", "240000"), ("request.timeout.ms", "10000")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            ..Produce::new(name, partitions, records)
        };
        let mut group = GroupUnderWatch::new(PROGRAM, &kafka.proxied_bootstrap(), name, &written);
        group.records = true;
        Self { written, group, began: Instant::now(), producer: None }
    }

    /// Waits until so many more records are handled.
    pub(crate) fn wait_for_more(&mut self, records: u64) {
        let least = (self.group.deliveries.covered() + records).min(self.written.records);
        self.group
            .wait_until(&format!("{least} records are handled"), |group| group.deliveries.covered() >= least);
    }

    /// Goes on as it is for so long, whatever comes.
    pub(crate) fn go_on_for(&mut self, time: Duration) {
        let until = Instant::now() + time;
        self.group.wait_until("time has passed", |_| Instant::now() >= until);
    }

    /// Waits until all is written and handled, stops the members, and has all of it committed and nothing anomalous.
    pub(crate) fn finish(&mut self, kafka: &Cluster, members: &[usize]) {
        self.complete(kafka, members);
        self.group.assert_no_anomaly();
    }

    /// The same without a look for anomalies, where there was more than one log.
    pub(crate) fn complete(&mut self, kafka: &Cluster, members: &[usize]) {
        if let Some(producer) = self.producer.take() {
            let produced = producer.join().unwrap().unwrap();
            assert_eq!(produced.committed.total.records, self.written.records);
        }
        self.group.wait_until_complete();
        self.group.stop(members);
        let name = &self.written.topic;
        let ends = self.group.deliveries.ends();
        let committed = kafka.committed(name, name, self.written.partitions as i32).unwrap();
        assert_eq!(committed, ends.iter().copied().map(Some).collect::<Vec<_>>());
        for (partition, offset) in (0..).zip(ends) {
            self.group.note(Op::Committed { partition, offset });
        }
        self.tell();
    }

    /// Prints what became of the records, for whoever runs this with `--nocapture`.
    #[expect(clippy::print_stdout, reason = "the counts are shown")]
    pub(crate) fn tell(&self) {
        let count = |found: BTreeMap<i32, Vec<Range<i64>>>| -> i64 {
            found.into_values().flatten().map(|range| range.end - range.start).sum()
        };
        let deliveries = &self.group.deliveries;
        println!(
            "{}: {} records, {} missing, {} handled more than once, {} s",
            self.written.topic,
            self.written.records,
            count(deliveries.missing()),
            count(deliveries.repeated()),
            self.began.elapsed().as_secs()
        );
    }

    /// How often partitions were taken from members or given up by them so far.
    pub(crate) fn losses(&self) -> usize {
        let events = self.group.members.iter().flat_map(|member| &member.events);
        events.filter(|event| matches!(event, EngineEvent::Revoked { .. } | EngineEvent::Lost { .. })).count()
    }

    /// Nothing was handled twice.
    pub(crate) fn assert_nothing_repeated(&self) {
        assert_eq!(self.group.deliveries.repeated(), [].into());
    }
}
