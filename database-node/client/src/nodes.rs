//! Which nodes a client knows, which of them it asks next, and which leads what.

use std::collections::HashMap;
use std::time::Duration;

use pliantdb_core::DatabaseName;
use pliantdb_core::protocol::{NodeAddress, Nodes as Told};
use web_time::Instant;

use crate::address::{Address, InvalidAddress, Transport};

/// How long it is believed who leads a database.
const BELIEF: Duration = Duration::from_secs(30);

/// After what time it is asked again who leads a database when the one that leads it cannot be asked.
const DOUBT: Duration = Duration::from_secs(1);

/// The nodes that a client knows: at least one. Those that it was given come first, and stay.
#[derive(Debug)]
pub(crate) struct Nodes {
    known: Vec<Node>,
    /// How often some node has failed.
    failures: u64,
    /// Whether they are a cluster.
    is_cluster: bool,
    led: HashMap<DatabaseName, Led>,
}

#[derive(Debug)]
struct Node {
    address: Address,
    /// As the cluster calls it, if that is known.
    name: Option<String>,
    is_given: bool,
    /// The number of its failure, if it has not been reached since.
    failed: Option<u64>,
}

/// Who leads a database.
#[derive(Debug)]
struct Led {
    by: Option<String>,
    /// When that is to be asked again.
    ask_at: Instant,
}

impl Nodes {
    /// Those of a text: addresses with commas between them.
    ///
    /// # Errors
    /// What is wrong with the first that is none.
    pub(crate) fn of(text: &str) -> Result<Self, InvalidAddress> {
        let mut known: Vec<Node> = Vec::new();
        for address in text.split(',') {
            let address: Address = address.trim().parse()?;
            if known.iter().all(|node| node.address != address) {
                known.push(Node {
                    address,
                    name: None,
                    is_given: true,
                    failed: None,
                });
            }
        }
        Ok(Self {
            known,
            failures: 0,
            is_cluster: false,
            led: HashMap::new(),
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// All, in the order in which they are to be tried: those that failed last, of them the one that failed first first.
    pub(crate) fn to_try(&self) -> Vec<Address> {
        let mut nodes: Vec<_> = self.known.iter().collect();
        nodes.sort_by_key(|node| node.failed.unwrap_or(0));
        nodes.into_iter().map(|node| node.address.clone()).collect()
    }

    /// Whether there is one that has not failed.
    pub(crate) fn has_untried(&self) -> bool {
        self.known.iter().any(|node| node.failed.is_none())
    }

    /// Another than this one, in turn: one that has not failed, if there is one.
    pub(crate) fn after(&self, address: &Address) -> Option<Address> {
        let at = self.known.iter().position(|node| node.address == *address);
        let (before, behind) = self.known.split_at(at.map_or(0, |at| at + 1));
        let others = || {
            behind
                .iter()
                .chain(before)
                .filter(|node| node.address != *address)
        };
        let next = others()
            .find(|node| node.failed.is_none())
            .or_else(|| others().next());
        next.map(|node| node.address.clone())
    }

    /// This one cannot be reached, or leaves.
    pub(crate) fn failed(&mut self, address: &Address) {
        self.failures += 1;
        if let Some(node) = self.known.iter_mut().find(|node| node.address == *address) {
            node.failed = Some(self.failures);
        }
        // Another may lead what it led.
        for led in self.led.values_mut() {
            led.ask_at = Instant::now();
        }
    }

    /// This one has been reached.
    pub(crate) fn reached(&mut self, address: &Address) {
        if let Some(node) = self.known.iter_mut().find(|node| node.address == *address) {
            node.failed = None;
        }
    }

    /// What a node told of all nodes to a client that talks to it like this. A server alone tells of none.
    pub(crate) fn learn(&mut self, told: &Told, transport: Transport) {
        self.is_cluster = !told.nodes.is_empty();
        if !self.is_cluster {
            return;
        }
        let told: Vec<_> = told
            .nodes
            .iter()
            .filter_map(|node| Some((node.name.as_str(), address_of(node, transport)?)))
            .collect();
        for node in &mut self.known {
            let now = told.iter().find(|(_, address)| *address == node.address);
            node.name = now.map(|(name, _)| (*name).to_owned());
        }
        self.known.retain(|node| node.is_given || node.name.is_some());
        for (name, address) in told {
            if self.known.iter().all(|node| node.address != address) {
                self.known.push(Node {
                    address,
                    name: Some(name.to_owned()),
                    is_given: false,
                    failed: None,
                });
            }
        }
    }

    /// Whether it is now to be asked who leads a database; whoever is told so does ask.
    pub(crate) fn is_to_ask(&mut self, database: &DatabaseName) -> bool {
        if !self.is_cluster {
            return false;
        }
        let now = Instant::now();
        match self.led.get_mut(database) {
            Some(led) if now < led.ask_at => false,
            Some(led) => {
                led.ask_at = now + BELIEF;
                true
            }
            None => {
                let (by, ask_at) = (None, now + BELIEF);
                self.led.insert(database.clone(), Led { by, ask_at });
                true
            }
        }
    }

    /// Who leads a database, as a node told.
    pub(crate) fn set_leader(&mut self, database: &DatabaseName, leader: Option<String>) {
        if let Some(led) = self.led.get_mut(database) {
            led.by = leader;
        }
    }

    /// Who leads a database is not known, or cannot be asked.
    pub(crate) fn doubt(&mut self, database: &DatabaseName) {
        if let Some(led) = self.led.get_mut(database) {
            led.ask_at = led.ask_at.min(Instant::now() + DOUBT);
        }
    }

    /// The node that leads a database, if that is known.
    pub(crate) fn leader(&self, database: &DatabaseName) -> Option<&Address> {
        let name = self.led.get(database)?.by.as_ref()?;
        let leads = self.known.iter().find(|node| node.name.as_ref() == Some(name));
        leads.map(|node| &node.address)
    }
}

/// Where a node is reached like this, if it is. Whoever asked for TLS never goes without.
fn address_of(node: &NodeAddress, transport: Transport) -> Option<Address> {
    let text = match transport {
        Transport::Quic => format!("pliant://{}", node.quic.as_ref()?),
        Transport::WebSocketTls => format!("wss://{}", node.http.as_ref()?.strip_prefix("https://")?),
        Transport::WebSocket => format!("ws://{}", node.http.as_ref()?.strip_prefix("http://")?),
    };
    let mut address: Address = text.parse().ok()?;
    if transport != Transport::WebSocket
        && let Some(fingerprint) = &node.fingerprint
    {
        address = format!("{address}?fingerprint={fingerprint}").parse().ok()?;
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(leader: Option<&str>) -> Told {
        let node = |number: u16| NodeAddress {
            name: format!("node-{number}"),
            http: Some(format!("http://10.0.0.{number}:6480")),
            quic: Some(format!("10.0.0.{number}:6481")),
            fingerprint: Some("ab".repeat(32)),
        };
        Told {
            nodes: (1..=3).map(node).collect(),
            leader: leader.map(str::to_owned),
        }
    }

    fn quic(number: u16) -> String {
        format!("pliant://10.0.0.{number}:6481?fingerprint={}", "ab".repeat(32))
    }

    fn shown(addresses: &[Address]) -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn takes_one_address_or_several() {
        assert_eq!(Nodes::of("pliant://a").unwrap().count(), 1);
        let nodes = Nodes::of("pliant://a, pliant://b,pliant://a").unwrap();
        assert_eq!(shown(&nodes.to_try()), ["pliant://a:6481", "pliant://b:6481"]);
        for text in ["", "pliant://a,", "pliant://a,b"] {
            assert!(Nodes::of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tries_those_last_that_failed_last() {
        let mut nodes = Nodes::of("ws://a,ws://b,ws://c").unwrap();
        nodes.failed(&address("ws://b"));
        nodes.failed(&address("ws://a"));
        assert_eq!(shown(&nodes.to_try()), ["ws://c:80", "ws://b:80", "ws://a:80"]);
        assert!(nodes.has_untried());
        nodes.failed(&address("ws://c"));
        assert_eq!(shown(&nodes.to_try()), ["ws://b:80", "ws://a:80", "ws://c:80"]);
        assert!(!nodes.has_untried());
        nodes.reached(&address("ws://a"));
        assert_eq!(shown(&nodes.to_try()), ["ws://a:80", "ws://b:80", "ws://c:80"]);
    }

    #[test]
    fn goes_from_one_to_another_in_turn() {
        let mut nodes = Nodes::of("ws://a,ws://b,ws://c").unwrap();
        let after = |nodes: &Nodes, text| nodes.after(&address(text)).map(|next| next.to_string());
        assert_eq!(after(&nodes, "ws://a").as_deref(), Some("ws://b:80"));
        assert_eq!(after(&nodes, "ws://c").as_deref(), Some("ws://a:80"));
        nodes.failed(&address("ws://b"));
        assert_eq!(after(&nodes, "ws://a").as_deref(), Some("ws://c:80"));
        nodes.failed(&address("ws://c"));
        assert_eq!(after(&nodes, "ws://a").as_deref(), Some("ws://b:80"));
        assert_eq!(after(&Nodes::of("ws://a").unwrap(), "ws://a"), None);
    }

    #[test]
    fn learns_nodes_of_its_own_kind_and_keeps_those_that_it_was_given() {
        let given = "pliant://elsewhere:6481";
        let mut nodes = Nodes::of(given).unwrap();
        nodes.learn(&told(None), Transport::Quic);
        assert_eq!(
            shown(&nodes.to_try()),
            [given.to_owned(), quic(1), quic(2), quic(3)]
        );
        let mut fewer = told(None);
        fewer.nodes.remove(1);
        nodes.learn(&fewer, Transport::Quic);
        assert_eq!(shown(&nodes.to_try()), [given.to_owned(), quic(1), quic(3)]);
        // A server alone, or a node that knows of no cluster yet, takes nothing away.
        nodes.learn(&Told::default(), Transport::Quic);
        assert_eq!(nodes.count(), 3);

        let mut nodes = Nodes::of("ws://10.0.0.1:6480").unwrap();
        nodes.learn(&told(None), Transport::WebSocket);
        let sockets = ["ws://10.0.0.1:6480", "ws://10.0.0.2:6480", "ws://10.0.0.3:6480"];
        assert_eq!(shown(&nodes.to_try()), sockets);
    }

    #[test]
    fn goes_nowhere_without_tls_that_was_asked_for() {
        let mut nodes = Nodes::of("wss://a").unwrap();
        let mut two = told(None);
        two.nodes[2].http = Some("https://10.0.0.3:6480".to_owned());
        nodes.learn(&two, Transport::WebSocketTls);
        let with_tls = format!("wss://10.0.0.3:6480?fingerprint={}", "ab".repeat(32));
        assert_eq!(shown(&nodes.to_try()), ["wss://a:443".to_owned(), with_tls]);
    }

    #[test]
    fn asks_who_leads_once_and_again_after_a_failure() {
        let database: DatabaseName = "db".parse().unwrap();
        let mut nodes = Nodes::of(&quic(1)).unwrap();
        assert!(
            !nodes.is_to_ask(&database),
            "nobody leads where there is one server only"
        );
        let told = told(Some("node-2"));
        nodes.learn(&told, Transport::Quic);
        assert!(nodes.is_to_ask(&database));
        assert!(!nodes.is_to_ask(&database));
        assert_eq!(nodes.leader(&database), None);
        nodes.set_leader(&database, told.leader);
        assert_eq!(nodes.leader(&database), Some(&address(&quic(2))));
        nodes.failed(&address(&quic(2)));
        assert!(nodes.is_to_ask(&database));
        nodes.set_leader(&database, Some("nobody".to_owned()));
        assert_eq!(nodes.leader(&database), None);
    }
}
