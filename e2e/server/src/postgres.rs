//! A PostgreSQL server on loopback, and what pgbench measures of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use load::Failure;
use load::clients::Run;
use tempfile::TempDir;

/// The table that [`INSERT`] writes to.
pub const TABLE: &str =
    "CREATE TABLE docs (id bigint PRIMARY KEY, body jsonb NOT NULL); CREATE SEQUENCE ids CACHE 50;";

/// A script for pgbench: one row of some 270 bytes.
pub const INSERT: &str = "INSERT INTO docs (id, body) VALUES (nextval('ids'), :doc::jsonb);\n";

/// A directory for all that takes part, where the variable says, or on a disk. PostgreSQL, which runs as another user, may
/// look into it.
///
/// # Errors
/// What the system says.
pub fn directory(variable: &str, prefix: &str) -> Result<TempDir, Failure> {
    let folder = std::env::var(variable).unwrap_or_else(|_| "/var/tmp".to_owned());
    let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(&folder)?;
    run(Command::new("chmod").arg("755").arg(directory.path()))?;
    Ok(directory)
}

/// A server, with a replica perhaps; they end when this is dropped.
pub struct Postgres {
    directory: PathBuf,
    programs: PathBuf,
    port: u16,
    is_root: bool,
    /// The directories of its servers; the first is the one that takes writes.
    servers: Vec<PathBuf>,
}

impl Postgres {
    /// Starts one in a directory that is not there yet, by the programs in that folder.
    ///
    /// # Errors
    /// What the program that failed says.
    pub fn start(directory: PathBuf, programs: PathBuf) -> Result<Self, Failure> {
        let id = Command::new("id").arg("-u").output()?;
        let mut postgres = Self {
            directory,
            programs,
            port: free_port()?,
            is_root: id.stdout.starts_with(b"0\n"),
            servers: Vec::new(),
        };
        std::fs::create_dir_all(&postgres.directory)?;
        if postgres.is_root {
            run(Command::new("chown").arg("postgres").arg(&postgres.directory))?;
        }
        let data = postgres.directory.join("data");
        run(postgres.program("initdb").arg("-D").arg(&data).args([
            "-A",
            "trust",
            "--locale=C",
            "-E",
            "UTF8",
        ]))?;
        postgres.serve(data, postgres.port)?;
        Ok(postgres)
    }

    /// Gives it a replica that has every commit on its disk before it is acknowledged.
    ///
    /// # Errors
    /// What the program that failed says, or that the replica does not follow.
    pub fn add_synchronous_replica(&mut self) -> Result<(), Failure> {
        let data = self.directory.join("replica");
        let primary = format!(
            "host=127.0.0.1 port={} user=postgres application_name=replica",
            self.port
        );
        run(self
            .program("pg_basebackup")
            .args(["-c", "fast", "-R", "-X", "stream", "-C", "-S", "replica"])
            .args(["-d", &primary, "-D"])
            .arg(&data))?;
        self.serve(data, free_port()?)?;
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'replica'; SELECT pg_reload_conf()")?;
        for _ in 0..100 {
            if self.ask("SELECT sync_state FROM pg_stat_replication")?.trim() == "sync" {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("the replica does not follow".into())
    }

    /// Starts a server on what is in a directory.
    fn serve(&mut self, data: PathBuf, port: u16) -> Result<(), Failure> {
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c port={port} -c max_connections=300 \
             -c shared_buffers=1GB -c max_wal_size=4GB -c checkpoint_timeout=30min -c synchronous_commit=on -c fsync=on",
            self.directory.display()
        );
        let log = self.directory.join(format!("log-{port}"));
        run(self
            .program("pg_ctl")
            .arg("-D")
            .arg(&data)
            .args(["-w", "-o", &settings, "-l"])
            .arg(log)
            .arg("start"))?;
        self.servers.push(data);
        Ok(())
    }

    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = match self.is_root {
            false => Command::new(path),
            true => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
                    .arg(path);
                command
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .current_dir(&self.directory);
        command
    }

    /// Carries out statements, one after the other.
    ///
    /// # Errors
    /// What the server says.
    pub fn sql(&self, text: &str) -> Result<(), Failure> {
        // One statement after the other: VACUUM cannot be in a transaction.
        for statement in text.split(';').filter(|statement| !statement.trim().is_empty()) {
            run(self
                .program("psql")
                .args(self.connection())
                .args(["-q", "-c", statement, "postgres"]))?;
        }
        Ok(())
    }

    /// What a query answers, as text.
    fn ask(&self, query: &str) -> Result<String, Failure> {
        let mut command = self.program("psql");
        command.args(self.connection()).args(["-qAtc", query, "postgres"]);
        let output = command.stdout(Stdio::piped()).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout)?),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        }
    }

    fn connection(&self) -> [String; 6] {
        let port = self.port.to_string();
        ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"].map(str::to_owned)
    }

    /// Runs a script with so many clients, each with a connection of its own.
    ///
    /// # Errors
    /// What pgbench says.
    pub fn bench(&self, script: &str, clients: usize, milliseconds: u64) -> Result<Run, Failure> {
        let seconds = (milliseconds / 1000).max(1);
        let file = self.directory.join("script.sql");
        std::fs::write(&file, script)?;
        let document = format!("{{\"text\":\"{}\"}}", load::text(7, 256));
        for old in self.logs()? {
            std::fs::remove_file(old)?;
        }
        let output = self
            .program("pgbench")
            .args(self.connection())
            .args(["-n", "-M", "prepared", "-j", "2", "-l", "--log-prefix=latencies"])
            .args(["-c", &clients.to_string(), "-T", &seconds.to_string()])
            .args(["-D", &format!("doc={document}"), "-f"])
            .arg(&file)
            .arg("postgres")
            .stdout(Stdio::piped())
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let per_second = text
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        let mut microseconds = Vec::new();
        for log in self.logs()? {
            let text = std::fs::read_to_string(log)?;
            microseconds.extend(
                text.lines()
                    .filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()),
            );
        }
        microseconds.sort_unstable();
        let quantile = |part: f64| {
            let at = (microseconds.len().saturating_sub(1)) as f64 * part;
            microseconds
                .get(at as usize)
                .map_or(f64::NAN, |value| *value as f64)
        };
        Ok(Run {
            operations: microseconds.len() as u64,
            all_operations: microseconds.len() as u64,
            per_second: per_second.ok_or("pgbench told no rate")?,
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
        })
    }

    fn logs(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut logs = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("latencies"))
            {
                logs.push(path);
            }
        }
        Ok(logs)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        for data in self.servers.iter().rev() {
            // Nothing else can be done about it here.
            let _ = self
                .program("pg_ctl")
                .arg("-D")
                .arg(data)
                .args(["-m", "immediate", "stop"])
                .status();
        }
    }
}

/// A port that is free now: PostgreSQL cannot choose one itself.
fn free_port() -> Result<u16, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let output = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}
