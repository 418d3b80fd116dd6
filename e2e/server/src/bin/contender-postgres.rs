//! PostgreSQL with pgbench, on loopback TCP. Arguments: a directory that is not there yet, and the folder of PostgreSQL's
//! programs. Run as root it runs them as the user `postgres`, for PostgreSQL refuses root.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use load::Failure;
use load::clients::Run;
use load::job::{Job, serve};

const INSERT: &str = "INSERT INTO docs (id, body) VALUES (nextval('ids'), :doc::jsonb);\n";

struct Postgres {
    directory: PathBuf,
    programs: PathBuf,
    port: u16,
    is_root: bool,
}

fn main() -> Result<(), Failure> {
    let usage = "usage: contender-postgres DIRECTORY PROGRAMS";
    let argument = |at| std::env::args().nth(at).map(PathBuf::from).ok_or(usage);
    let postgres = Postgres::start(argument(1)?, argument(2)?)?;
    let mut loaded = 0;
    serve(|job| match job {
        Job::Load { documents } => {
            loaded = documents;
            postgres.sql(&format!(
                "CREATE TABLE docs (id bigint PRIMARY KEY, body jsonb NOT NULL); CREATE SEQUENCE ids CACHE 50; \
                 CREATE TABLE loaded (id bigint PRIMARY KEY, body jsonb NOT NULL); \
                 INSERT INTO loaded SELECT n, jsonb_build_object('text', repeat(md5(n::text), 8)) \
                 FROM generate_series(1, {documents}) n;"
            ))?;
            postgres.sql("VACUUM ANALYZE loaded; CHECKPOINT;")?;
            Ok(None)
        }
        Job::Insert {
            clients,
            milliseconds,
        } => postgres.bench(INSERT, clients, milliseconds).map(Some),
        Job::Get {
            clients,
            milliseconds,
        } => {
            let script = format!("\\set id random(1, {loaded})\nSELECT body FROM loaded WHERE id = :id;\n");
            postgres.bench(&script, clients, milliseconds).map(Some)
        }
        _ => Err("this contender does not do that".into()),
    })
}

impl Postgres {
    fn start(directory: PathBuf, programs: PathBuf) -> Result<Self, Failure> {
        // A port that is free now; PostgreSQL cannot choose one itself.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let id = Command::new("id").arg("-u").output()?;
        let postgres = Self {
            directory,
            programs,
            port,
            is_root: id.stdout.starts_with(b"0\n"),
        };
        std::fs::create_dir_all(&postgres.directory)?;
        if postgres.is_root {
            run(Command::new("chown").arg("postgres").arg(&postgres.directory))?;
        }
        let data = postgres.data();
        run(postgres.program("initdb").arg("-D").arg(&data).args([
            "-A",
            "trust",
            "--locale=C",
            "-E",
            "UTF8",
        ]))?;
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c port={port} -c max_connections=300 \
             -c shared_buffers=1GB -c max_wal_size=4GB -c checkpoint_timeout=30min -c synchronous_commit=on -c fsync=on",
            postgres.directory.display()
        );
        let log = postgres.directory.join("log");
        run(postgres
            .program("pg_ctl")
            .arg("-D")
            .arg(&data)
            .args(["-w", "-o", &settings, "-l"])
            .arg(log)
            .arg("start"))?;
        Ok(postgres)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
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

    fn sql(&self, text: &str) -> Result<(), Failure> {
        // One statement after the other: VACUUM cannot be in a transaction.
        for statement in text.split(';').filter(|statement| !statement.trim().is_empty()) {
            run(self
                .program("psql")
                .args(self.connection())
                .args(["-q", "-c", statement, "postgres"]))?;
        }
        Ok(())
    }

    fn connection(&self) -> [String; 6] {
        let port = self.port.to_string();
        ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"].map(str::to_owned)
    }

    fn bench(&self, script: &str, clients: usize, milliseconds: u64) -> Result<Run, Failure> {
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
        // Nothing else can be done about it here.
        let _ = self
            .program("pg_ctl")
            .arg("-D")
            .arg(self.data())
            .args(["-m", "immediate", "stop"])
            .status();
    }
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
