//! What the tests keep.

use pliantdb_core::{Api, Collection, DocumentId, Emit, Map, Reduce, Schema, View};
use serde::{Deserialize, Serialize};

/// A shop.
#[derive(Schema)]
#[schema(name = "shop", collections = [User, Order, Invoice, Page])]
pub struct Shop;

/// Who buys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Collection)]
#[collection(name = "users", views = [ByCountry, ByAge, ByEmail, Words])]
pub struct User {
    /// Unique.
    pub email: String,
    /// Where.
    pub country: String,
    /// In years.
    pub age: u32,
}

impl User {
    /// Someone.
    #[must_use]
    pub fn new(email: &str, country: &str, age: u32) -> Self {
        Self {
            email: email.to_owned(),
            country: country.to_owned(),
            age,
        }
    }
}

/// How many live where. Lazy.
#[derive(View)]
#[view(collection = User, name = "by-country", key = String, value = u64, reduce)]
pub struct ByCountry;

impl Map for ByCountry {
    fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
        emit.entry(user.country.clone(), 1);
    }
}

impl Reduce for ByCountry {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

/// Ages, with their sum. Eager.
#[derive(View)]
#[view(collection = User, name = "by-age", key = u32, value = u64, policy = eager, reduce)]
pub struct ByAge;

impl Map for ByAge {
    fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
        emit.entry(user.age, u64::from(user.age));
    }
}

impl Reduce for ByAge {
    fn reduce(ages: &[u64]) -> u64 {
        ages.iter().sum()
    }
}

/// No two have the same. An empty one is none.
#[derive(View)]
#[view(collection = User, name = "by-email", key = String, policy = unique)]
pub struct ByEmail;

impl Map for ByEmail {
    fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
        if !user.email.is_empty() {
            emit.entry(user.email.clone(), ());
        }
    }
}

/// The words of a country's name, each as often as it is there. Lazy, and several of a document.
#[derive(View)]
#[view(collection = User, name = "words", key = String, value = u64, reduce)]
pub struct Words;

impl Map for Words {
    fn map(_: &DocumentId, user: &User, emit: &mut Emit<Self>) {
        for word in user.country.split_whitespace() {
            emit.entry(word.to_owned(), 1);
        }
    }
}

impl Reduce for Words {
    fn reduce(counts: &[u64]) -> u64 {
        counts.iter().sum()
    }
}

/// What is bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Collection)]
#[collection(name = "orders")]
pub struct Order {
    /// By whom.
    pub user: DocumentId,
    /// What.
    pub item: String,
}

/// A document with a number of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Collection)]
#[collection(name = "invoices", id = u64, natural_id = number)]
pub struct Invoice {
    /// Its id.
    pub number: u64,
    /// How much.
    pub total: i64,
}

/// A document with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Collection)]
#[collection(name = "pages", named_by = title)]
pub struct Page {
    /// Its name.
    pub title: String,
    /// Its text.
    pub text: String,
}

/// A custom API.
#[derive(Debug, Serialize, Deserialize, Api)]
#[api(name = "greet", response = String, error = Unwelcome)]
pub struct Greet {
    /// Whom.
    pub name: String,
}

/// Why someone is not greeted.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unwelcome {
    /// No name.
    Nameless,
}

/// Greets.
///
/// # Errors
/// [`Unwelcome`].
pub fn greet(request: &Greet) -> Result<String, Unwelcome> {
    match request.name.as_str() {
        "" => Err(Unwelcome::Nameless),
        name => Ok(format!("Hello {name}")),
    }
}

/// Takes schemas, for servers: they run the views.
pub trait Register: Sized {
    /// Takes one.
    #[must_use]
    fn schema<S: Schema>(self) -> Self;
}

/// Gives a server all schemas of the tests, in the order in which their versions came.
pub fn register<R: Register>(server: R) -> R {
    server
        .schema::<Shop>()
        .schema::<crate::views::later::Shop>()
        .schema::<Order>()
        .schema::<crate::views::panicking::Note>()
}
