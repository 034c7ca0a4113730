//! What cluster a test wants, and the properties files that make it.

use std::net::SocketAddr;
use std::path::Path;

/// The Kafka version that tests run against unless they say otherwise.
pub const DEFAULT_VERSION: &str = "4.1.0";

/// What cluster a test wants.
#[derive(Debug, Clone)]
pub struct Spec {
    pub(super) version: String,
    pub(super) brokers: u16,
    pub(super) properties: Vec<(String, String)>,
    pub(super) cores: Option<String>,
    pub(super) is_proxied: bool,
    pub(super) has_racks: bool,
}

impl Spec {
    /// One broker of [`DEFAULT_VERSION`].
    pub fn new() -> Self {
        Self {
            version: DEFAULT_VERSION.to_owned(),
            brokers: 1,
            properties: Vec::new(),
            cores: None,
            is_proxied: false,
            has_racks: false,
        }
    }

    /// Another Kafka version. Versions below 3.3 run with ZooKeeper, later ones with KRaft.
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// How many brokers (at least one). Internal topics are replicated to all of them.
    pub fn brokers(mut self, brokers: u16) -> Self {
        assert!(brokers > 0, "a cluster needs a broker");
        self.brokers = brokers;
        self
    }

    /// Sets a broker property, after and over the fixture's own.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        self.properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Confines the brokers to these cores (a list as `taskset -c` takes it), so that they do not disturb a
    /// measurement.
    pub fn cores(mut self, cores: &str) -> Self {
        self.cores = Some(cores.to_owned());
        self
    }

    /// Puts a proxy before each broker, for clients that use
    /// [`proxied_bootstrap`](super::KafkaCluster::proxied_bootstrap): all of their connections go through it, those
    /// between brokers do not. Only with KRaft.
    pub fn proxied(mut self) -> Self {
        self.is_proxied = true;
        self
    }

    /// Puts each broker into a rack of its own, see [`rack`], and has leaders name a follower to clients that are in
    /// its rack.
    pub fn racks(mut self) -> Self {
        self.has_racks = true;
        self
    }

    /// Whether this version runs without ZooKeeper. KRaft was ready for production in 3.3.
    pub(super) fn is_kraft(&self) -> bool {
        let mut numbers = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (numbers.next(), numbers.next()) >= (Some(3), Some(3))
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self::new()
    }
}

/// The rack of a broker, where there are racks.
pub fn rack(id: i32) -> String {
    format!("rack-{id}")
}

/// The loopback ports of one broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) client: u16,
    /// Of the KRaft controller in the same process.
    pub(super) controller: u16,
    /// Of the listener behind a proxy, and where the proxy listens.
    pub(super) behind_proxy: Option<(u16, SocketAddr)>,
}

/// The `server.properties` of the broker with this index (its id is one more).
pub(super) fn server_properties(
    spec: &Spec,
    index: usize,
    ports: &[Ports],
    zookeeper: Option<u16>,
    data: &Path,
) -> String {
    let id = (index + 1).to_string();
    let own = ports[index];
    let replicas = ports.len().to_string();
    let client = format!("PLAINTEXT://127.0.0.1:{}", own.client);
    let mut lines: Vec<(&str, String)> = vec![
        ("log.dirs", data.display().to_string()),
        ("advertised.listeners", client.clone()),
        ("offsets.topic.replication.factor", replicas.clone()),
        ("transaction.state.log.replication.factor", replicas),
    ];
    if spec.has_racks {
        let selector = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
        lines.push(("broker.rack", rack(index as i32 + 1)));
        lines.push(("replica.selector.class", selector.to_owned()));
    }
    match zookeeper {
        Some(port) => {
            lines.push(("broker.id", id));
            lines.push(("listeners", client));
            lines.push(("zookeeper.connect", format!("127.0.0.1:{port}")));
        }
        None => {
            let voters: Vec<String> =
                (1..).zip(ports).map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller)).collect();
            lines.push(("node.id", id));
            lines.push(("process.roles", "broker,controller".to_owned()));
            lines.push(("controller.quorum.voters", voters.join(",")));
            lines.push(("controller.listener.names", "CONTROLLER".to_owned()));
            let mut listeners = format!("{client},CONTROLLER://127.0.0.1:{}", own.controller);
            if let Some((port, proxy)) = own.behind_proxy {
                listeners += &format!(",PROXIED://127.0.0.1:{port}");
                lines.push(("advertised.listeners", format!("{client},PROXIED://{proxy}")));
                lines.push(("inter.broker.listener.name", "PLAINTEXT".to_owned()));
                let protocols =
                    ["PLAINTEXT", "CONTROLLER", "PROXIED"].map(|name| format!("{name}:PLAINTEXT"));
                lines.push(("listener.security.protocol.map", protocols.join(",")));
            }
            lines.push(("listeners", listeners));
        }
    }
    let fixed = FAST_TEST_PROPERTIES.iter().map(|&(name, value)| (name, value));
    let of_spec = spec.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    lines
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(fixed)
        .chain(of_spec)
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}

/// Everything that would make a test wait, or hide a mistake, set otherwise.
const FAST_TEST_PROPERTIES: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    ("num.partitions", "1"),
    ("offsets.topic.num.partitions", "3"),
    ("transaction.state.log.num.partitions", "3"),
    ("transaction.state.log.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "1000"),
    // Seeded records carry timestamps of long ago, which retention by time would delete within the test.
    ("log.retention.ms", "-1"),
    // Compaction soon after it is due, with a small buffer.
    ("log.cleaner.backoff.ms", "200"),
    ("log.cleaner.dedupe.buffer.size", "16777216"),
    // A killed broker is noticed in seconds, yet not so fast that a busy machine looks like a dead one.
    ("broker.heartbeat.interval.ms", "500"),
    ("broker.session.timeout.ms", "6000"),
    ("zookeeper.session.timeout.ms", "6000"),
    ("zookeeper.connection.timeout.ms", "30000"),
    ("controlled.shutdown.max.retries", "1"),
];

/// The `zoo.cfg` of the one ZooKeeper of an old cluster.
pub(super) fn zookeeper_properties(port: u16, data: &Path) -> String {
    format!(
        "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\ntickTime=1000\n\
         admin.enableServer=false\n",
        data.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_below_3_3_run_with_zookeeper() {
        assert!(!Spec::new().version("2.8.2").is_kraft());
        assert!(!Spec::new().version("3.2.9").is_kraft());
        assert!(Spec::new().version("3.3.0").is_kraft());
        assert!(Spec::new().version("4.1.0").is_kraft());
    }

    #[test]
    fn a_property_of_the_spec_comes_after_the_fixtures_own() {
        let spec = Spec::new().property("num.partitions", "7");
        let ports = [Ports { client: 1, controller: 2, behind_proxy: None }];
        let text = server_properties(&spec, 0, &ports, None, Path::new("/data"));
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("num.partitions")).collect();
        assert_eq!(lines, ["num.partitions=1", "num.partitions=7"]);
    }
}
