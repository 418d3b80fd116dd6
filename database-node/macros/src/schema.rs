//! `derive(Schema)`

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::attributes::{each_part, missing, name, no_generics, paths, traits};

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let (mut schema, mut collections) = (None, vec![]);
    each_part(input, "schema", "name, collections", |part| {
        if part.path.is_ident("name") {
            schema = Some(name(part)?);
        } else if part.path.is_ident("collections") {
            collections = paths(part)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    })?;
    no_generics(input)?;
    let schema = schema.ok_or_else(|| missing(input, "schema(name = \"…\", collections = […])"))?;
    let (db, ident) = (traits(), &input.ident);
    Ok(quote! {
        impl #db::Schema for #ident {
            const NAME: ::core::option::Option<&'static str> = ::core::option::Option::Some(#schema);

            fn collections(collections: &mut #db::Collections) {
                #(collections.add::<#collections>();)*
            }
        }
    })
}
