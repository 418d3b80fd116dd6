//! BonsaiDb 0.5, embedded, through its asynchronous interface. Argument: a directory that is not there yet. With a second
//! argument, `server`, its server in a process of its own, by QUIC.

mod server;

use std::time::Duration;

use bonsaidb::core::connection::AsyncConnection;
use bonsaidb::core::document::{CollectionDocument, Emit};
use bonsaidb::core::schema::view::CollectionMapReduce;
use bonsaidb::core::schema::{
    Collection, ReduceResult, Schema, SerializedCollection, SerializedView, View, ViewMapResult,
    ViewMappedValue, ViewSchema,
};
use bonsaidb::core::transaction::{Operation, Transaction};
use bonsaidb::local::AsyncDatabase;
use bonsaidb::local::config::{Builder, StorageConfiguration};
use load::clients::{Run, tasks};
use load::job::{Job, serve};
use load::{Failure, next_random, text};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

/// How many documents share a key of the view.
const ROWS: u64 = 100;
/// How many go into one transaction when loading.
const TRANSACTION: u64 = 1000;

#[derive(Debug, Schema)]
#[schema(name = "bench", collections = [Plain, Member])]
struct Bench;

/// A document without views.
#[derive(Debug, Clone, Serialize, Deserialize, Collection)]
#[collection(name = "plain")]
struct Plain {
    text: String,
}

/// A document that the view maps.
#[derive(Debug, Clone, Serialize, Deserialize, Collection)]
#[collection(name = "members", views = [ByGroup])]
struct Member {
    group: u64,
    text: String,
}

/// How many members each group has.
#[derive(Debug, Clone, View, ViewSchema)]
#[view(collection = Member, key = u64, value = u64, name = "by-group")]
struct ByGroup;

impl CollectionMapReduce for ByGroup {
    fn map<'doc>(&self, document: CollectionDocument<Member>) -> ViewMapResult<'doc, Self> {
        document.header.emit_key_and_value(document.contents.group, 1)
    }

    fn reduce(&self, mappings: &[ViewMappedValue<'_, Self>], _: bool) -> ReduceResult<Self::View> {
        Ok(mappings.iter().map(|mapping| mapping.value).sum())
    }
}

fn main() -> Result<(), Failure> {
    let usage = "usage: contender-bonsaidb DIRECTORY [server]";
    let directory = std::env::args().nth(1).ok_or(usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match std::env::args().nth(2).as_deref() {
        None => {
            let database = AsyncDatabase::open::<Bench>(StorageConfiguration::new(directory));
            work(&runtime, runtime.block_on(database)?)
        }
        Some("server") => {
            let served = server::start(&runtime, &directory)?;
            work(&runtime, served.database.clone())
        }
        Some("serve") => runtime.block_on(server::serve(&directory)),
        Some(_) => Err(usage.into()),
    }
}

/// Does what it is told with a database.
fn work<C: AsyncConnection + Clone + 'static>(runtime: &Runtime, database: C) -> Result<(), Failure> {
    let (mut loaded, mut groups) = (0, 0);
    serve(|job| {
        runtime.block_on(async {
            match job {
                Job::Load { documents } => {
                    loaded = documents;
                    let plain = |number| Plain {
                        text: text(number, 256),
                    };
                    fill(&database, documents, plain).await?;
                    Ok(None)
                }
                Job::LoadView { documents } => {
                    groups = documents / ROWS;
                    let member = |number| Member {
                        group: number % (documents / ROWS),
                        text: text(number, 64),
                    };
                    fill(&database, documents, member).await?;
                    // The view is brought up to date by the first query.
                    ByGroup::entries_async(&database).with_key(&0).query().await?;
                    Ok(None)
                }
                Job::Insert {
                    clients,
                    milliseconds,
                } => insert(&database, clients, milliseconds).await.map(Some),
                Job::Get {
                    clients,
                    milliseconds,
                } => get(&database, clients, milliseconds, loaded).await.map(Some),
                Job::View {
                    clients,
                    milliseconds,
                } => view(&database, clients, milliseconds, groups).await.map(Some),
                Job::Reduce { milliseconds } => {
                    reduce(&database, milliseconds, groups * ROWS).await.map(Some)
                }
            }
        })
    })
}

async fn fill<C, D>(database: &C, documents: u64, document: impl Fn(u64) -> D) -> Result<(), Failure>
where
    C: AsyncConnection,
    D: SerializedCollection<PrimaryKey = u64, Contents = D> + 'static,
{
    for first in (0..documents).step_by(TRANSACTION as usize) {
        let mut transaction = Transaction::new();
        for number in first..documents.min(first + TRANSACTION) {
            transaction.push(Operation::overwrite_serialized::<D, u64>(
                &number,
                &document(number),
            )?);
        }
        transaction.apply_async(database).await?;
    }
    Ok(())
}

async fn insert<C: AsyncConnection + Clone + 'static>(database: &C, clients: usize, milliseconds: u64) -> Result<Run, Failure> {
    tasks(clients, Duration::from_millis(milliseconds), |client| {
        let (database, text) = (database.clone(), text(client as u64, 256));
        move || {
            let (database, plain) = (database.clone(), Plain { text: text.clone() });
            async move {
                plain.push_into_async(&database).await?;
                Ok(())
            }
        }
    })
    .await
}

async fn get<C: AsyncConnection + Clone + 'static>(
    database: &C,
    clients: usize,
    milliseconds: u64,
    loaded: u64,
) -> Result<Run, Failure> {
    tasks(clients, Duration::from_millis(milliseconds), |client| {
        let (database, mut state) = (database.clone(), client as u64);
        move || {
            let (database, number) = (database.clone(), next_random(&mut state) % loaded);
            async move {
                Plain::get_async(&number, &database)
                    .await?
                    .ok_or("a document is not there")?;
                Ok(())
            }
        }
    })
    .await
}

async fn view<C: AsyncConnection + Clone + 'static>(
    database: &C,
    clients: usize,
    milliseconds: u64,
    groups: u64,
) -> Result<Run, Failure> {
    tasks(clients, Duration::from_millis(milliseconds), |client| {
        let (database, mut state) = (database.clone(), client as u64);
        move || {
            let (database, group) = (database.clone(), next_random(&mut state) % groups);
            async move {
                let rows = ByGroup::entries_async(&database).with_key(&group).query().await?;
                if rows.len() as u64 == ROWS {
                    Ok(())
                } else {
                    Err(format!("{} rows", rows.len()).into())
                }
            }
        }
    })
    .await
}

async fn reduce<C: AsyncConnection + Clone + 'static>(database: &C, milliseconds: u64, documents: u64) -> Result<Run, Failure> {
    tasks(1, Duration::from_millis(milliseconds), |_| {
        let database = database.clone();
        move || {
            let database = database.clone();
            async move {
                let count = ByGroup::entries_async(&database).reduce().await?;
                if count == documents {
                    Ok(())
                } else {
                    Err(format!("{count} documents").into())
                }
            }
        }
    })
    .await
}
