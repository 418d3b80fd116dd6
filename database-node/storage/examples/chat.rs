//! A chat room without blocking: messages to everyone who listens, and a custom API that counts them.
//!
//! `cargo run -p pliantdb-storage --example chat`

use pliantdb_storage::{Api, Apis, AsyncDatabase, Connection, Database, Number, Options, Subscriber};
use serde::{Deserialize, Serialize};

/// Says something to all.
#[derive(Debug, Serialize, Deserialize, Api)]
#[api(name = "say", response = i64, error = String)]
struct Say {
    who: String,
    what: String,
}

/// Sends it, and gives how often they have spoken.
fn say(database: &Database, request: Say) -> Result<i64, String> {
    let Say { who, what } = request;
    let text = format!("{who}: {what}");
    database
        .publish("room.main", &text)
        .map_err(|error| error.to_string())?;
    match database.key_value("spoken").increment(&who, 1) {
        Ok(Number::Integer(times)) => Ok(times),
        Ok(Number::Float(_)) => Err("the count is not a whole number".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "an example shows what it does")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let options = Options {
        apis: Apis::default().with(say),
        ..Options::default()
    };
    let database = AsyncDatabase::open_with::<()>(directory.path(), options).await?;
    let room = database.subscribe(&["room.*"]).await?;
    let listener = tokio::spawn(async move {
        for _ in 0..3 {
            match room
                .receive()
                .await
                .map(|message| message.payload.read::<String>())
            {
                Ok(Ok(text)) => println!("{text}"),
                other => println!("{other:?}"),
            }
        }
    });
    for (who, what) in [("ada", "hello"), ("alan", "hi"), ("ada", "bye")] {
        let (who, what) = (who.to_owned(), what.to_owned());
        let times = database
            .call(&Say {
                who: who.clone(),
                what,
            })
            .await??;
        println!("({who} has spoken {times} times)");
    }
    listener.await?;
    Ok(())
}
