//! `derive(Api)`

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Type};

use crate::attributes::{each_part, missing, name, no_generics, traits};

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let (mut api, mut response, mut error) = (None, None::<Type>, None::<Type>);
    each_part(input, "api", "name, response, error", |part| {
        if part.path.is_ident("name") {
            api = Some(name(part)?);
        } else if part.path.is_ident("response") {
            response = Some(part.value()?.parse()?);
        } else if part.path.is_ident("error") {
            error = Some(part.value()?.parse()?);
        } else {
            return Ok(false);
        }
        Ok(true)
    })?;
    no_generics(input)?;
    let api = api.ok_or_else(|| missing(input, "api(name = \"…\")"))?;
    let (db, ident) = (traits(), &input.ident);
    let unit = || quote!(());
    let response = response.map_or_else(unit, |response| quote!(#response));
    let error = error.map_or_else(unit, |error| quote!(#error));
    Ok(quote! {
        impl #db::Api for #ident {
            type Response = #response;
            type Error = #error;
            const NAME: &'static str = #api;
        }
    })
}
