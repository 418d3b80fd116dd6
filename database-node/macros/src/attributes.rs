//! What the attributes of all derives have in common.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{DeriveInput, Ident, LitStr, Path, Token, bracketed};

/// Where the traits are, as whoever derives can name them: they may depend on the core or on the storage only.
pub(crate) fn traits() -> TokenStream {
    for name in [
        "pliantdb-core",
        "pliantdb-storage",
        "pliantdb-client",
        "pliantdb-server",
    ] {
        let found = match crate_name(name) {
            Ok(FoundCrate::Itself) => name.replace('-', "_"),
            Ok(FoundCrate::Name(name)) => name,
            Err(_) => continue,
        };
        let found = Ident::new(&found, Span::call_site());
        return quote!(::#found);
    }
    quote!(::pliantdb_core)
}

/// Gives each part of the attributes called `attribute` to `part`, which says whether it knows it; `expected` lists
/// what there is.
pub(crate) fn each_part(
    input: &DeriveInput,
    attribute: &str,
    expected: &str,
    mut part: impl FnMut(&ParseNestedMeta) -> syn::Result<bool>,
) -> syn::Result<()> {
    for found in input
        .attrs
        .iter()
        .filter(|found| found.path().is_ident(attribute))
    {
        found.parse_nested_meta(|meta| match part(&meta)? {
            true => Ok(()),
            false => Err(meta.error(format_args!("expected one of: {expected}"))),
        })?;
    }
    Ok(())
}

/// The error of a part that must be there.
pub(crate) fn missing(input: &DeriveInput, example: &str) -> syn::Error {
    syn::Error::new_spanned(&input.ident, format_args!("add #[{example}]"))
}

/// Refuses types with parameters: one name would stand for many collections or views.
pub(crate) fn no_generics(input: &DeriveInput) -> syn::Result<()> {
    match input.generics.params.is_empty() {
        true => Ok(()),
        false => Err(syn::Error::new_spanned(
            &input.generics,
            "a type with parameters cannot have a name of its own",
        )),
    }
}

/// A name, by the rule that the database has for all names.
pub(crate) fn name(meta: &ParseNestedMeta) -> syn::Result<LitStr> {
    let name: LitStr = meta.value()?.parse()?;
    let text = name.value();
    let is_name = text.len() <= 63
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    match is_name {
        true => Ok(name),
        false => Err(syn::Error::new_spanned(
            &name,
            "a name is 1 to 63 characters long, starts with an ASCII letter or digit, and holds only ASCII letters, \
             digits, '.', '_' and '-'",
        )),
    }
}

/// `[A, B]`
pub(crate) fn paths(meta: &ParseNestedMeta) -> syn::Result<Vec<Path>> {
    let list;
    let value = meta.value()?;
    bracketed!(list in value);
    Ok(Punctuated::<Path, Token![,]>::parse_terminated(&list)?
        .into_iter()
        .collect())
}
