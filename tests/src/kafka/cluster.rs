//! A cluster of real brokers on loopback ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::client::Client;
use super::config::{Ports, Spec, server_properties, zookeeper_properties};
use super::error::{AtPath, Error, Result};
use super::jars::Jars;
use super::process::{Process, wait_until};
use super::scratch::Scratch;
use crate::proxy::FaultProxy;

/// Any fixed id does: base64 of 16 bytes.
const CLUSTER_ID: &str = "bWlsbHN0cmVhbS10ZXN0cw";
const FORMAT_LIMIT: Duration = Duration::from_secs(120);
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const HEAP_MB: u32 = 1024;
const TOOL_HEAP_MB: u32 = 256;
/// Below the kernel's ephemeral ports, so that no outgoing connection takes the port of a broker that is down.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
const PORT_ATTEMPTS: usize = 1000;

/// Real Kafka brokers of one cluster, ended when this is dropped.
pub struct KafkaCluster {
    pub(super) spec: Spec,
    jars: Jars,
    ports: Vec<Ports>,
    /// One for each broker, or none.
    proxies: Vec<FaultProxy>,
    /// By index, which is the broker's id less one; `None` while it is down.
    brokers: Vec<Option<Process>>,
    // After the brokers: fields are dropped in order, and brokers should not outlive either.
    _zookeeper: Option<Process>,
    scratch: Scratch,
}

impl KafkaCluster {
    /// Starts a cluster and waits until all its brokers know each other.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if this machine cannot run Kafka; otherwise what went wrong, with the end of the
    /// broker's log.
    pub fn start(spec: Spec) -> Result<Self> {
        let jars = Jars::of(&spec.version)?;
        let scratch = Scratch::new()?;
        assert!(spec.is_kraft() || !spec.is_proxied, "only brokers under KRaft are proxied");
        let mut ports = free_ports(spec.brokers)?;
        let proxies = match spec.is_proxied {
            true => ports.iter_mut().map(behind_proxy).collect::<Result<_>>()?,
            false => Vec::new(),
        };
        let zookeeper = match spec.is_kraft() {
            true => None,
            false => Some(start_zookeeper(&jars, scratch.path())?),
        };
        let zookeeper_port = zookeeper.as_ref().map(|(_, port)| *port);
        for index in 0..ports.len() {
            let file = properties_file(scratch.path(), index);
            let data = scratch.path().join(format!("data-{}", index + 1));
            fs::write(&file, server_properties(&spec, index, &ports, zookeeper_port, &data)).at(&file)?;
        }
        if spec.is_kraft() {
            format_storage(&jars, scratch.path(), ports.len())?;
        }
        let brokers = ports.iter().map(|_| None).collect();
        let zookeeper = zookeeper.map(|(process, _)| process);
        let mut cluster = Self { spec, jars, ports, proxies, brokers, _zookeeper: zookeeper, scratch };
        for index in 0..cluster.ports.len() {
            cluster.launch(index)?;
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// All brokers, as `bootstrap.servers` wants them.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> =
            self.ports.iter().map(|ports| address(ports.client).to_string()).collect();
        addresses.join(",")
    }

    /// All brokers by way of their proxies.
    ///
    /// # Panics
    /// If there are none: see [`Spec::proxied`].
    pub fn proxied_bootstrap(&self) -> String {
        assert!(!self.proxies.is_empty(), "this cluster has no proxies");
        let addresses: Vec<String> = self.proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        addresses.join(",")
    }

    /// The proxy before a broker.
    ///
    /// # Panics
    /// If there is none: see [`Spec::proxied`].
    pub fn proxy(&self, id: i32) -> &FaultProxy {
        &self.proxies[self.index(id)]
    }

    /// The version of Kafka that runs.
    pub fn version(&self) -> &str {
        &self.spec.version
    }

    /// The jars it runs from.
    pub fn jars(&self) -> &Jars {
        &self.jars
    }

    /// The folder with each broker's log (`broker-1.log`) and data (`data-1`).
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// The address of a broker; ids count from 1.
    pub fn broker_address(&self, id: i32) -> SocketAddr {
        address(self.ports[self.index(id)].client)
    }

    /// The process id of a broker, while it runs.
    pub fn broker_pid(&self, id: i32) -> Option<u32> {
        self.brokers[self.index(id)].as_ref().map(Process::id)
    }

    /// A connection to a broker.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub fn client(&self, id: i32) -> Result<Client> {
        Client::connect(self.broker_address(id))
    }

    /// Ends a broker at once, as SIGKILL does.
    pub fn kill9(&mut self, id: i32) {
        let index = self.index(id);
        // Dropping a process kills it.
        self.brokers[index] = None;
    }

    /// Ends a broker in order: it hands its leaderships over first.
    pub fn stop(&mut self, id: i32) {
        let index = self.index(id);
        if let Some(mut broker) = self.brokers[index].take() {
            broker.stop(STOP_LIMIT);
        }
    }

    /// Starts a broker again, on its old port and data, and waits until all running brokers know it. One that still
    /// runs is stopped in order before.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn restart(&mut self, id: i32) -> Result<()> {
        self.stop(id);
        let index = self.index(id);
        self.launch(index)?;
        self.wait_until_ready()
    }

    /// Starts all brokers that are down, on their old ports and data, and waits until all know each other.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_all(&mut self) -> Result<()> {
        for index in 0..self.brokers.len() {
            if self.brokers[index].is_none() {
                self.launch(index)?;
            }
        }
        self.wait_until_ready()
    }

    fn index(&self, id: i32) -> usize {
        assert!(id >= 1 && id as usize <= self.ports.len(), "broker ids are 1 to {}", self.ports.len());
        id as usize - 1
    }

    pub(super) fn running(&self) -> impl Iterator<Item = i32> + '_ {
        (1..).zip(&self.brokers).filter(|(_, broker)| broker.is_some()).map(|(id, _)| id)
    }

    pub(super) fn any_running(&self) -> Result<i32> {
        self.running().next().ok_or_else(|| Error::Broker {
            address: self.bootstrap(),
            message: "no broker of the cluster runs".to_owned(),
        })
    }

    fn launch(&mut self, index: usize) -> Result<()> {
        let id = index + 1;
        let mut command = self.jars.java(HEAP_MB);
        command.args(["-Xms128m", "kafka.Kafka"]).arg(properties_file(self.scratch.path(), index));
        if let Some(cores) = &self.spec.cores {
            command = confined(cores, &command);
        }
        let process = Process::start(&format!("Kafka broker {id}"), command, &self.log(index))?;
        self.brokers[index] = Some(process);
        Ok(())
    }

    /// Waits until each running broker lists all running ones.
    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        let ids: Vec<i32> = self.running().collect();
        for &id in &ids {
            let known = wait_until(deadline, || match self.has_ended(id) {
                Some(status) => Some(Err(status)),
                None => {
                    self.metadata(id, None).is_ok_and(|metadata| knows(&metadata, &ids)).then_some(Ok(()))
                }
            });
            let how = match known {
                Some(Ok(())) => continue,
                Some(Err(status)) => format!("ended while starting ({status})"),
                None => format!("was not ready within {START_LIMIT:?}"),
            };
            if let Some(broker) = &self.brokers[self.index(id)] {
                return Err(broker.failed(&how));
            }
        }
        Ok(())
    }

    fn has_ended(&mut self, id: i32) -> Option<ExitStatus> {
        let index = self.index(id);
        self.brokers[index].as_mut()?.ended()
    }

    pub(super) fn metadata(&self, id: i32, topic: Option<&str>) -> Result<MetadataResponse> {
        let topics = topic.map(|name| {
            MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(name.to_owned()))))
        });
        let request = MetadataRequest::default()
            .with_topics(Some(topics.into_iter().collect()))
            .with_allow_auto_topic_creation(false);
        self.client(id)?.request(&request)
    }

    fn log(&self, index: usize) -> PathBuf {
        self.scratch.path().join(format!("broker-{}.log", index + 1))
    }
}

/// The same command on certain cores; `taskset` becomes it, so the process id stays the one that was started.
fn confined(cores: &str, command: &Command) -> Command {
    let mut taskset = Command::new("taskset");
    taskset.args(["-c", cores]).arg(command.get_program()).args(command.get_args());
    taskset
}

fn knows(metadata: &MetadataResponse, ids: &[i32]) -> bool {
    ids.iter().all(|id| metadata.brokers.iter().any(|broker| broker.node_id.0 == *id))
}

fn start_zookeeper(jars: &Jars, folder: &Path) -> Result<(Process, u16)> {
    let port = free_port()?;
    let file = folder.join("zoo.cfg");
    fs::write(&file, zookeeper_properties(port, &folder.join("zookeeper"))).at(&file)?;
    let mut command: Command = jars.java(TOOL_HEAP_MB);
    command
        .args(["-Dzookeeper.admin.enableServer=false", "org.apache.zookeeper.server.quorum.QuorumPeerMain"]);
    command.arg(&file);
    let mut process = Process::start("ZooKeeper", command, &folder.join("zookeeper.log"))?;
    let up = || TcpStream::connect(address(port)).is_ok() || process.ended().is_some();
    let answered = wait_until(Instant::now() + START_LIMIT, up).is_some();
    match process.ended() {
        Some(status) => Err(process.failed(&format!("ended while starting ({status})"))),
        None if !answered => Err(process.failed(&format!("was not ready within {START_LIMIT:?}"))),
        None => Ok((process, port)),
    }
}

/// Prepares the data folders of all brokers, at the same time.
fn format_storage(jars: &Jars, folder: &Path, brokers: usize) -> Result<()> {
    let mut running = Vec::new();
    for index in 0..brokers {
        let mut command = jars.java(TOOL_HEAP_MB);
        command.args([
            "-XX:TieredStopAtLevel=1",
            "kafka.tools.StorageTool",
            "format",
            "-t",
            CLUSTER_ID,
            "-c",
        ]);
        command.arg(properties_file(folder, index));
        let log = folder.join(format!("format-{}.log", index + 1));
        running.push(Process::start("Kafka's storage tool", command, &log)?);
    }
    running.into_iter().try_for_each(|tool| tool.finish(FORMAT_LIMIT))
}

fn properties_file(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("server-{}.properties", index + 1))
}

fn free_ports(brokers: u16) -> Result<Vec<Ports>> {
    let ports = || Ok(Ports { client: free_port()?, controller: free_port()?, behind_proxy: None });
    (0..brokers).map(|_| ports()).collect()
}

/// Gives a broker one more listener, with a proxy before it.
fn behind_proxy(ports: &mut Ports) -> Result<FaultProxy> {
    let port = free_port()?;
    let proxy = FaultProxy::start(address(port))
        .map_err(|error| Error::Unavailable(format!("no proxy can be started: {error}")))?;
    ports.behind_proxy = Some((port, proxy.address()));
    Ok(proxy)
}

/// A loopback port that nobody listens on. Another process may take it before the broker does; the range is wide.
fn free_port() -> Result<u16> {
    (0..PORT_ATTEMPTS)
        .map(|_| fastrand::u16(PORTS))
        .find(|&port| TcpListener::bind(address(port)).is_ok())
        .ok_or_else(|| Error::Unavailable(format!("no free loopback port in {PORTS:?}")))
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
