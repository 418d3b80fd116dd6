//! PostgreSQL with pgbench, on loopback TCP. Arguments: a directory that is not there yet, and the folder of PostgreSQL's
//! programs. Run as root it runs them as the user `postgres`, for PostgreSQL refuses root.

use std::path::PathBuf;

use load::Failure;
use load::job::{Job, serve};
use server_bench::postgres::{INSERT, Postgres, TABLE};

fn main() -> Result<(), Failure> {
    let usage = "usage: contender-postgres DIRECTORY PROGRAMS";
    let argument = |at| std::env::args().nth(at).map(PathBuf::from).ok_or(usage);
    let postgres = Postgres::start(argument(1)?, argument(2)?)?;
    let mut loaded = 0;
    serve(|job| match job {
        Job::Load { documents } => {
            loaded = documents;
            postgres.sql(TABLE)?;
            postgres.sql(&format!(
                "CREATE TABLE loaded (id bigint PRIMARY KEY, body jsonb NOT NULL); \
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
