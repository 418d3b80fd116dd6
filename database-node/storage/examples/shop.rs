//! A shop in one process: typed collections, a view, a transaction, and the feed of changes.
//!
//! `cargo run -p pliantdb-storage --example shop`

use std::time::Duration;

use pliantdb_storage::{
    Collection, Connection, Database, DocumentId, Emit, Error, FeedStart, Map, Reduce, Schema, Transaction,
    View,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Collection)]
#[collection(name = "products", id = String, natural_id = name)]
struct Product {
    name: String,
    stock: u32,
}

#[derive(Debug, Serialize, Deserialize, Collection)]
#[collection(name = "orders", views = [SoldByProduct])]
struct Order {
    product: String,
    pieces: u64,
}

/// How many pieces of each product were ordered.
#[derive(View)]
#[view(collection = Order, name = "sold-by-product", key = String, value = u64, reduce)]
struct SoldByProduct;

impl Map for SoldByProduct {
    fn map(_: &DocumentId, order: &Order, emit: &mut Emit<Self>) {
        emit.entry(order.product.clone(), order.pieces);
    }
}

impl Reduce for SoldByProduct {
    fn reduce(pieces: &[u64]) -> u64 {
        pieces.iter().sum()
    }
}

#[derive(Schema)]
#[schema(name = "shop", collections = [Product, Order])]
struct Shop;

/// Takes pieces out of the stock and notes the order, both or neither.
fn order(database: &Database, product: &str, pieces: u32) -> Result<bool, Error> {
    loop {
        let Some(mut found) = database.collection::<Product>().get(&product.to_owned())? else {
            return Ok(false);
        };
        let Some(left) = found.contents.stock.checked_sub(pieces) else {
            return Ok(false);
        };
        found.contents.stock = left;
        let order = Order {
            product: product.to_owned(),
            pieces: u64::from(pieces),
        };
        match Transaction::new().update(&found).insert(&order).apply(database) {
            Ok(_) => return Ok(true),
            // Someone else has ordered meanwhile: look again.
            Err(Error::Rejected(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let database = Database::open::<Shop>(directory.path())?;
    for (name, stock) in [("tea", 10), ("coffee", 3)] {
        database.collection::<Product>().insert(Product {
            name: name.to_owned(),
            stock,
        })?;
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3).try_for_each(|_| order(&database, "tea", 1).map(|_| ())));
        }
    });
    println!("coffee for four: {}", order(&database, "coffee", 4)?);
    for (product, pieces) in database.view::<SoldByProduct>().reduce_grouped()? {
        println!("{product}: {pieces} sold");
    }
    for product in database.collection::<Product>().list().all()? {
        println!("{}: {} left", product.id, product.contents.stock);
    }
    let page = database.changes(FeedStart::Oldest, 100, Duration::ZERO)?;
    println!("{} transactions", page.transactions.len());
    Ok(())
}
