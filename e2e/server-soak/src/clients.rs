//! Clients by QUIC and WebSocket, which use everything.

use std::sync::Arc;
use std::time::Duration;

use load::Failure;
use pliantdb_client::{
    AsyncClient, AsyncRemoteDatabase, Connection, Error, FeedStart, Options, StorageConnection, Subscriber,
    TakeSnapshot, Transaction,
};
use tokio::task::JoinHandle;

use crate::schema::{ByGroup, ByNumber, Echo, Soak, THINGS, Thing, group, id};
use crate::work::Work;

/// How many tasks change and read documents, by each door.
const DOCUMENTS: usize = 4;
/// Between the steps of one.
const PAUSE: Duration = Duration::from_millis(2);
/// Between those that are dear.
const LONG_PAUSE: Duration = Duration::from_millis(100);

/// Starts them.
pub fn start(work: &Arc<Work>, running: &mut Vec<JoinHandle<()>>) {
    for url in work.urls.clone() {
        let (clients, again) = (Arc::clone(work), url.clone());
        running.push(tokio::spawn(async move {
            if let Err(failure) = use_all(&clients, &again).await {
                clients.failed("client", &failure);
            }
        }));
        let work = Arc::clone(work);
        running.push(tokio::spawn(async move {
            work.repeat("come and go", PAUSE, |dice| come_and_go(&url, dice))
                .await;
        }));
    }
}

/// One connection, and what goes on over it at once.
async fn use_all(work: &Arc<Work>, url: &str) -> Result<(), Failure> {
    let client = AsyncClient::connect(url, Options::default()).await?;
    let database = &client.database::<Soak>("default").await?;
    let documents = async {
        let tasks: Vec<_> = (0..DOCUMENTS)
            .map(|_| {
                let (work, database) = (Arc::clone(work), database.clone());
                tokio::spawn(async move {
                    work.repeat("documents", PAUSE, |dice| documents(&database, dice))
                        .await;
                })
            })
            .collect();
        for task in tasks {
            let _ = task.await;
        }
    };
    tokio::join!(
        documents,
        work.repeat("views", PAUSE, |dice| views(database, dice)),
        work.repeat("keys", PAUSE, |dice| keys(database, dice)),
        work.repeat("messages", PAUSE, |dice| messages(database, dice)),
        work.repeat("changes", PAUSE, |_| changes(database)),
        work.repeat("snapshots", LONG_PAUSE, |dice| snapshots(database, dice)),
        work.repeat("api", PAUSE, |dice| api(database, dice)),
        work.repeat("mistakes", LONG_PAUSE, |dice| mistakes(database, dice)),
        work.repeat("databases", 20 * LONG_PAUSE, |dice| databases(&client, dice)),
    );
    Ok(())
}

/// Others change the same documents at the same time.
fn unless_rejected<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Ok(_) | Err(Error::Rejected(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn documents(database: &AsyncRemoteDatabase, dice: u64) -> Result<(), Failure> {
    let things = database.collection::<Thing>();
    let (number, version) = ((dice >> 8) % THINGS, dice >> 24);
    let several = (0..50).map(|step| (number + step * 7) % THINGS);
    match dice % 9 {
        0 => drop(things.get(&id(number)).await?),
        1 => drop(things.get_multiple(&several.map(id).collect::<Vec<_>>()).await?),
        2 => drop(things.list().after(&id(number)).limit(50).all().await?),
        3 => drop(things.list().count().await?),
        4 => drop(things.overwrite(&id(number), Thing::new(number, version)).await?),
        5 => drop(
            things
                .modify(&id(number), move |thing| thing.group = group(version))
                .await?,
        ),
        6 => {
            let mut transaction = Transaction::new();
            for number in several.take(5) {
                transaction = transaction.overwrite(&id(number), &Thing::new(number, version));
            }
            transaction.apply(database).await?;
        }
        7 => drop(
            things
                .overwrite(&id(version % 20), Thing::new(version % 20, version))
                .await?,
        ),
        _ => {
            unless_rejected(things.delete_by_id(&id(number)).await)?;
            unless_rejected(things.insert_as(&id(number), Thing::new(number, version)).await)?;
        }
    }
    Ok(())
}

async fn views(database: &AsyncRemoteDatabase, dice: u64) -> Result<(), Failure> {
    let (name, number) = (group(dice >> 8), (dice >> 8) % THINGS);
    match dice % 6 {
        0 => drop(database.view::<ByGroup>().key(&name).limit(20).query().await?),
        1 => drop(database.view::<ByGroup>().key(&name).reduce().await?),
        2 => drop(database.view::<ByGroup>().reduce_grouped().await?),
        3 => drop(database.view::<ByGroup>().query().await?),
        4 => {
            let range = database.view::<ByNumber>().key_range(number..number + 30);
            drop(range.query_with_documents().await?);
        }
        _ => drop(database.view::<ByNumber>().key(&number).query().await?),
    }
    Ok(())
}

async fn keys(database: &AsyncRemoteDatabase, dice: u64) -> Result<(), Failure> {
    let keys = database.key_value("soak");
    let key = format!("key-{}", (dice >> 8) % 200);
    match dice % 6 {
        0 => drop(keys.set(&key, &load::text(dice, 200)).await?),
        1 => drop(keys.set_for(&key, &dice, Duration::from_millis(500)).await?),
        2 => drop(keys.get::<serde_json::Value>(&key).await?),
        3 => drop(keys.increment(&format!("number-{}", dice % 20), 1).await?),
        4 => drop(keys.delete(&key).await?),
        _ => drop(keys.list().limit(50).all::<serde_json::Value>().await?),
    }
    Ok(())
}

async fn messages(database: &AsyncRemoteDatabase, dice: u64) -> Result<(), Failure> {
    let topic = format!("soak.client.{dice}");
    let subscription = database.subscribe(&[&topic, "soak.nobody.*"]).await?;
    for number in 0..3_u64 {
        database.publish(&topic, &number).await?;
        let received = subscription.receive().await?.payload.read::<u64>()?;
        if received != number {
            return Err(format!("message {number} was sent, and {received} received").into());
        }
    }
    Ok(())
}

async fn changes(database: &AsyncRemoteDatabase) -> Result<(), Failure> {
    let mut next = database.changes(FeedStart::Now, 1, Duration::ZERO).await?.next;
    for _ in 0..10 {
        let page = database.changes(FeedStart::After(next), 100, Duration::from_millis(300));
        next = page.await?.next;
    }
    Ok(())
}

async fn snapshots(database: &AsyncRemoteDatabase, dice: u64) -> Result<(), Failure> {
    let snapshot = database.snapshot().await?;
    let before = snapshot.collection::<Thing>().list().count().await?;
    tokio::time::sleep(Duration::from_millis(dice % 50)).await;
    let after = snapshot.view::<ByGroup>().reduce().await?;
    drop(snapshot.collection::<Thing>().get(&id(dice % THINGS)).await?);
    match before == after {
        true => Ok(()),
        false => Err(format!("a snapshot has {before} documents, and {after} in its view").into()),
    }
}

async fn api(database: &AsyncRemoteDatabase, dice: u64) -> Result<(), Failure> {
    let text = load::text(dice, usize::try_from(dice % 1000)?);
    match database.call(&Echo { text: text.clone() }).await? {
        Ok(answer) if answer == text => Ok(()),
        Err(_) if text.is_empty() => Ok(()),
        answer => Err(format!("{text:?} was answered with {answer:?}").into()),
    }
}

/// What must be refused, each question by itself.
async fn mistakes(database: &AsyncRemoteDatabase, dice: u64) -> Result<(), Failure> {
    use pliantdb_client::protocol::{Ask, Credentials, Secret};
    let client = database.client();
    let refused = match dice % 4 {
        0 => {
            let name = format!("nothing-{}", dice % 1000);
            client.database::<()>(&name).await.map(drop)
        }
        1 => {
            let request = pliantdb_client::Request::Count {
                collection: "things".parse()?,
                listing: pliantdb_client::Listing::default(),
            };
            let ask = Ask::RequestAt {
                snapshot: u64::MAX - dice % 1000,
                request,
            };
            client.ask(ask).await.map(drop)
        }
        2 => {
            let at = things_of_another(dice);
            database.collection::<Thing>().update(&at).await.map(drop)
        }
        _ => {
            let credentials = Some(Credentials::Password {
                user: format!("user-{}", dice % 5),
                password: Secret::new(format!("wrong {dice}")),
            });
            let options = Options {
                credentials,
                connect_timeout: Duration::from_millis(500),
                ..Options::default()
            };
            let url = client.address().to_string();
            AsyncClient::connect(&url, options).await.map(drop)
        }
    };
    match refused {
        Err(_) => Ok(()),
        Ok(()) => Err(format!("mistake {} was taken", dice % 4).into()),
    }
}

/// A document that was changed since.
fn things_of_another(dice: u64) -> pliantdb_client::Stored<Thing> {
    pliantdb_client::Stored {
        id: id(dice % THINGS),
        revision: pliantdb_client::Revision::at(pliantdb_client::Timestamp::default()),
        contents: Thing::new(dice % THINGS, dice),
    }
}

async fn databases(client: &AsyncClient, dice: u64) -> Result<(), Failure> {
    let name = format!("soak-{}", dice % 100_000_000);
    let database = client.create_database::<Soak>(&name).await?;
    database
        .collection::<Thing>()
        .insert(Thing::new(100, dice))
        .await?;
    database.view::<ByGroup>().reduce().await?;
    client.databases().await?;
    Ok(client.delete_database(&name).await?)
}

/// A connection for one question.
async fn come_and_go(url: &str, dice: u64) -> Result<(), Failure> {
    let client = AsyncClient::connect(url, Options::default()).await?;
    let database = client.database::<()>("default").await?;
    match dice % 3 {
        0 => drop(database.collection::<Thing>().get(&id(dice % THINGS)).await?),
        1 => drop(database.subscribe(&["soak.**"]).await?),
        _ => drop(database.snapshot().await?),
    }
    Ok(())
}
