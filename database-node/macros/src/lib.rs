//! The derives of PliantDB. The traits that they implement, in `pliantdb-core`, say what they mean.

mod api;
mod attributes;
mod collection;
mod schema;
mod view;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `Collection`, and `Schema` for a database of this collection alone.
///
/// `#[collection(name = "users", id = u64, natural_id = number, named_by = email, views = [ByCountry])]`; all but the
/// name can be left out:
/// - `id`: the type of the ids, `DocumentId` unless said
/// - `natural_id`: the field that is the id
/// - `named_by`: the field, a `String`, that no two documents share and by which they can be found
/// - `views`: its views
#[proc_macro_derive(Collection, attributes(collection))]
pub fn derive_collection(input: TokenStream) -> TokenStream {
    answer(collection::derive(&parse_macro_input!(input as DeriveInput)))
}

/// Implements `View`.
///
/// `#[view(collection = User, name = "by-country", key = String, value = u64, version = 1, policy = eager, reduce)]`;
/// what can be left out:
/// - `value`: `()` unless said
/// - `version`: 0 unless said
/// - `policy`: `lazy` unless said, `eager` or `unique`
/// - `reduce`: that it implements `Reduce`
#[proc_macro_derive(View, attributes(view))]
pub fn derive_view(input: TokenStream) -> TokenStream {
    answer(view::derive(&parse_macro_input!(input as DeriveInput)))
}

/// Implements `Schema`.
///
/// `#[schema(name = "shop", collections = [User, Order])]`
#[proc_macro_derive(Schema, attributes(schema))]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    answer(schema::derive(&parse_macro_input!(input as DeriveInput)))
}

/// Implements `Api`.
///
/// `#[api(name = "greet", response = String, error = Unwelcome)]`; `response` and `error` are `()` unless said.
#[proc_macro_derive(Api, attributes(api))]
pub fn derive_api(input: TokenStream) -> TokenStream {
    answer(api::derive(&parse_macro_input!(input as DeriveInput)))
}

fn answer(derived: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    derived.unwrap_or_else(|error| error.to_compile_error()).into()
}
