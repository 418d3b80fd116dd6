//! The settings, and where they come from.

mod clustering;
mod inputs;
mod quantity;

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use jiff::SignedDuration;
use pliantdb_core::shorten;

pub use clustering::{Attribute, Clustering, Host, InvalidAttribute, InvalidHost, NodeCertificate};
pub use inputs::{Inputs, LogFormat, LogLevel};
pub use quantity::{InvalidQuantity, Quantity};

/// The largest configuration file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// Everything that can be set, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The data directory.
    pub data: PathBuf,
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Where QUIC is served.
    pub quic_listen: SocketAddr,
    /// The certificate to serve with; `None` for one of the node's own, and HTTP without TLS.
    pub certificate: Option<CertificateFiles>,
    /// Where metrics and health are served.
    pub admin_listen: SocketAddr,
    /// The file with the bearer token; `None` for no authentication.
    pub token_file: Option<PathBuf>,
    /// The file with the public keys of whoever signs JWTs; `None` for no JWTs.
    pub jwks_file: Option<PathBuf>,
    /// The audience that JWTs must be for; there with the file of keys.
    pub jwt_audience: Option<String>,
    /// The issuer that JWTs must be from; `None` for whoever has one of the keys.
    pub jwt_issuer: Option<String>,
    /// The file that the audit log is written to besides the log.
    pub audit_log: Option<PathBuf>,
    /// The file with the master key; `None` for [`crate::encryption::VARIABLE`], or no encryption.
    pub master_key_file: Option<PathBuf>,
    /// The largest HTTP body, and message by QUIC or WebSocket, in bytes.
    pub max_body_size: usize,
    /// Where clients may have backups made to: these places, and what is below.
    pub backup_places: Vec<String>,
    /// Bytes that must stay free on the disk; `None` for the storage's own rule.
    pub min_free_space: Option<u64>,
    /// How the log is written.
    pub log_format: LogFormat,
    /// The least important messages that are logged.
    pub log_level: LogLevel,
    /// Where spans are sent to, by OTLP over HTTP; `None` for nowhere. The program sees to it:
    /// [`crate::logging::start_with_traces`].
    pub otlp_endpoint: Option<String>,
    /// How long requests in flight may take to finish when the server stops.
    pub shutdown_timeout: Duration,
    /// How many connections a listener serves at once; more wait to be accepted.
    pub max_connections: usize,
    /// How many questions a QUIC or WebSocket connection may have waiting for answers.
    pub max_in_flight: usize,
    /// How long a client may take to send a request's headers, or stay idle between requests.
    pub header_timeout: Duration,
    /// How long a client may take to send a body, and a commit to be made.
    pub request_timeout: Duration,
    /// How long a snapshot that a client holds may live.
    pub snapshot_lifetime: Duration,
    /// How the node is part of a cluster; `None` for one that is alone.
    pub clustering: Option<Clustering>,
}

/// Where a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those that lead to its authority, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file's content is wrong.
    #[error("the configuration file {} is not valid: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A value that a setting cannot have.
    #[error("{setting} is {value}, which is not possible; {right}")]
    Impossible {
        /// The setting's key.
        setting: &'static str,
        /// The value.
        value: String,
        /// What would be right.
        right: &'static str,
    },
    /// A certificate without a key, keys without an audience, seeds without an address for nodes: one setting that needs
    /// another.
    #[error("{given} is set and {missing} is not: set both, or neither")]
    Half {
        /// The setting that is there.
        given: &'static str,
        /// The one that is not.
        missing: &'static str,
    },
    /// Anyone who reaches the machine could read and write everything.
    #[error(
        "{setting} is {address}, which other machines can reach, and nobody would be asked who they are: set tokenFile \
         (--token-file, PLIANT_TOKEN_FILE) to a file with a token of at least {} characters, or make a user first, or listen on \
         127.0.0.1",
        crate::token::MIN_LENGTH
    )]
    Unprotected {
        /// The setting's key.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
    },
}

impl Settings {
    /// Fills what `given` (flags and variables) leaves open from the configuration file, if there is one,
    /// and the rest with defaults; then checks everything.
    ///
    /// # Errors
    /// [`ConfigError`], which names the setting.
    pub fn load(given: Inputs, file: Option<&Path>) -> Result<Self, ConfigError> {
        let inputs = match file {
            Some(path) => given.or(read(path)?),
            None => given,
        };
        Self::check(inputs)
    }

    fn check(inputs: Inputs) -> Result<Self, ConfigError> {
        let settings = Self {
            clustering: clustering::check(&inputs)?,
            data: inputs.data.unwrap_or_else(|| PathBuf::from("pliantdb-data")),
            listen: address("listen", inputs.listen, 6480)?,
            quic_listen: address("quicListen", inputs.quic_listen, 6481)?,
            certificate: certificate(inputs.certificate_file, inputs.key_file)?,
            admin_listen: address("adminListen", inputs.admin_listen, 6483)?,
            token_file: inputs.token_file,
            jwks_file: inputs.jwks_file,
            jwt_audience: inputs.jwt_audience,
            jwt_issuer: inputs.jwt_issuer,
            audit_log: inputs.audit_log,
            master_key_file: inputs.master_key_file,
            max_body_size: body_size(inputs.max_body_size.unwrap_or_else(default_body_size))?,
            backup_places: inputs.backup_places.unwrap_or_default(),
            min_free_space: inputs.min_free_space.map(Quantity::bytes),
            log_format: inputs.log_format.unwrap_or(LogFormat::Text),
            log_level: inputs.log_level.unwrap_or(LogLevel::Info),
            otlp_endpoint: inputs.otlp_endpoint.as_deref().map(collector).transpose()?,
            shutdown_timeout: duration("shutdownTimeout", inputs.shutdown_timeout, 20)?,
            max_connections: within("maxConnections", inputs.max_connections.unwrap_or(1024), 100_000)?,
            max_in_flight: within("maxInFlight", inputs.max_in_flight.unwrap_or(256), 65_536)?,
            header_timeout: duration("headerTimeout", inputs.header_timeout, 30)?,
            request_timeout: duration("requestTimeout", inputs.request_timeout, 30)?,
            snapshot_lifetime: lifetime("snapshotLifetime", inputs.snapshot_lifetime, HOUR)?,
        };
        match (&settings.jwks_file, &settings.jwt_audience) {
            (Some(_), None) => {
                return Err(ConfigError::Half {
                    given: "jwksFile",
                    missing: "jwtAudience",
                });
            }
            (None, Some(_)) => {
                return Err(ConfigError::Half {
                    given: "jwtAudience",
                    missing: "jwksFile",
                });
            }
            _ => {}
        }
        // A directory that is there can have users, which are seen when it is opened.
        if settings.token_file.is_none() && settings.jwks_file.is_none() && !settings.data.exists() {
            settings.check_loopback()?;
        }
        Ok(settings)
    }

    /// Checks that only this machine can reach the node, of which nobody is asked who they are.
    pub(crate) fn check_loopback(&self) -> Result<(), ConfigError> {
        let listeners = [
            ("listen", self.listen),
            ("quicListen", self.quic_listen),
            ("adminListen", self.admin_listen),
        ];
        match listeners
            .into_iter()
            .find(|(_, address)| !address.ip().is_loopback())
        {
            Some((setting, address)) => Err(ConfigError::Unprotected { setting, address }),
            None => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<Inputs, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    file.take(MAX_FILE_SIZE + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > MAX_FILE_SIZE {
        return Err(unreadable(format!("it is larger than {MAX_FILE_SIZE} bytes")));
    }
    parse(&text).map_err(|reason| ConfigError::Invalid {
        path: path.to_owned(),
        reason,
    })
}

fn parse(text: &str) -> Result<Inputs, String> {
    if text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
    {
        return Ok(Inputs::default());
    }
    // Without a picture of the line: an error is one line, in a log too.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// 16 MiB, or 1/32 of the memory if that is less: a body is in memory several times while it is
/// committed, and in a container of 128 MiB one of 16 MiB is too much.
fn default_body_size() -> Quantity {
    Quantity::from_bytes((pliantdb_storage::memory::limit() / 32).min(16 << 20))
}

fn body_size(value: Quantity) -> Result<usize, ConfigError> {
    usize::try_from(value.bytes())
        .ok()
        .filter(|bytes| (1..=256 << 20).contains(bytes))
        .ok_or(ConfigError::Impossible {
            setting: "maxBodySize",
            value: format!("{} bytes", value.bytes()),
            right: "choose 1 to 256Mi",
        })
}

fn within(setting: &'static str, value: usize, most: usize) -> Result<usize, ConfigError> {
    match (1..=most).contains(&value) {
        true => Ok(value),
        false => Err(ConfigError::Impossible {
            setting,
            value: value.to_string(),
            right: match most {
                65_536 => "choose 1 to 65536",
                _ => "choose 1 to 100000",
            },
        }),
    }
}

fn certificate(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<CertificateFiles>, ConfigError> {
    let half = |given, missing| Err(ConfigError::Half { given, missing });
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(CertificateFiles { certificate, key })),
        (None, None) => Ok(None),
        (Some(_), None) => half("certificateFile", "keyFile"),
        (None, Some(_)) => half("keyFile", "certificateFile"),
    }
}

fn address(setting: &'static str, value: Option<String>, default: u16) -> Result<SocketAddr, ConfigError> {
    let Some(value) = value else {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, default)));
    };
    let right = "write an IP address and a port, as in 127.0.0.1:6480 or [::]:6480";
    value.parse().map_err(|_| impossible(setting, &value, right))
}

/// The URL that spans are posted to.
fn collector(value: &str) -> Result<String, ConfigError> {
    let right = "write http://HOST:PORT, as in http://collector:4318 (OTLP over HTTP; for TLS, send to a collector beside \
                 the node)";
    let parsed = value.parse::<Uri>().ok();
    let is_right =
        |url: &Uri| url.scheme_str() == Some("http") && url.host().is_some_and(|host| !host.is_empty());
    match parsed.filter(is_right) {
        Some(url)
            if matches!(
                url.path_and_query().map(PathAndQuery::as_str),
                None | Some("" | "/")
            ) =>
        {
            Ok(format!("{}/v1/traces", value.trim_end_matches('/')))
        }
        Some(_) => Ok(value.to_owned()),
        None => Err(impossible("otlpEndpoint", value, right)),
    }
}

/// An hour, in seconds.
const HOUR: u64 = 3600;

fn duration(setting: &'static str, value: Option<String>, default_s: u64) -> Result<Duration, ConfigError> {
    let right = "write a duration from 1ms to 1h, as in 500ms, 20s or 1m 30s";
    duration_up_to(HOUR, setting, value, default_s, right)
}

/// How long something may live that is used for longer than a request.
fn lifetime(setting: &'static str, value: Option<String>, default_s: u64) -> Result<Duration, ConfigError> {
    let right = "write a duration from 1ms to 168h, as in 20s, 10m or 2h";
    duration_up_to(168 * HOUR, setting, value, default_s, right)
}

fn duration_up_to(
    most_s: u64,
    setting: &'static str,
    value: Option<String>,
    default_s: u64,
    right: &'static str,
) -> Result<Duration, ConfigError> {
    let Some(value) = value else {
        return Ok(Duration::from_secs(default_s));
    };
    let range = Duration::from_millis(1)..=Duration::from_secs(most_s);
    let parsed = value
        .parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok());
    parsed
        .filter(|duration| range.contains(duration))
        .ok_or_else(|| impossible(setting, &value, right))
}

fn impossible(setting: &'static str, value: &str, right: &'static str) -> ConfigError {
    ConfigError::Impossible {
        setting,
        value: shorten(value).into_owned(),
        right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn load(file: &str) -> Result<Settings, String> {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), file).unwrap();
        Settings::load(Inputs::default(), Some(path.path())).map_err(|error| error.to_string())
    }

    #[test]
    fn has_defaults() {
        let settings = load("# nothing\n").unwrap();
        assert_eq!(settings, Settings::load(Inputs::default(), None).unwrap());
        assert_eq!(settings.listen.to_string(), "127.0.0.1:6480");
        assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:6483");
        let memory = usize::try_from(pliantdb_storage::memory::limit()).unwrap();
        assert_eq!(settings.max_body_size, (memory / 32).min(16 << 20));
        assert_eq!(settings.shutdown_timeout, Duration::from_secs(20));
    }

    #[test]
    fn reads_every_key() {
        let file = "
            data: /d
            listen: 0.0.0.0:1
            quicListen: 0.0.0.0:3
            certificateFile: /c
            keyFile: /p
            adminListen: '[::1]:2'
            tokenFile: /t
            jwksFile: /j
            jwtAudience: us
            jwtIssuer: them
            auditLog: /a
            masterKeyFile: /k
            maxBodySize: 1Mi
            backupPlaces: [/backups, s3://bucket/db]
            minFreeSpace: 5000
            logFormat: json
            logLevel: debug
            otlpEndpoint: http://collector:4318
            shutdownTimeout: 1m 30s
            maxConnections: 7
            maxInFlight: 9
            headerTimeout: 500ms
            requestTimeout: 1h
            snapshotLifetime: 72h
        ";
        assert_eq!(
            load(file).unwrap(),
            Settings {
                data: "/d".into(),
                listen: "0.0.0.0:1".parse().unwrap(),
                quic_listen: "0.0.0.0:3".parse().unwrap(),
                certificate: Some(CertificateFiles {
                    certificate: "/c".into(),
                    key: "/p".into(),
                }),
                admin_listen: "[::1]:2".parse().unwrap(),
                token_file: Some("/t".into()),
                jwks_file: Some("/j".into()),
                jwt_audience: Some("us".to_owned()),
                jwt_issuer: Some("them".to_owned()),
                audit_log: Some("/a".into()),
                master_key_file: Some("/k".into()),
                max_body_size: 1 << 20,
                backup_places: vec!["/backups".to_owned(), "s3://bucket/db".to_owned()],
                min_free_space: Some(5000),
                log_format: LogFormat::Json,
                log_level: LogLevel::Debug,
                otlp_endpoint: Some("http://collector:4318/v1/traces".to_owned()),
                shutdown_timeout: Duration::from_secs(90),
                max_connections: 7,
                max_in_flight: 9,
                header_timeout: Duration::from_millis(500),
                request_timeout: Duration::from_secs(3600),
                snapshot_lifetime: Duration::from_secs(72 * 3600),
                clustering: None,
            }
        );
    }

    #[test]
    fn names_what_is_wrong() {
        for (file, parts) in [
            ("lissten: 127.0.0.1:1", &["lissten", "listen"][..]),
            ("listen: localhost", &["listen is localhost", "127.0.0.1:6480"]),
            ("adminListen: 6483", &["adminListen is 6483", "a port"]),
            (
                "otlpEndpoint: https://collector:4318",
                &["otlpEndpoint is https://", "http://collector:4318"],
            ),
            ("otlpEndpoint: collector:4318", &["otlpEndpoint is collector"]),
            ("requestTimeout: 20", &["requestTimeout is 20", "20s"]),
            ("snapshotLifetime: 200h", &["snapshotLifetime is 200h", "168h"]),
            ("maxBodySize: 16MB", &["16MB", "16Mi"]),
            ("maxBodySize: 0", &["maxBodySize", "0 bytes", "256Mi"]),
            ("maxConnections: 0", &["maxConnections", "0"]),
            ("shutdownTimeout: 0s", &["shutdownTimeout", "0s", "1h"]),
            ("headerTimeout: -1s", &["headerTimeout", "1s"]),
            ("logLevel: loud", &["loud", "debug"]),
            ("listen: 10.0.0.1:6480", &["listen is 10.0.0.1:6480", "tokenFile"]),
            (
                "adminListen: 0.0.0.0:6483",
                &["adminListen is 0.0.0.0:6483", "PLIANT_TOKEN_FILE"],
            ),
            ("jwksFile: /j", &["jwksFile", "jwtAudience"]),
            ("- a", &["not valid"]),
        ] {
            let error = load(file).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{file}: {error}");
            }
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert!(load(&"#".repeat(2 << 20)).unwrap_err().contains("larger than"));
        let missing = Settings::load(Inputs::default(), Some(Path::new("/not/there"))).unwrap_err();
        assert!(missing.to_string().contains("/not/there"), "{missing}");
    }

    #[test]
    fn what_is_given_wins_over_the_file() {
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), "maxConnections: 7\nlogLevel: warn").unwrap();
        let given = Inputs {
            max_connections: Some(8),
            ..Inputs::default()
        };
        let settings = Settings::load(given, Some(path.path())).unwrap();
        assert_eq!(
            (settings.max_connections, settings.log_level),
            (8, LogLevel::Warn)
        );
    }

    #[test]
    fn any_file() {
        let seeds = [
            "data: /var/lib/pliantdb\nlisten: 127.0.0.1:1\nmaxBodySize: 16Mi\n",
            "shutdownTimeout: 1m 30s\nmaxConnections: 7\nlogFormat: json\nminFreeSpace: 0\n",
            "a: &a [*a, *a]\n",
            "{listen: \"[::1]:0\", tokenFile: t, requestTimeout: 5s}",
            "{nodesListen: \"[::]:7\", advertise: db-1.example.com, nodeAttributes: {zone: a}, join: [\"db-0:6482\"]}",
        ];
        let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type()
            .for_each(|input| {
                let bytes = pliantdb_fuzzing::bytes(input, &seeds);
                let Ok(text) = str::from_utf8(&bytes) else { return };
                if let Ok(inputs) = parse(text)
                    && let Err(error) = Settings::check(inputs)
                {
                    assert!(error.to_string().len() < 4000);
                }
                let _ = text.parse::<Quantity>();
            });
    }
}
