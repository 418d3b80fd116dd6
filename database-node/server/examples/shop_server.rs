//! A server of one's own: a schema, a view and an API in Rust, and a program that talks to it.
//!
//! `cargo run -p pliantdb-server --example shop_server` starts it, lets a client do its work, and ends.

#![allow(clippy::print_stdout, reason = "it is a program to look at")]

use std::error::Error;

use pliantdb_client::{AsyncClient, Options};
use pliantdb_server::config::{Inputs, Settings};
use pliantdb_server::{
    Api, Collection, Connection, DocumentId, Emit, Map, Reduce, Schema, Server, StorageConnection, View,
};
use serde::{Deserialize, Serialize};

#[derive(Schema)]
#[schema(name = "shop", collections = [Order])]
struct Shop;

#[derive(Debug, Serialize, Deserialize, Collection)]
#[collection(name = "orders", views = [ByCountry])]
struct Order {
    country: String,
    cents: u64,
}

/// What was sold where: the server runs it, for every client.
#[derive(View)]
#[view(collection = Order, name = "by-country", key = String, value = u64, reduce)]
struct ByCountry;

impl Map for ByCountry {
    fn map(_: &DocumentId, order: &Order, emit: &mut Emit<Self>) {
        emit.entry(order.country.clone(), order.cents);
    }
}

impl Reduce for ByCountry {
    fn reduce(cents: &[u64]) -> u64 {
        cents.iter().sum()
    }
}

/// Asks for a discount. What decides is on the server, where nobody can change it.
#[derive(Debug, Serialize, Deserialize, Api)]
#[api(name = "discount", response = u64, error = String)]
struct Discount {
    country: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    // A program that runs for long takes its settings from flags and variables, as pliant-node does.
    let any = || Some("127.0.0.1:0".to_owned());
    let settings = Settings::load(
        Inputs {
            data: Some(directory.path().join("data")),
            listen: any(),
            quic_listen: any(),
            admin_listen: any(),
            ..Inputs::default()
        },
        None,
    )?;
    let server = Server::builder(settings)
        .schema::<Shop>()
        .api(|database, request: Discount| {
            let sold = database.view::<ByCountry>().key(&request.country).reduce();
            match sold.map_err(|error| error.to_string())? {
                sold if sold >= 10_000 => Ok(15),
                sold => Err(format!("{sold} cents are not enough for a discount")),
            }
        })
        .start()
        .await?;
    let (address, fingerprint) = (server.addresses().quic, server.fingerprint());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));

    let url = format!("pliant://{address}?fingerprint={fingerprint}");
    let shop = AsyncClient::connect(&url, Options::default()).await?;
    let shop = shop.create_database::<Shop>("shop").await?;
    for (country, cents) in [("FR", 7_500), ("FR", 4_000), ("UK", 900)] {
        let country = country.to_owned();
        shop.collection::<Order>()
            .insert(Order { country, cents })
            .await?;
    }
    for country in ["FR", "UK"] {
        let country = country.to_owned();
        let discount = shop
            .call(&Discount {
                country: country.clone(),
            })
            .await?;
        println!("{country}: {discount:?}");
    }
    assert_eq!(shop.view::<ByCountry>().reduce().await?, 12_400);

    drop(shop);
    let _ = stop.send(());
    serving.await??;
    Ok(())
}
