//! PliantDB, embedded. Arguments: a directory that is not there yet, and `async` or `blocking`.

use std::time::Duration;

use load::clients::{Run, tasks, threads};
use load::job::{Job, serve};
use load::{Failure, next_random, text};
use pliantdb_core::{
    Body, CollectionName, DatabaseName, DocumentAddress, DocumentId, Operation, Precondition,
};
use pliantdb_storage::{Database, Storage, generate_document_id};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

struct Contender {
    storage: Storage,
    database: Database,
    plain: CollectionName,
    runtime: Option<Runtime>,
}

fn main() -> Result<(), Failure> {
    let usage = "usage: contender-pliantdb DIRECTORY async|blocking";
    let (directory, door) = (
        std::env::args().nth(1).ok_or(usage)?,
        std::env::args().nth(2).ok_or(usage)?,
    );
    let storage = Storage::open(directory)?;
    let contender = Contender {
        database: storage.database(&DatabaseName::default_database())?,
        storage,
        plain: "plain".parse()?,
        runtime: (door == "async").then(Runtime::new).transpose()?,
    };
    let mut loaded = 0;
    serve(|job| match job {
        Job::Load { documents } => {
            loaded = documents;
            contender.load(documents).map(|()| None)
        }
        Job::Insert {
            clients,
            milliseconds,
        } => contender.insert(clients, milliseconds).map(Some),
        Job::Get {
            clients,
            milliseconds,
        } => contender.get(clients, milliseconds, loaded).map(Some),
        Job::LoadView { .. } | Job::View { .. } | Job::Reduce { .. } => Err("not yet".into()),
    })
}

/// The id of a document that was loaded; their order is not that of the numbers.
fn loaded_id(number: u64) -> Result<DocumentId, Failure> {
    Ok(format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).parse()?)
}

/// 256 bytes of JSON.
fn body(number: u64) -> Result<Body, Failure> {
    Ok(Body::parse(format!("\"{}\"", text(number, 254)).into_bytes())?)
}

impl Contender {
    fn put(&self, id: DocumentId, body: Body) -> Operation {
        let address = DocumentAddress {
            database: self.database.name().clone(),
            collection: self.plain.clone(),
            id,
        };
        Operation::Put {
            address,
            body,
            precondition: Precondition::None,
        }
    }

    /// As many at once as the queue takes.
    fn load(&self, documents: u64) -> Result<(), Failure> {
        let (done, answers) = std::sync::mpsc::channel();
        let mut waiting = 0;
        for number in 0..documents {
            if waiting == pliantdb_storage::QUEUE_CAPACITY / 2 {
                answers.recv()??;
                waiting -= 1;
            }
            let done = done.clone();
            self.storage
                .submit(self.put(loaded_id(number)?, body(number)?), move |result| {
                    // Fails only if the load failed.
                    let _ = done.send(result);
                })?;
            waiting += 1;
        }
        for _ in 0..waiting {
            answers.recv()??;
        }
        Ok(())
    }

    fn insert(&self, clients: usize, milliseconds: u64) -> Result<Run, Failure> {
        let time = Duration::from_millis(milliseconds);
        let bodies = (0..clients as u64).map(body).collect::<Result<Vec<_>, _>>()?;
        match &self.runtime {
            Some(runtime) => runtime.block_on(tasks(clients, time, |client| {
                let (storage, body) = (self.storage.clone(), bodies[client].clone());
                let Operation::Put { address, .. } = self.put(generate_document_id(), body.clone()) else {
                    unreachable!()
                };
                move || {
                    let (done, answer) = oneshot::channel();
                    let address = DocumentAddress {
                        id: generate_document_id(),
                        ..address.clone()
                    };
                    let put = Operation::Put {
                        address,
                        body: body.clone(),
                        precondition: Precondition::Absent,
                    };
                    let sent = storage.submit(put, move |result| drop(done.send(result)));
                    async move {
                        sent?;
                        answer.await??;
                        Ok(())
                    }
                }
            })),
            None => threads(clients, time, |client| {
                let body = bodies[client].clone();
                move || {
                    self.database.push(&self.plain, body.clone())?;
                    Ok(())
                }
            }),
        }
    }

    fn get(&self, clients: usize, milliseconds: u64, loaded: u64) -> Result<Run, Failure> {
        let time = Duration::from_millis(milliseconds);
        match &self.runtime {
            Some(runtime) => runtime.block_on(tasks(clients, time, |client| {
                let (database, plain, mut state) = (self.database.clone(), self.plain.clone(), client as u64);
                move || {
                    let found = read(&database, &plain, next_random(&mut state) % loaded);
                    async move { found }
                }
            })),
            None => threads(clients, time, |client| {
                let mut state = client as u64;
                move || read(&self.database, &self.plain, next_random(&mut state) % loaded)
            }),
        }
    }
}

fn read(database: &Database, plain: &CollectionName, number: u64) -> Result<(), Failure> {
    database
        .get(plain, &loaded_id(number)?)?
        .ok_or("a document is not there")?;
    Ok(())
}
