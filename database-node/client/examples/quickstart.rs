//! What the README shows, from the first blank line on.
#![allow(clippy::print_stdout, reason = "it is a program to look at")]

use pliantdb_client::{Client, Collection, Connection, Options, StorageConnection};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Collection)]
#[collection(name = "people")]
struct Person {
    name: String,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("PLIANT_SERVER")?; // pliant://localhost?fingerprint=…
    let people = Client::connect(&address, Options::default())?.database::<Person>("default")?;
    let grace = people.collection::<Person>().insert(Person {
        name: "Grace".to_owned(),
    })?;
    println!("{:?}", people.collection::<Person>().list().all()?);
    people.key_value("visits").increment("home", 1)?;
    people.publish("people.new", &grace.id)?;
    Ok(())
}
