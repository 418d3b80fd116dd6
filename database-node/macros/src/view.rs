//! `derive(View)`

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Ident, LitInt, Type};

use crate::attributes::{each_part, missing, name, no_generics, traits};

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let (mut collection, mut key, mut value) = (None::<Type>, None::<Type>, None::<Type>);
    let (mut view, mut version, mut policy, mut reduces) = (None, 0, quote!(Lazy), false);
    each_part(
        input,
        "view",
        "collection, name, key, value, version, policy, reduce",
        |part| {
            if part.path.is_ident("collection") {
                collection = Some(part.value()?.parse()?);
            } else if part.path.is_ident("name") {
                view = Some(name(part)?);
            } else if part.path.is_ident("key") {
                key = Some(part.value()?.parse()?);
            } else if part.path.is_ident("value") {
                value = Some(part.value()?.parse()?);
            } else if part.path.is_ident("version") {
                version = part.value()?.parse::<LitInt>()?.base10_parse::<u64>()?;
            } else if part.path.is_ident("policy") {
                policy = policy_of(&part.value()?.parse()?)?;
            } else if part.path.is_ident("reduce") {
                reduces = true;
            } else {
                return Ok(false);
            }
            Ok(true)
        },
    )?;
    no_generics(input)?;
    let all = "view(collection = …, name = \"…\", key = …)";
    let (Some(collection), Some(view), Some(key)) = (collection, view, key) else {
        return Err(missing(input, all));
    };
    let (db, ident) = (traits(), &input.ident);
    let value = value.map_or_else(|| quote!(()), |value| quote!(#value));
    let reduce = match reduces {
        true => quote!(::core::option::Option::Some(<Self as #db::Reduce>::reduce)),
        false => quote!(::core::option::Option::None),
    };
    Ok(quote! {
        impl #db::View for #ident {
            type Collection = #collection;
            type Key = #key;
            type Value = #value;
            const NAME: &'static str = #view;
            const VERSION: u64 = #version;
            const POLICY: #db::ViewPolicy = #db::ViewPolicy::#policy;
            const REDUCE: ::core::option::Option<#db::ReduceFn<Self::Value>> = #reduce;
        }
    })
}

fn policy_of(policy: &Ident) -> syn::Result<TokenStream> {
    match policy.to_string().as_str() {
        "lazy" => Ok(quote!(Lazy)),
        "eager" => Ok(quote!(Eager)),
        "unique" => Ok(quote!(Unique)),
        _ => Err(syn::Error::new_spanned(policy, "expected lazy, eager or unique")),
    }
}
