//! How a peer program is asked: one set of options for every client, in every language.

use std::time::Duration;

use lexopt::prelude::*;

/// What to read, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where the cluster is, as `host:port`.
    pub bootstrap: String,
    /// The topic.
    pub topic: String,
    /// Its partitions are 0 up to this number.
    pub partitions: u32,
    /// Reading ends after so many records of all partitions.
    pub records: u64,
    /// Whether a checksum of all values is wanted. Such a run is not timed.
    pub checksum: bool,
    /// The group to join; without one, all partitions are assigned by hand.
    pub group: Option<Group>,
    /// Whether the CRC-32C of every record batch is checked.
    pub crc: bool,
    /// How long the handler spins for each record.
    pub handler: Duration,
    /// Only records whose value begins with this byte take the handler so long.
    pub handler_tag: Option<u8>,
    /// How responses are asked for.
    pub fetching: Fetching,
    /// Whether records of transactions that are not committed are wanted.
    pub isolation: Isolation,
    /// Without a record for this long, the run has failed.
    pub idle_timeout: Duration,
    /// How often everything is read; the last time counts.
    pub passes: u32,
    /// Settings under the client's own names, which win over all others.
    pub properties: Vec<(String, String)>,
}

/// A group to read as the only member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Time between automatic commits.
    pub commit_interval: Duration,
}

/// The limits of Fetch requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetching {
    /// The most bytes of one response.
    pub max_bytes: u32,
    /// The most bytes of one partition in it.
    pub partition_max_bytes: u32,
    /// The longest that a broker holds a response back, in milliseconds.
    pub wait_ms: u32,
    /// A response is held back until it has so many bytes.
    pub min_bytes: u32,
}

/// Which records of transactions are delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// All of them.
    ReadUncommitted,
    /// Those of committed ones.
    ReadCommitted,
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// To read.
    Read(Request),
    /// The client's name and version.
    Version,
}

impl Default for Fetching {
    /// What every client can be told, and the defaults of Java's.
    fn default() -> Self {
        Self { max_bytes: 52_428_800, partition_max_bytes: 1_048_576, wait_ms: 500, min_bytes: 1 }
    }
}

impl Isolation {
    /// As Kafka writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadUncommitted => "read_uncommitted",
            Self::ReadCommitted => "read_committed",
        }
    }
}

impl Request {
    /// Reads all of a topic by hand-assigned partitions, with the limits that every client is given.
    pub fn new(bootstrap: &str, topic: &str, partitions: u32, records: u64) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            partitions,
            records,
            checksum: false,
            group: None,
            crc: true,
            handler: Duration::ZERO,
            handler_tag: None,
            fetching: Fetching::default(),
            isolation: Isolation::ReadUncommitted,
            idle_timeout: Duration::from_secs(30),
            passes: 1,
            properties: Vec::new(),
        }
    }

    /// Reads a command line. `own` is shown options that are not of the contract, and says whether it knows them.
    ///
    /// # Errors
    /// An option that nobody knows, one without its value, or one that is missing.
    pub fn parse(
        parser: &mut lexopt::Parser,
        mut own: impl FnMut(&str, &mut lexopt::Parser) -> Result<bool, lexopt::Error>,
    ) -> Result<Asked, lexopt::Error> {
        let mut request = Self::new("", "", 0, 0);
        let mut commit_interval = Duration::from_secs(1);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("version") => return Ok(Asked::Version),
                Short('X') => request.properties.push(property(&parser.value()?.string()?)?),
                Long("commit-interval-ms") => {
                    commit_interval = Duration::from_millis(parser.value()?.parse()?)
                }
                Long(name) => {
                    let name = name.to_owned();
                    if !request.take(&name, parser)? && !own(&name, parser)? {
                        return Err(Long(&name).unexpected());
                    }
                }
                other => return Err(other.unexpected()),
            }
        }
        if let Some(group) = &mut request.group {
            group.commit_interval = commit_interval;
        }
        request.check()?;
        Ok(Asked::Read(request))
    }

    /// The command line that `parse` reads this from.
    pub fn arguments(&self) -> Vec<String> {
        let fetching = &self.fetching;
        let mut all = Vec::new();
        let mut option =
            |name: &str, value: &dyn ToString| all.extend([format!("--{name}"), value.to_string()]);
        option("bootstrap", &self.bootstrap);
        option("topic", &self.topic);
        option("partitions", &self.partitions);
        option("records", &self.records);
        option("crc", &self.crc);
        option("fetch-max-bytes", &fetching.max_bytes);
        option("partition-max-bytes", &fetching.partition_max_bytes);
        option("fetch-wait-ms", &fetching.wait_ms);
        option("fetch-min-bytes", &fetching.min_bytes);
        option("isolation", &self.isolation.as_str());
        option("idle-timeout-s", &self.idle_timeout.as_secs());
        if self.passes > 1 {
            option("passes", &self.passes);
        }
        if !self.handler.is_zero() {
            option("handler-ns", &self.handler.as_nanos());
        }
        if let Some(tag) = self.handler_tag {
            option("handler-tag", &tag);
        }
        if let Some(group) = &self.group {
            option("group", &group.name);
            option("commit-interval-ms", &group.commit_interval.as_millis());
        }
        if self.checksum {
            all.push("--checksum".to_owned());
        }
        all.extend(
            self.properties.iter().flat_map(|(name, value)| ["-X".to_owned(), format!("{name}={value}")]),
        );
        all
    }

    /// Takes an option of the contract, if it is one.
    fn take(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<bool, lexopt::Error> {
        match name {
            "bootstrap" => self.bootstrap = parser.value()?.string()?,
            "topic" => self.topic = parser.value()?.string()?,
            "partitions" => self.partitions = parser.value()?.parse()?,
            "records" => self.records = parser.value()?.parse()?,
            "checksum" => self.checksum = true,
            "group" => {
                let name = parser.value()?.string()?;
                self.group = Some(Group { name, commit_interval: Duration::ZERO });
            }
            "crc" => self.crc = parser.value()?.parse()?,
            "handler-ns" => self.handler = Duration::from_nanos(parser.value()?.parse()?),
            "handler-tag" => self.handler_tag = Some(parser.value()?.parse()?),
            "fetch-max-bytes" => self.fetching.max_bytes = parser.value()?.parse()?,
            "partition-max-bytes" => self.fetching.partition_max_bytes = parser.value()?.parse()?,
            "fetch-wait-ms" => self.fetching.wait_ms = parser.value()?.parse()?,
            "fetch-min-bytes" => self.fetching.min_bytes = parser.value()?.parse()?,
            "isolation" => self.isolation = isolation(&parser.value()?.string()?)?,
            "idle-timeout-s" => self.idle_timeout = Duration::from_secs(parser.value()?.parse()?),
            "passes" => self.passes = parser.value()?.parse()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&self) -> Result<(), lexopt::Error> {
        let missing = |option: &str| Err(format!("--{option} is missing").into());
        let zero = |option: &str| Err(format!("--{option} must be at least 1").into());
        match self {
            _ if self.bootstrap.is_empty() => missing("bootstrap HOST:PORT"),
            _ if self.topic.is_empty() => missing("topic NAME"),
            _ if self.partitions == 0 => zero("partitions"),
            _ if self.records == 0 => zero("records"),
            _ if self.passes == 0 => zero("passes"),
            _ if self.idle_timeout.is_zero() => zero("idle-timeout-s"),
            _ => Ok(()),
        }
    }
}

fn property(pair: &str) -> Result<(String, String), lexopt::Error> {
    let (name, value) =
        pair.split_once('=').ok_or_else(|| format!("-X {pair}: write it as -X name=value"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn isolation(name: &str) -> Result<Isolation, lexopt::Error> {
    match name {
        "read_uncommitted" => Ok(Isolation::ReadUncommitted),
        "read_committed" => Ok(Isolation::ReadCommitted),
        other => Err(format!("--isolation {other}: use read_uncommitted or read_committed").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[String]) -> Result<Asked, lexopt::Error> {
        let words = std::iter::once("peer").chain(arguments.iter().map(String::as_str));
        Request::parse(&mut lexopt::Parser::from_iter(words), |_, _| Ok(false))
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_request_comes_through_its_command_line_as_it_was() {
        let plain = Request::new("localhost:9092", "orders", 4, 1000);
        let full = Request {
            checksum: true,
            group: Some(Group { name: "g".to_owned(), commit_interval: Duration::from_millis(250) }),
            crc: false,
            handler: Duration::from_nanos(1500),
            handler_tag: Some(90),
            fetching: Fetching { max_bytes: 1, partition_max_bytes: 2, wait_ms: 3, min_bytes: 4 },
            isolation: Isolation::ReadCommitted,
            idle_timeout: Duration::from_secs(7),
            passes: 3,
            properties: vec![("a".to_owned(), "b=c".to_owned())],
            ..plain.clone()
        };
        for request in [plain, full] {
            match parse(&request.arguments()) {
                Ok(Asked::Read(read)) => assert_eq!(read, request),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_missing_or_unknown_is_named() {
        let cases = [
            ("--topic t --partitions 1 --records 1", "--bootstrap HOST:PORT"),
            ("--bootstrap h:1 --partitions 1 --records 1", "--topic NAME"),
            ("--bootstrap h:1 --topic t --records 1", "--partitions"),
            ("--bootstrap h:1 --topic t --partitions 1", "--records"),
            ("--frobnicate", "--frobnicate"),
            ("-X novalue", "novalue"),
            ("--isolation both", "both"),
        ];
        for (line, named) in cases {
            let error = parse(&words(line)).unwrap_err().to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }

    #[test]
    fn options_of_one_client_are_offered_to_it() {
        let mut mode = String::new();
        let line = "peer --mode single --bootstrap h:1 --topic t --partitions 1 --records 1";
        let mut parser = lexopt::Parser::from_iter(line.split(' '));
        let asked = Request::parse(&mut parser, |name, parser| {
            mode = parser.value()?.string()?;
            Ok(name == "mode")
        });
        assert!(matches!(asked, Ok(Asked::Read(_))));
        assert_eq!(mode, "single");
    }

    #[test]
    fn the_version_is_asked_for_without_anything_else() {
        assert!(matches!(parse(&words("--version")), Ok(Asked::Version)));
    }
}
