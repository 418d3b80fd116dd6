//! Where the data is that a command works with: at a server, or in a directory that no node serves.

use std::env;
use std::fs;
use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pliantdb_client::{
    Client, Credentials, Options, RemoteDatabase, RemoteSnapshot, RemoteSubscription, Secret, Trust,
};
use pliantdb_core::{
    Connection, DatabaseName, Error, Message, Request, Response, Schema, Step, StorageConnection, Subscriber,
    TakeSnapshot, TopicPattern,
};
use pliantdb_server::certificate;
use pliantdb_server::encryption::master_key;
use pliantdb_storage::{Database, DatabaseSnapshot, Storage, Subscription};

use super::failure::Failure;
use super::password;

/// The server of this machine.
const LOCAL: &str = "pliant://127.0.0.1:6481";

/// The data directory of `serve`, when nothing else is said.
const DEFAULT_DATA: &str = "pliantdb-data";

/// A server, or a data directory.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TargetArgs {
    /// The server: pliant://HOST[:6481] for QUIC, wss://HOST[:443] or ws://HOST[:80] for WebSocket
    /// [env: PLIANT_SERVER] [default: pliant://127.0.0.1:6481, known by the certificate of this machine's node]
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "data",
        help_heading = "Where the data is"
    )]
    pub(crate) server: Option<String>,

    /// Instead of a server, a data directory that no node serves
    #[arg(long, value_name = "DIR", help_heading = "Where the data is")]
    pub(crate) data: Option<PathBuf>,

    /// A file with the token to show to the server; else the variable PLIANT_TOKEN may hold the token
    #[arg(
        long,
        env = "PLIANT_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "Where the data is"
    )]
    pub(crate) token_file: Option<PathBuf>,

    /// The user to log in as; the password is asked for, or in the variable PLIANT_PASSWORD
    #[arg(
        long,
        env = "PLIANT_USER",
        value_name = "NAME",
        help_heading = "Where the data is"
    )]
    pub(crate) user: Option<String>,

    /// Trust the server whose certificate has this SHA-256, in 64 hexadecimal digits
    #[arg(
        long,
        env = "PLIANT_FINGERPRINT",
        value_name = "HEX",
        conflicts_with = "ca_file",
        help_heading = "Where the data is"
    )]
    pub(crate) fingerprint: Option<String>,

    /// Trust servers whose certificate leads to an authority in this PEM file [default: those of the system]
    #[arg(
        long,
        env = "PLIANT_CA_FILE",
        value_name = "FILE",
        help_heading = "Where the data is"
    )]
    pub(crate) ca_file: Option<PathBuf>,

    /// A file with the master key of the data directory, if it is encrypted; else PLIANT_MASTER_KEY may hold the key
    #[arg(
        long,
        env = "PLIANT_MASTER_KEY_FILE",
        value_name = "FILE",
        help_heading = "Where the data is"
    )]
    pub(crate) master_key_file: Option<PathBuf>,

    /// The user's password, once it is known.
    #[arg(skip)]
    password: Option<Secret>,
}

impl TargetArgs {
    /// The password of the user, and where to go without asking for it again.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn with_password(&self) -> Result<(Secret, Self), Failure> {
        let password = Secret::new(password_of(self.user.as_deref().unwrap_or_default())?);
        let known = Self {
            password: Some(password.clone()),
            token_file: None,
            ..self.clone()
        };
        Ok((password, known))
    }

    /// Opens the directory, or connects to the server.
    ///
    /// # Errors
    /// What cannot be used, or why it cannot be reached.
    pub(crate) fn open(&self) -> Result<Target, Failure> {
        self.open_with(Some(Options::default().answer_timeout.unwrap_or_default()))
    }

    /// The same, and answers are waited for no longer than this.
    ///
    /// # Errors
    /// As [`TargetArgs::open`].
    pub(crate) fn open_with(&self, answer_timeout: Option<Duration>) -> Result<Target, Failure> {
        if let Some(data) = &self.data {
            return Ok(Target::Directory(self.directory(data)?));
        }
        let given = self.server.clone().or_else(|| variable("PLIANT_SERVER"));
        let trust = match (&self.fingerprint, &self.ca_file) {
            (Some(fingerprint), _) => Trust::Fingerprint(fingerprint.clone()),
            (None, Some(file)) => Trust::Authorities(file.clone()),
            (None, None) => match &given {
                Some(_) => Trust::System,
                None => own_trust()?,
            },
        };
        let address = given.as_deref().unwrap_or(LOCAL);
        address
            .parse::<pliantdb_client::Address>()
            .map_err(|error| Failure::usage(format!("--server (PLIANT_SERVER): {error}")))?;
        let options = Options {
            credentials: self.credentials()?,
            trust,
            answer_timeout,
            ..Options::default()
        };
        let client = Client::connect(address, options).map_err(|error| {
            let hint = match (&error, &given) {
                (Error::Unauthenticated(_), _) => {
                    "; give a token with --token-file or PLIANT_TOKEN, or a user with --user"
                }
                (Error::Unreachable(_), None) => {
                    "; is a node running here? Name another with --server URL, or a directory that no node serves with \
                     --data DIR"
                }
                (Error::Unreachable(_), Some(_)) => "; is it the right address, and is the server known by its certificate \
                                                     (--fingerprint, --ca-file)?",
                _ => "",
            };
            let failure = Failure::from(error);
            Failure::new(failure.kind, format!("{}{hint}", failure.message))
        })?;
        Ok(Target::Server(client))
    }

    fn directory(&self, data: &Path) -> Result<Storage, Failure> {
        let options = pliantdb_storage::Options {
            must_exist: true,
            encryption: master_key(self.master_key_file.as_deref()).map_err(Failure::usage)?,
            ..pliantdb_storage::Options::default()
        };
        Ok(Storage::open_with(data, options).map_err(Error::from)?)
    }

    /// What is shown to a server, by flags and variables.
    ///
    /// # Errors
    /// What cannot be used.
    pub(super) fn credentials(&self) -> Result<Option<Credentials>, Failure> {
        // A flag wins over a variable, also over that of another flag.
        let is_variable = |given: &Option<String>, name| *given == variable(name);
        let token_file = self.token_file.as_ref().map(|file| file.display().to_string());
        match (&self.user, &token_file) {
            (Some(user), None) => self.by_password(user),
            (Some(user), Some(_)) if is_variable(&token_file, "PLIANT_TOKEN_FILE") => self.by_password(user),
            (Some(_), Some(_)) if !is_variable(&self.user, "PLIANT_USER") => {
                Err(Failure::usage("--user and --token-file are given: leave one out"))
            }
            (_, Some(file)) => {
                let text = fs::read_to_string(file)
                    .map_err(|error| Failure::usage(format!("cannot read the token file {file}: {error}")))?;
                Ok(Some(Credentials::Token(Secret::new(text.trim()))))
            }
            (None, None) => Ok(variable("PLIANT_TOKEN").map(|token| Credentials::Token(Secret::new(token)))),
        }
    }

    fn by_password(&self, user: &str) -> Result<Option<Credentials>, Failure> {
        let password = match &self.password {
            Some(password) => password.clone(),
            None => Secret::new(password_of(user)?),
        };
        Ok(Some(Credentials::Password {
            user: user.to_owned(),
            password,
        }))
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn password_of(user: &str) -> Result<String, Failure> {
    if let Some(password) = variable("PLIANT_PASSWORD") {
        return Ok(password);
    }
    match stdin().is_terminal() {
        true => password::ask(&format!("Password of {user}: ")),
        false => Err(Failure::usage(
            "--user needs a password: set PLIANT_PASSWORD, for there is no terminal to ask on",
        )),
    }
}

/// The certificate of this machine's node: the one that it was given by a variable, as in a container, else the one that
/// it has made.
fn own_trust() -> Result<Trust, Failure> {
    let file = match variable("PLIANT_CERTIFICATE_FILE") {
        Some(file) => PathBuf::from(file),
        None => {
            let data = variable("PLIANT_DATA").unwrap_or_else(|| DEFAULT_DATA.to_owned());
            certificate::own_files(Path::new(&data)).certificate
        }
    };
    match file.exists() {
        true => certificate::fingerprint_of(&file)
            .map(Trust::Fingerprint)
            .map_err(Failure::usage),
        false => Ok(Trust::System),
    }
}

/// What a command works with.
#[derive(Clone)]
pub(crate) enum Target {
    /// A server.
    Server(Client),
    /// A data directory.
    Directory(Storage),
}

impl Target {
    /// Closes a data directory; a server needs nothing.
    ///
    /// # Errors
    /// What the storage says.
    pub(crate) fn close(self) -> Result<(), Failure> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Directory(storage) => Ok(storage.close().map_err(Error::from)?),
        }
    }

    /// A database, with the schema that it has.
    ///
    /// # Errors
    /// [`Error::UnknownDatabase`], and whatever reaching it comes to.
    pub(crate) fn open_database(&self, name: &str) -> Result<TargetDatabase, Failure> {
        Ok(self.database::<()>(name)?)
    }
}

impl StorageConnection for Target {
    type Database = TargetDatabase;

    fn create_database<S: Schema>(&self, name: &str) -> Result<TargetDatabase, Error> {
        match self {
            Self::Server(client) => client.create_database::<S>(name).map(TargetDatabase::Remote),
            Self::Directory(storage) => storage.create_database::<S>(name).map(TargetDatabase::Embedded),
        }
    }

    fn database<S: Schema>(&self, name: &str) -> Result<TargetDatabase, Error> {
        match self {
            Self::Server(client) => client.database::<S>(name).map(TargetDatabase::Remote),
            Self::Directory(storage) => storage.database::<S>(name).map(TargetDatabase::Embedded),
        }
    }

    fn delete_database(&self, name: &str) -> Result<(), Error> {
        match self {
            Self::Server(client) => client.delete_database(name),
            Self::Directory(storage) => storage.delete_database(name),
        }
    }

    fn databases(&self) -> Result<Vec<DatabaseName>, Error> {
        match self {
            Self::Server(client) => client.databases(),
            Self::Directory(storage) => storage.databases(),
        }
    }
}

/// A database of a [`Target`].
#[derive(Clone)]
pub(crate) enum TargetDatabase {
    Remote(RemoteDatabase),
    Embedded(Database),
}

/// Answers a request, whatever the connection.
pub(crate) fn execute<C>(database: &C, request: Request) -> Result<Response, Error>
where
    C: Connection<Output<Response> = Result<Response, Error>>,
{
    database.ask(Ok(request), Ok)
}

impl Connection for TargetDatabase {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = TargetSubscription;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        match self {
            Self::Remote(database) => database.converse(first, next),
            Self::Embedded(database) => database.converse(first, next),
        }
    }

    fn subscribe_to(&self, patterns: Result<Vec<TopicPattern>, Error>) -> Result<TargetSubscription, Error> {
        match self {
            Self::Remote(database) => database.subscribe_to(patterns).map(TargetSubscription::Remote),
            Self::Embedded(database) => database.subscribe_to(patterns).map(TargetSubscription::Embedded),
        }
    }
}

/// Receives the messages of a [`TargetDatabase`].
pub(crate) enum TargetSubscription {
    Remote(RemoteSubscription),
    Embedded(Subscription),
}

impl Subscriber<TargetDatabase> for TargetSubscription {
    fn receive(&self) -> Result<Message, Error> {
        match self {
            Self::Remote(subscription) => subscription.receive(),
            Self::Embedded(subscription) => subscription.receive(),
        }
    }

    fn try_receive(&self) -> Result<Option<Message>, Error> {
        match self {
            Self::Remote(subscription) => subscription.try_receive(),
            Self::Embedded(subscription) => subscription.try_receive(),
        }
    }
}

impl TakeSnapshot for TargetDatabase {
    type Snapshot = TargetSnapshot;

    fn snapshot(&self) -> Result<TargetSnapshot, Error> {
        match self {
            Self::Remote(database) => database.snapshot().map(TargetSnapshot::Remote),
            Self::Embedded(database) => database.snapshot().map(TargetSnapshot::Embedded),
        }
    }
}

/// A [`TargetDatabase`] as it was at one moment.
#[derive(Clone)]
pub(crate) enum TargetSnapshot {
    Remote(RemoteSnapshot),
    Embedded(DatabaseSnapshot),
}

impl Connection for TargetSnapshot {
    type Output<T: Send + 'static> = Result<T, Error>;
    type Subscriber = std::convert::Infallible;

    fn converse<T: Send + 'static>(
        &self,
        first: Result<Request, Error>,
        next: impl FnMut(Result<Response, Error>) -> Step<T> + Send + 'static,
    ) -> Result<T, Error> {
        match self {
            Self::Remote(snapshot) => snapshot.converse(first, next),
            Self::Embedded(snapshot) => snapshot.converse(first, next),
        }
    }

    fn subscribe_to(
        &self,
        patterns: Result<Vec<TopicPattern>, Error>,
    ) -> Result<std::convert::Infallible, Error> {
        match self {
            Self::Remote(snapshot) => snapshot.subscribe_to(patterns),
            Self::Embedded(snapshot) => snapshot.subscribe_to(patterns),
        }
    }
}
