//! The settings of a node of a cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::{ConfigError, Inputs, impossible};

/// The port of nodes when none is said.
const PORT: u16 = 6482;

/// The name of a cluster when none is said.
const CLUSTER: &str = "pliantdb";

/// Attributes that a node gives itself.
const OWN: [&str; 6] = ["address", "http", "quic", "fingerprint", "version", "understands"];

/// How many attributes a node can have.
const MAX_ATTRIBUTES: usize = 64;
/// How many characters a name has at most.
const MAX_NAME: usize = 63;
/// How many bytes the value of an attribute has at most.
const MAX_VALUE: usize = 255;

/// How a node is part of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clustering {
    /// Where it listens to other nodes (UDP).
    pub listen: SocketAddr,
    /// Under what name or address other nodes and clients reach it.
    pub advertise: Host,
    /// Its name, which no other node of the cluster has.
    pub name: String,
    /// What its owner says of it, such as its zone.
    pub attributes: BTreeMap<String, String>,
    /// Where nodes of the cluster are that it joins, as `host:port`; without any it founds one.
    pub join: Vec<String>,
    /// The name of the cluster that it founds.
    pub cluster: String,
    /// Where its certificate for other nodes comes from.
    pub certificate: NodeCertificate,
}

/// Where a node's certificate for other nodes comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeCertificate {
    /// From the cluster's own authority.
    Own {
        /// The file with the token that it is given for when the node joins.
        token_file: Option<PathBuf>,
    },
    /// From its owner.
    Files {
        /// The certificate, and those that lead to its authority, as PEM.
        certificate: PathBuf,
        /// Its private key, as PEM.
        key: PathBuf,
        /// The authority's certificate, as PEM.
        authority: PathBuf,
    },
}

/// A host name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    /// The host and a port, as in `db.example:6482` or `[::1]:6482`.
    #[must_use]
    pub fn with_port(&self, port: u16) -> String {
        match self.0.parse::<Ipv6Addr>() {
            Ok(address) => SocketAddr::from((address, port)).to_string(),
            Err(_) => format!("{}:{port}", self.0),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string())
    }
}

/// A text that is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidHost;

impl FromStr for Host {
    type Err = InvalidHost;

    /// An IP address, one of version 6 in brackets or not, or a name as DNS has it.
    fn from_str(text: &str) -> Result<Self, InvalidHost> {
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Some(inner) = inner {
            let address = inner.parse::<Ipv6Addr>().map_err(|_| InvalidHost)?;
            return Ok(Self(address.to_string()));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        let is_label = |label: &str| {
            (1..=MAX_NAME).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let labels = text.strip_suffix('.').unwrap_or(text);
        // What ends with a number is an address that is wrong.
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        match labels.len() <= 253
            && labels.split('.').all(is_label)
            && !labels.rsplit('.').next().is_some_and(is_number)
        {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidHost),
        }
    }
}

/// Checks what is said of a cluster; `None` when nothing is.
pub(super) fn check(inputs: &Inputs) -> Result<Option<Clustering>, ConfigError> {
    let Some(listen) = &inputs.nodes_listen else {
        return match first_given(inputs) {
            Some(given) => Err(half(given, "nodesListen")),
            None => Ok(None),
        };
    };
    let listen = listening(listen)?;
    let join = inputs.join.as_deref().unwrap_or_default();
    let join = join
        .iter()
        .map(|seed| place(seed))
        .collect::<Result<Vec<_>, _>>()?;
    let certificate = certificate(inputs)?;
    match (&certificate, &inputs.join_token_file) {
        (NodeCertificate::Files { .. }, Some(file)) => {
            let right =
                "leave it out: with a certificate of its own (nodesCertificateFile) the node needs none";
            return Err(impossible("joinTokenFile", &file.to_string_lossy(), right));
        }
        (NodeCertificate::Own { .. }, Some(_)) if join.is_empty() => {
            return Err(half("joinTokenFile", "join"));
        }
        _ => {}
    }
    Ok(Some(Clustering {
        advertise: advertised(inputs.advertise.as_deref(), listen)?,
        name: node_name(inputs.node_name.as_deref())?,
        attributes: attributes(inputs)?,
        cluster: cluster_name(inputs.cluster_name.as_deref())?,
        listen,
        join,
        certificate,
    }))
}

/// The first setting of a cluster that is there.
fn first_given(inputs: &Inputs) -> Option<&'static str> {
    let given = [
        ("join", inputs.join.is_some()),
        ("joinTokenFile", inputs.join_token_file.is_some()),
        ("advertise", inputs.advertise.is_some()),
        ("nodeName", inputs.node_name.is_some()),
        ("nodeAttributes", inputs.node_attributes.is_some()),
        ("clusterName", inputs.cluster_name.is_some()),
        ("nodesCertificateFile", inputs.nodes_certificate_file.is_some()),
        ("nodesKeyFile", inputs.nodes_key_file.is_some()),
        ("nodesAuthorityFile", inputs.nodes_authority_file.is_some()),
    ];
    given
        .into_iter()
        .find(|(_, is_given)| *is_given)
        .map(|(name, _)| name)
}

fn half(given: &'static str, missing: &'static str) -> ConfigError {
    ConfigError::Half { given, missing }
}

fn listening(value: &str) -> Result<SocketAddr, ConfigError> {
    let with_port = value.parse::<SocketAddr>().ok();
    let alone = || Some(SocketAddr::from((ip(value)?, PORT)));
    let right = "write an IP address and a port, as in 10.0.0.1:6482 or [::]:6482; without a port it is 6482";
    with_port
        .or_else(alone)
        .ok_or_else(|| impossible("nodesListen", value, right))
}

fn ip(value: &str) -> Option<IpAddr> {
    let inner = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        None => value.parse().ok(),
    }
}

fn advertised(value: Option<&str>, listen: SocketAddr) -> Result<Host, ConfigError> {
    match value {
        None if listen.ip().is_unspecified() => {
            let right = "set advertise (--advertise, PLIANT_ADVERTISE) to the host name or IP address under which others \
                         reach this node, or listen on that address";
            Err(impossible("nodesListen", &listen.to_string(), right))
        }
        None => Ok(listen.ip().into()),
        Some(value) => {
            let right =
                "write a host name or an IP address without a port, as in db-1.example.com or 10.0.0.1";
            let host = value
                .parse::<Host>()
                .map_err(|InvalidHost| impossible("advertise", value, right))?;
            let is_unspecified = value.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
            match is_unspecified {
                true => Err(impossible(
                    "advertise",
                    value,
                    "choose an address that others can connect to",
                )),
                // The address that others are told has this port.
                false if listen.port() == 0 => {
                    let right = "choose the port when advertise is set, for others are told of it";
                    Err(impossible("nodesListen", &listen.to_string(), right))
                }
                false => Ok(host),
            }
        }
    }
}

/// A node to join, as `host:port`.
fn place(value: &str) -> Result<String, ConfigError> {
    let right = "write where nodes of the cluster are, as in db-1.example.com:6482 or [::1]:6482";
    let wrong = || impossible("join", value, right);
    if let Ok(host) = value.parse::<Host>() {
        return Ok(host.with_port(PORT));
    }
    let (host, port) = value.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.parse::<Host>().map_err(|InvalidHost| wrong())?;
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(wrong)?;
    // A colon too many, as in an address of version 6 without brackets.
    match value == host.with_port(port) || value.starts_with('[') {
        true => Ok(host.with_port(port)),
        false => Err(wrong()),
    }
}

fn is_name(value: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    value.len() <= MAX_NAME
        && value.bytes().all(is_inner)
        && is_edge(value.bytes().next())
        && is_edge(value.bytes().next_back())
}

fn node_name(value: Option<&str>) -> Result<String, ConfigError> {
    let right = "choose 1 to 63 letters, digits, and - _ . between them";
    match value {
        Some(value) if is_name(value) => Ok(value.to_owned()),
        Some(value) => Err(impossible("nodeName", value, right)),
        None => {
            let host = rustix::system::uname();
            let host = host.nodename().to_string_lossy();
            let right = "this machine's name is no name of a node: set nodeName (--node-name, PLIANT_NODE_NAME) to 1 to 63 \
                         letters, digits, and - _ . between them";
            match is_name(&host) {
                true => Ok(host.into_owned()),
                false => Err(impossible("nodeName", &host, right)),
            }
        }
    }
}

fn cluster_name(value: Option<&str>) -> Result<String, ConfigError> {
    let value = value.unwrap_or(CLUSTER);
    match is_name(value) {
        true => Ok(value.to_owned()),
        false => {
            let right = "choose 1 to 63 letters, digits, and - _ . between them";
            Err(impossible("clusterName", value, right))
        }
    }
}

fn attributes(inputs: &Inputs) -> Result<BTreeMap<String, String>, ConfigError> {
    let given = inputs.node_attributes.as_deref().unwrap_or_default();
    let mut attributes = BTreeMap::new();
    for Attribute { name, value } in given {
        let text = format!("{name}={value}");
        let wrong = |right| Err(impossible("nodeAttributes", &text, right));
        if !name.split('/').all(is_name) || name.len() > 2 * MAX_NAME {
            return wrong(
                "a name is 1 to 63 letters, digits, and - _ . between them, as zone and topology.example/rack",
            );
        }
        if OWN.contains(&name.as_str()) {
            return wrong(
                "address, http, quic, fingerprint, version and understands are what the node itself says of itself",
            );
        }
        if value.len() > MAX_VALUE || value.chars().any(char::is_control) {
            return wrong("a value has up to 255 bytes and no control characters");
        }
        if attributes.insert(name.clone(), value.clone()).is_some() {
            return wrong("say it once");
        }
    }
    match attributes.len() <= MAX_ATTRIBUTES {
        true => Ok(attributes),
        false => {
            let value = format!("{} attributes", attributes.len());
            Err(impossible("nodeAttributes", &value, "choose up to 64"))
        }
    }
}

fn certificate(inputs: &Inputs) -> Result<NodeCertificate, ConfigError> {
    let files = [
        ("nodesCertificateFile", &inputs.nodes_certificate_file),
        ("nodesKeyFile", &inputs.nodes_key_file),
        ("nodesAuthorityFile", &inputs.nodes_authority_file),
    ];
    let given = files.iter().find(|(_, file)| file.is_some());
    let missing = files.iter().find(|(_, file)| file.is_none());
    match (files.map(|(_, file)| file.clone()), given, missing) {
        ([Some(certificate), Some(key), Some(authority)], _, _) => Ok(NodeCertificate::Files {
            certificate,
            key,
            authority,
        }),
        (_, Some((given, _)), Some((missing, _))) => Err(half(given, missing)),
        _ => Ok(NodeCertificate::Own {
            token_file: inputs.join_token_file.clone(),
        }),
    }
}

/// What an owner says of a node, as `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Of what kind it is.
    pub name: String,
    /// What it is.
    pub value: String,
}

/// A text that is no attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write name=value, as in zone=berlin-1")]
pub struct InvalidAttribute;

impl FromStr for Attribute {
    type Err = InvalidAttribute;

    fn from_str(text: &str) -> Result<Self, InvalidAttribute> {
        let (name, value) = text.split_once('=').ok_or(InvalidAttribute)?;
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Attributes in a file: a mapping.
pub(super) fn from_mapping<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Attribute>>, D::Error> {
    let mapping: BTreeMap<String, String> = serde::Deserialize::deserialize(deserializer)?;
    let attributes = mapping.into_iter();
    Ok(Some(
        attributes
            .map(|(name, value)| Attribute { name, value })
            .collect(),
    ))
}

#[cfg(test)]
mod tests;
