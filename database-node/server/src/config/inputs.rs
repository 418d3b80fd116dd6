//! The settings as someone wrote them: flags, variables and the file have the same ones.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::Quantity;
use super::clustering::{Attribute, from_mapping};

/// Settings, each of which may be missing.
///
/// The doc comments are the text of `pliant-node serve --help`.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inputs {
    /// The data directory; it is created if it is missing [default: pliantdb-data]
    #[arg(long, env = "PLIANT_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Where to serve HTTP. Off loopback only with a token file, keys or users [default: 127.0.0.1:6480]
    #[arg(long, env = "PLIANT_LISTEN", value_name = "IP:PORT")]
    pub listen: Option<String>,

    /// Where to serve QUIC (UDP). Off loopback only with a token file, keys or users [default: 127.0.0.1:6481]
    #[arg(long, env = "PLIANT_QUIC_LISTEN", value_name = "IP:PORT")]
    pub quic_listen: Option<String>,

    /// A PEM file with the certificate, and those that lead to its authority: QUIC is served with it, and HTTP by TLS.
    /// It is read again when it changes [default: QUIC with a certificate that the node makes itself, HTTP without TLS]
    #[arg(long, env = "PLIANT_CERTIFICATE_FILE", value_name = "FILE")]
    pub certificate_file: Option<PathBuf>,

    /// A PEM file with the certificate's private key
    #[arg(long, env = "PLIANT_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Where to serve /metrics, /healthz and /readyz. Off loopback only with a token file, keys or users
    /// [default: 127.0.0.1:6483]
    #[arg(long, env = "PLIANT_ADMIN_LISTEN", value_name = "IP:PORT")]
    pub admin_listen: Option<String>,

    /// A file with the bearer token of the administrator. It is read again when it changes [default: none; without users
    /// and jwksFile neither, nobody is asked who they are]
    #[arg(long, env = "PLIANT_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// A file with the public keys (JWKS) of whoever signs JWTs that are taken. It is read again when it changes
    /// [default: none, no JWTs]
    #[arg(long, env = "PLIANT_JWKS_FILE", value_name = "FILE")]
    pub jwks_file: Option<PathBuf>,

    /// The audience (aud) that JWTs must be for
    #[arg(long, env = "PLIANT_JWT_AUDIENCE", value_name = "TEXT")]
    pub jwt_audience: Option<String>,

    /// The issuer (iss) that JWTs must be from [default: whoever has one of the keys]
    #[arg(long, env = "PLIANT_JWT_ISSUER", value_name = "TEXT")]
    pub jwt_issuer: Option<String>,

    /// A file for the audit log, as JSON lines: logins, what was denied, and changes of databases, users and roles
    /// [default: the log only]
    #[arg(long, env = "PLIANT_AUDIT_LOG", value_name = "FILE")]
    pub audit_log: Option<PathBuf>,

    /// A file with the master key, of 64 hexadecimal digits: the data directory is encrypted with it, or is to be when
    /// it is created. Without it, the variable PLIANT_MASTER_KEY may hold the key itself [default: no encryption]
    #[arg(long, env = "PLIANT_MASTER_KEY_FILE", value_name = "FILE")]
    pub master_key_file: Option<PathBuf>,

    /// The largest HTTP body, and message by QUIC or WebSocket [default: 16Mi, or 1/32 of the memory if that is less]
    #[arg(long, env = "PLIANT_MAX_BODY_SIZE", value_name = "BYTES")]
    pub max_body_size: Option<Quantity>,

    /// Places that clients may have backups made to, and what is below them: directories, or URLs such as
    /// s3://bucket/path [default: none]
    #[arg(
        long,
        env = "PLIANT_BACKUP_PLACES",
        value_name = "PLACE,…",
        value_delimiter = ','
    )]
    pub backup_places: Option<Vec<String>>,

    /// Refuse writes when less than this is free on the disk [default: 5 % of it, from 64Mi to 1Gi]
    #[arg(long, env = "PLIANT_MIN_FREE_SPACE", value_name = "BYTES")]
    pub min_free_space: Option<Quantity>,

    /// How to write the log [default: text]
    #[arg(long, env = "PLIANT_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// The least important messages to log [default: info]
    #[arg(long, env = "PLIANT_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,

    /// The OpenTelemetry collector that spans are sent to, by OTLP over HTTP, such as http://collector:4318
    /// [default: none, no spans]
    #[arg(long, env = "PLIANT_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// How long requests in flight may take to finish on SIGTERM [default: 20s]
    #[arg(long, env = "PLIANT_SHUTDOWN_TIMEOUT", value_name = "DURATION")]
    pub shutdown_timeout: Option<String>,

    /// How many connections each listener serves at once; more wait [default: 1024]
    #[arg(long, env = "PLIANT_MAX_CONNECTIONS", value_name = "NUMBER")]
    pub max_connections: Option<usize>,

    /// How many questions a QUIC or WebSocket connection may have waiting for answers [default: 256]
    #[arg(long, env = "PLIANT_MAX_IN_FLIGHT", value_name = "NUMBER")]
    pub max_in_flight: Option<usize>,

    /// How long a client may take to send its headers, or stay idle [default: 30s]
    #[arg(long, env = "PLIANT_HEADER_TIMEOUT", value_name = "DURATION")]
    pub header_timeout: Option<String>,

    /// How long a request may wait for memory, a client take to send a body, and a commit last: each by
    /// itself [default: 30s]
    #[arg(long, env = "PLIANT_REQUEST_TIMEOUT", value_name = "DURATION")]
    pub request_timeout: Option<String>,

    /// How long a snapshot that a client holds may live [default: 1h]
    #[arg(long, env = "PLIANT_SNAPSHOT_LIFETIME", value_name = "DURATION")]
    pub snapshot_lifetime: Option<String>,

    /// Where to listen to the other nodes of a cluster (UDP), which know each other by certificates; without a port it is
    /// 6482 [default: none, the node is alone]
    #[arg(long, env = "PLIANT_NODES_LISTEN", value_name = "IP:PORT")]
    pub nodes_listen: Option<String>,

    /// The host name or IP address under which other nodes and clients reach this one [default: that of nodesListen]
    #[arg(long, env = "PLIANT_ADVERTISE", value_name = "HOST")]
    pub advertise: Option<String>,

    /// The name of the node, which no other node of the cluster has [default: the machine's name]
    #[arg(long, env = "PLIANT_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// What is to be known of the node, such as zone=berlin-1; can be given several times [default: none]
    #[arg(
        long,
        env = "PLIANT_NODE_ATTRIBUTES",
        value_name = "NAME=VALUE",
        value_delimiter = ','
    )]
    #[serde(default, deserialize_with = "from_mapping")]
    pub node_attributes: Option<Vec<Attribute>>,

    /// Where nodes of the cluster are that the node joins; of no account once it is part of one
    /// [default: none, the node founds a cluster]
    #[arg(long, env = "PLIANT_JOIN", value_name = "HOST:PORT,…", value_delimiter = ',')]
    pub join: Option<Vec<String>>,

    /// A file with the token for which the node is given its certificate when it joins: `pliant-node cluster join` makes
    /// one. Without it, the variable PLIANT_JOIN_TOKEN may hold the token itself
    #[arg(long, env = "PLIANT_JOIN_TOKEN_FILE", value_name = "FILE")]
    pub join_token_file: Option<PathBuf>,

    /// The name of the cluster that the node founds [default: pliantdb]
    #[arg(long, env = "PLIANT_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: Option<String>,

    /// A PEM file with the certificate that the node shows other nodes. It is read again when it changes
    /// [default: one by the cluster's own authority]
    #[arg(long, env = "PLIANT_NODES_CERTIFICATE_FILE", value_name = "FILE")]
    pub nodes_certificate_file: Option<PathBuf>,

    /// A PEM file with that certificate's private key
    #[arg(long, env = "PLIANT_NODES_KEY_FILE", value_name = "FILE")]
    pub nodes_key_file: Option<PathBuf>,

    /// A PEM file with the certificate of the authority that issues the nodes' certificates
    #[arg(long, env = "PLIANT_NODES_AUTHORITY_FILE", value_name = "FILE")]
    pub nodes_authority_file: Option<PathBuf>,
}

impl Inputs {
    /// These settings, and where they are missing those of `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            data: self.data.or(other.data),
            listen: self.listen.or(other.listen),
            quic_listen: self.quic_listen.or(other.quic_listen),
            certificate_file: self.certificate_file.or(other.certificate_file),
            key_file: self.key_file.or(other.key_file),
            admin_listen: self.admin_listen.or(other.admin_listen),
            token_file: self.token_file.or(other.token_file),
            jwks_file: self.jwks_file.or(other.jwks_file),
            jwt_audience: self.jwt_audience.or(other.jwt_audience),
            jwt_issuer: self.jwt_issuer.or(other.jwt_issuer),
            audit_log: self.audit_log.or(other.audit_log),
            master_key_file: self.master_key_file.or(other.master_key_file),
            max_body_size: self.max_body_size.or(other.max_body_size),
            backup_places: self.backup_places.or(other.backup_places),
            min_free_space: self.min_free_space.or(other.min_free_space),
            log_format: self.log_format.or(other.log_format),
            log_level: self.log_level.or(other.log_level),
            otlp_endpoint: self.otlp_endpoint.or(other.otlp_endpoint),
            shutdown_timeout: self.shutdown_timeout.or(other.shutdown_timeout),
            max_connections: self.max_connections.or(other.max_connections),
            max_in_flight: self.max_in_flight.or(other.max_in_flight),
            header_timeout: self.header_timeout.or(other.header_timeout),
            request_timeout: self.request_timeout.or(other.request_timeout),
            snapshot_lifetime: self.snapshot_lifetime.or(other.snapshot_lifetime),
            nodes_listen: self.nodes_listen.or(other.nodes_listen),
            advertise: self.advertise.or(other.advertise),
            node_name: self.node_name.or(other.node_name),
            node_attributes: self.node_attributes.or(other.node_attributes),
            join: self.join.or(other.join),
            join_token_file: self.join_token_file.or(other.join_token_file),
            cluster_name: self.cluster_name.or(other.cluster_name),
            nodes_certificate_file: self.nodes_certificate_file.or(other.nodes_certificate_file),
            nodes_key_file: self.nodes_key_file.or(other.nodes_key_file),
            nodes_authority_file: self.nodes_authority_file.or(other.nodes_authority_file),
        }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// The least important messages that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only what went wrong
    Error,
    /// Also what may go wrong
    Warn,
    /// Also start, stop and other rare events
    Info,
    /// Also every request
    Debug,
    /// Everything
    Trace,
}
