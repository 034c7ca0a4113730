//! Host names and their addresses: asked for through the driver, kept for connections and for the shards.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Addresses that are kept of one name.
const MAX_ADDRESSES_PER_HOST: usize = 64;
/// Names that are being looked up at once, one after the other; beyond that a cluster names what there is not.
const MAX_PENDING: usize = 4_096;
/// Names that are kept; when more come, those that failed and then all others are forgotten.
const MAX_HOSTS: usize = 32_768;

/// A host and a port as a person or a cluster names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Endpoint {
    /// A name or an address, IPv6 without brackets.
    pub(crate) host: Arc<str>,
    /// The TCP port.
    pub(crate) port: u16,
}

/// What is known of a name.
#[derive(Clone, Debug)]
pub(in super::super) enum Lookup {
    /// The driver is asking.
    Pending,
    /// Its addresses; at least one.
    Addresses(Arc<[SocketAddr]>),
    /// It could not be resolved.
    Failed(String),
}

/// The names asked for.
#[derive(Debug, Default)]
pub(in super::super) struct Resolver {
    known: BTreeMap<Endpoint, Lookup>,
    /// How many of them are pending.
    pending: usize,
    /// To be handed to the driver.
    questions: Vec<Endpoint>,
}

impl Endpoint {
    /// The endpoint of this host and port.
    pub(crate) fn new(host: impl Into<Arc<str>>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Resolver {
    /// What is known of a name; asks when nothing is.
    pub(super) fn lookup(&mut self, endpoint: &Endpoint) -> Lookup {
        if let Some(known) = self.known.get(endpoint) {
            return known.clone();
        }
        if let Ok(address) = endpoint.host.parse::<IpAddr>() {
            return Lookup::Addresses([SocketAddr::new(address, endpoint.port)].into());
        }
        if self.pending >= MAX_PENDING {
            return Lookup::Failed(format!("{MAX_PENDING} names are being looked up already"));
        }
        self.make_room();
        self.pending += 1;
        self.known.insert(endpoint.clone(), Lookup::Pending);
        self.questions.push(endpoint.clone());
        Lookup::Pending
    }

    /// Forgets what is known, so that the next lookup asks anew; a question under way stays.
    pub(super) fn forget(&mut self, endpoint: &Endpoint) {
        if !matches!(self.known.get(endpoint), Some(Lookup::Pending)) {
            self.known.remove(endpoint);
        }
    }

    /// The driver's answer. An answer that nobody waits for is dropped.
    pub(super) fn on_resolved(&mut self, endpoint: &Endpoint, result: io::Result<Vec<SocketAddr>>) {
        let Some(known) = self.known.get_mut(endpoint) else { return };
        self.pending -= usize::from(matches!(known, Lookup::Pending));
        *known = match result {
            Ok(addresses) if addresses.is_empty() => {
                Lookup::Failed(format!("{} has no address", endpoint.host))
            }
            Ok(mut addresses) => {
                addresses.truncate(MAX_ADDRESSES_PER_HOST);
                Lookup::Addresses(addresses.into())
            }
            Err(error) => Lookup::Failed(format!("the name {} cannot be resolved: {error}", endpoint.host)),
        };
    }

    /// The next name that the driver should resolve.
    pub(super) fn take_question(&mut self) -> Option<Endpoint> {
        self.questions.pop()
    }

    fn make_room(&mut self) {
        if self.known.len() >= MAX_HOSTS {
            self.known.retain(|_, known| !matches!(known, Lookup::Failed(_)));
        }
        if self.known.len() >= MAX_HOSTS {
            self.known.retain(|_, known| matches!(known, Lookup::Pending));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_asked_for_once_and_an_address_never() {
        let mut resolver = Resolver::default();
        let name = Endpoint::new("kafka.example", 9092);
        assert!(matches!(resolver.lookup(&name), Lookup::Pending));
        assert!(matches!(resolver.lookup(&name), Lookup::Pending));
        assert_eq!(resolver.take_question(), Some(name.clone()));
        assert_eq!(resolver.take_question(), None);
        let address = "10.0.0.1:9092".parse().unwrap();
        resolver.on_resolved(&name, Ok(vec![address]));
        assert!(matches!(resolver.lookup(&name), Lookup::Addresses(found) if *found == [address]));
        let literal = Endpoint::new("::1", 1);
        assert!(matches!(resolver.lookup(&literal), Lookup::Addresses(_)));
        assert_eq!(resolver.take_question(), None);
        assert_eq!(literal.to_string(), "[::1]:1");
    }

    #[test]
    fn a_failed_name_is_asked_for_again_only_after_it_was_forgotten() {
        let mut resolver = Resolver::default();
        let name = Endpoint::new("no.such", 9092);
        resolver.lookup(&name);
        resolver.take_question();
        resolver.on_resolved(&name, Err(io::Error::other("no such host")));
        assert!(matches!(resolver.lookup(&name), Lookup::Failed(reason) if reason.contains("no such host")));
        assert_eq!(resolver.take_question(), None);
        resolver.forget(&name);
        resolver.lookup(&name);
        assert_eq!(resolver.take_question(), Some(name));
    }

    #[test]
    fn names_without_an_end_are_not_looked_up_and_not_kept() {
        let mut resolver = Resolver::default();
        let name = |n: usize| Endpoint::new(format!("broker-{n}.example"), 9092);
        let asked = |resolver: &mut Resolver| std::iter::from_fn(|| resolver.take_question()).count();
        let is_refused = |lookup| matches!(lookup, Lookup::Failed(reason) if reason.contains("already"));
        let refused = (0..3 * MAX_PENDING).filter(|&n| is_refused(resolver.lookup(&name(n)))).count();
        assert_eq!((refused, asked(&mut resolver)), (2 * MAX_PENDING, MAX_PENDING));
        resolver.on_resolved(&name(7), Err(io::Error::other("no such host")));
        resolver.on_resolved(&name(7), Err(io::Error::other("told twice")));
        assert!(matches!(resolver.lookup(&name(3 * MAX_PENDING)), Lookup::Pending), "there is room for one");
        assert!(is_refused(resolver.lookup(&name(3 * MAX_PENDING + 1))));
        for n in (0..MAX_HOSTS + MAX_PENDING).filter(|&n| n != 7) {
            resolver.lookup(&name(n));
            resolver.on_resolved(&name(n), Ok(vec!["10.0.0.1:9092".parse().unwrap()]));
        }
        assert!(resolver.known.len() <= MAX_HOSTS, "{} are kept", resolver.known.len());
    }
}
