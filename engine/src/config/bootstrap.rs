//! Lists of brokers: `host:port`, `1.2.3.4:port`, `[::1]:port`, with librdkafka's leniencies.

use std::fmt;
use std::net::Ipv6Addr;

/// The port of a broker that is named without one, as kcat and librdkafka take it.
pub const DEFAULT_PORT: u16 = 9092;
/// The most brokers in one list: beyond it, the list is not a list of brokers to ask first.
const MAX_SERVERS: usize = 1024;
/// The longest name that DNS carries.
const MAX_HOST_BYTES: usize = 255;

/// One broker to ask: a host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HostPort {
    /// A host name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The TCP port, never 0.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads a list parted by commas; empty parts do not count. The error quotes the part that is wrong.
pub(super) fn parse(text: &str) -> Result<Vec<HostPort>, String> {
    let mut servers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let server = server(part).map_err(|problem| format!("{part:?}: {problem}"))?;
        if servers.len() == MAX_SERVERS {
            return Err(format!("more than {MAX_SERVERS} brokers"));
        }
        if !servers.contains(&server) {
            servers.push(server);
        }
    }
    if servers.is_empty() { Err("no broker is named".to_owned()) } else { Ok(servers) }
}

fn server(part: &str) -> Result<HostPort, String> {
    let part = match part.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("PLAINTEXT") => rest,
        Some((scheme, _)) => return Err(format!("{scheme} is not supported yet; only PLAINTEXT is")),
        None => part,
    };
    let (host, port) = split(part)?;
    let port = match port {
        Some(port) => port_number(port)?,
        None => DEFAULT_PORT,
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// Host and, if there is one, port; brackets come off.
fn split(part: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = part.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
        // A zone such as %eth0 is the resolver's business.
        let bare = address.split_once('%').map_or(address, |(bare, _)| bare);
        bare.parse::<Ipv6Addr>().map_err(|_| format!("{address} is no IPv6 address"))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err("after the bracket comes :port".to_owned()),
        };
        return Ok((address, port));
    }
    let (host, port) = match part.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            return Err("write an IPv6 address in brackets, as in [::1]:9092".to_owned());
        }
        Some((host, port)) => (host, Some(port)),
        None => (part, None),
    };
    let legal =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_') || !byte.is_ascii();
    if host.is_empty() || host.len() > MAX_HOST_BYTES || !host.bytes().all(legal) {
        return Err("this is no host name".to_owned());
    }
    Ok((host, port))
}

fn port_number(text: &str) -> Result<u16, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(format!("{text:?} is no port from 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(servers) => servers.iter().map(HostPort::to_string).collect::<Vec<_>>().join(" "),
            Err(problem) => panic!("{text}: {problem}"),
        }
    }

    #[test]
    fn names_and_addresses_of_both_families_are_read() {
        assert_eq!(read("a:1,b.example-x.org:65535"), "a:1 b.example-x.org:65535");
        assert_eq!(read("127.0.0.1:9092"), "127.0.0.1:9092");
        assert_eq!(read("[::1]:9093,[fe80::1%eth0]:1"), "[::1]:9093 [fe80::1%eth0]:1");
        assert_eq!(read("PLAINTEXT://h:1"), "h:1");
    }

    #[test]
    fn a_missing_port_is_kafkas_and_repetitions_count_once() {
        assert_eq!(read("h, h:9092 ,,[::1]"), "h:9092 [::1]:9092");
    }

    #[test]
    fn a_bad_part_is_quoted_with_what_is_wrong() {
        for (text, expected) in [
            ("", "no broker"),
            ("ok:1,h:0", "\"h:0\""),
            ("h:65536", "no port"),
            ("h:+1", "no port"),
            ("h:", "no port"),
            (":9092", "no host name"),
            ("a b:1", "no host name"),
            ("::1:9092", "in brackets"),
            ("[::1", "not closed"),
            ("[::g]:1", "no IPv6 address"),
            ("[::1]9092", "comes :port"),
            ("SSL://h:1", "not supported yet"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }

    #[test]
    fn a_list_without_end_is_refused() {
        let text: String = (0..5000).map(|i| format!("h{i}:1,")).collect();
        assert!(parse(&text).unwrap_err().contains("more than"));
    }
}
