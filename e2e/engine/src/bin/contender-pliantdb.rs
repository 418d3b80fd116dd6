//! PliantDB, embedded, through its typed interface. Arguments: a directory that is not there yet, `async` or `blocking`,
//! and how many bytes of memory the process may use, if not what it finds.

use std::time::Duration;

use load::clients::{Run, tasks, threads};
use load::job::{Job, serve};
use load::{Failure, next_random, text};
use pliantdb_storage::{
    AsyncDatabase, Collection, Connection, Database, DocumentId, Emit, Map, Options, Reduce, Schema, Stored,
    Transaction, View,
};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How many documents share a key of the view.
const ROWS: u64 = 100;
/// How many go into one transaction when loading.
const TRANSACTION: u64 = 1000;

#[derive(Schema)]
#[schema(name = "bench", collections = [Plain, Member])]
struct Bench;

/// A document without views.
#[derive(Clone, Serialize, Deserialize, Collection)]
#[collection(name = "plain")]
struct Plain {
    text: String,
}

/// A document that the view maps.
#[derive(Clone, Serialize, Deserialize, Collection)]
#[collection(name = "members", views = [ByGroup])]
struct Member {
    group: u64,
    text: String,
}

/// How many members each group has.
#[derive(View)]
#[view(collection = Member, name = "by-group", key = u64, value = u64, reduce)]
struct ByGroup;

impl Map for ByGroup {
    fn map(_: &DocumentId, member: &Member, emit: &mut Emit<Self>) {
        emit.entry(member.group, 1);
    }
}

impl Reduce for ByGroup {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

/// By which of its interfaces the database is used.
enum Door {
    Async(Runtime, AsyncDatabase),
    Blocking(Database),
}

fn main() -> Result<(), Failure> {
    let usage = "usage: contender-pliantdb DIRECTORY async|blocking [MEMORY-LIMIT]";
    let (directory, door) = (
        std::env::args().nth(1).ok_or(usage)?,
        std::env::args().nth(2).ok_or(usage)?,
    );
    let options = Options {
        memory_limit: std::env::args().nth(3).map(|limit| limit.parse()).transpose()?,
        ..Options::default()
    };
    let door = match door.as_str() {
        "async" => {
            let runtime = Runtime::new()?;
            let database = runtime.block_on(AsyncDatabase::open_with::<Bench>(directory, options))?;
            Door::Async(runtime, database)
        }
        "blocking" => Door::Blocking(Database::open_with::<Bench>(directory, options)?),
        _ => return Err(usage.into()),
    };
    let (mut loaded, mut groups) = (0, 0);
    serve(|job| match job {
        Job::Load { documents } => {
            loaded = documents;
            load(door.database(), documents, |transaction, number| {
                let plain = Plain {
                    text: text(number, 256),
                };
                Ok(transaction.insert_as(&loaded_id(number)?, &plain))
            })?;
            Ok(None)
        }
        Job::LoadView { documents } => {
            groups = documents / ROWS;
            load(door.database(), documents, |transaction, number| {
                let member = Member {
                    group: number % groups,
                    text: text(number, 64),
                };
                Ok(transaction.insert(&member))
            })?;
            // The view is brought up to date by the first query.
            rows(door.database(), 0)?;
            Ok(None)
        }
        Job::Insert {
            clients,
            milliseconds,
        } => door.insert(clients, milliseconds).map(Some),
        Job::Get {
            clients,
            milliseconds,
        } => door.get(clients, milliseconds, loaded).map(Some),
        Job::View {
            clients,
            milliseconds,
        } => door.view(clients, milliseconds, groups).map(Some),
        Job::Reduce { milliseconds } => door.reduce(milliseconds, groups * ROWS).map(Some),
    })
}

/// The id of a document that was loaded; their order is not that of the numbers.
fn loaded_id(number: u64) -> Result<DocumentId, Failure> {
    Ok(format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).parse()?)
}

fn load(
    database: &Database,
    documents: u64,
    add: impl Fn(Transaction, u64) -> Result<Transaction, Failure>,
) -> Result<(), Failure> {
    for first in (0..documents).step_by(TRANSACTION as usize) {
        let mut transaction = Transaction::new();
        for number in first..documents.min(first + TRANSACTION) {
            transaction = add(transaction, number)?;
        }
        transaction.apply(database)?;
    }
    Ok(())
}

fn insert<C: Connection>(database: &C, plain: Plain) -> C::Output<Stored<Plain>> {
    database.collection::<Plain>().insert(plain)
}

fn get<C: Connection>(database: &C, id: &DocumentId) -> C::Output<Option<Stored<Plain>>> {
    database.collection::<Plain>().get(id)
}

/// Reads the rows of a group.
fn rows(database: &Database, group: u64) -> Result<(), Failure> {
    all_there(database.view::<ByGroup>().key(&group).query()?.len())
}

fn all_there(rows: usize) -> Result<(), Failure> {
    if rows as u64 == ROWS {
        Ok(())
    } else {
        Err(format!("{rows} rows of {ROWS}").into())
    }
}

fn is_all(count: u64, documents: u64) -> Result<(), Failure> {
    if count == documents {
        Ok(())
    } else {
        Err(format!("{count} documents of {documents}").into())
    }
}

impl Door {
    fn database(&self) -> &Database {
        match self {
            Self::Async(_, database) => database.blocking(),
            Self::Blocking(database) => database,
        }
    }

    fn insert(&self, clients: usize, milliseconds: u64) -> Result<Run, Failure> {
        let time = Duration::from_millis(milliseconds);
        let plain = |client| Plain {
            text: text(client as u64, 256),
        };
        match self {
            Self::Async(runtime, database) => runtime.block_on(tasks(clients, time, |client| {
                let (database, plain) = (database.clone(), plain(client));
                move || {
                    let inserted = insert(&database, plain.clone());
                    async move { Ok(inserted.await.map(drop)?) }
                }
            })),
            Self::Blocking(database) => threads(clients, time, |client| {
                let plain = plain(client);
                move || Ok(insert(database, plain.clone()).map(drop)?)
            }),
        }
    }

    fn get(&self, clients: usize, milliseconds: u64, loaded: u64) -> Result<Run, Failure> {
        let time = Duration::from_millis(milliseconds);
        let next = move |state: &mut u64| loaded_id(next_random(state) % loaded);
        let missing = "a document is not there";
        match self {
            Self::Async(runtime, database) => runtime.block_on(tasks(clients, time, |client| {
                let (database, mut state) = (database.clone(), client as u64);
                move || {
                    let found = next(&mut state).map(|id| get(&database, &id));
                    async move { Ok(found?.await?.map(drop).ok_or(missing)?) }
                }
            })),
            Self::Blocking(database) => threads(clients, time, |client| {
                let mut state = client as u64;
                move || Ok(get(database, &next(&mut state)?)?.map(drop).ok_or(missing)?)
            }),
        }
    }

    fn view(&self, clients: usize, milliseconds: u64, groups: u64) -> Result<Run, Failure> {
        let time = Duration::from_millis(milliseconds);
        match self {
            Self::Async(runtime, database) => runtime.block_on(tasks(clients, time, |client| {
                let (database, mut state) = (database.clone(), client as u64);
                move || {
                    let group = next_random(&mut state) % groups;
                    let found = database.view::<ByGroup>().key(&group).query();
                    async move { all_there(found.await?.len()) }
                }
            })),
            Self::Blocking(database) => threads(clients, time, |client| {
                let mut state = client as u64;
                move || rows(database, next_random(&mut state) % groups)
            }),
        }
    }

    fn reduce(&self, milliseconds: u64, documents: u64) -> Result<Run, Failure> {
        let time = Duration::from_millis(milliseconds);
        match self {
            Self::Async(runtime, database) => runtime.block_on(tasks(1, time, |_| {
                let database = database.clone();
                move || {
                    let count = database.view::<ByGroup>().reduce();
                    async move { is_all(count.await?, documents) }
                }
            })),
            Self::Blocking(database) => threads(1, time, |_| {
                move || is_all(database.view::<ByGroup>().reduce()?, documents)
            }),
        }
    }
}
