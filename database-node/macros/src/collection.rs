//! `derive(Collection)`

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Fields, Ident, Type};

use crate::attributes::{each_part, missing, name, no_generics, paths, traits};

pub(crate) fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let (mut collection, mut id, mut natural_id, mut named_by, mut views) =
        (None, None::<Type>, None, None, vec![]);
    each_part(
        input,
        "collection",
        "name, id, natural_id, named_by, views",
        |part| {
            if part.path.is_ident("name") {
                collection = Some(name(part)?);
            } else if part.path.is_ident("id") {
                id = Some(part.value()?.parse()?);
            } else if part.path.is_ident("natural_id") {
                natural_id = Some(field(input, part.value()?.parse()?)?);
            } else if part.path.is_ident("named_by") {
                named_by = Some(field(input, part.value()?.parse()?)?);
            } else if part.path.is_ident("views") {
                views = paths(part)?;
            } else {
                return Ok(false);
            }
            Ok(true)
        },
    )?;
    no_generics(input)?;
    let collection = collection.ok_or_else(|| missing(input, "collection(name = \"…\")"))?;
    let (db, ident, visibility) = (traits(), &input.ident, &input.vis);
    let id = id.map_or_else(|| quote!(#db::DocumentId), |id| quote!(#id));
    let natural_id = natural_id.map(|field| {
        quote! {
            fn natural_id(&self) -> ::core::option::Option<Self::Id> {
                ::core::option::Option::Some(::core::clone::Clone::clone(&self.#field))
            }
        }
    });
    let by_name = named_by
        .as_ref()
        .map(|_| quote!(views.add::<<Self as #db::Named>::ByName>();));
    let named = named_by.map(|field| {
        quote! {
            const _: () = {
                /// The unique view by name.
                #visibility struct ByName;

                impl #db::View for ByName {
                    type Collection = #ident;
                    type Key = ::std::string::String;
                    type Value = ();
                    const NAME: &'static str = "by-name";
                    const VERSION: u64 = 0;
                    const POLICY: #db::ViewPolicy = #db::ViewPolicy::Unique;
                    const REDUCE: ::core::option::Option<#db::ReduceFn<()>> = ::core::option::Option::None;
                }

                impl #db::Map for ByName {
                    fn map(_: &<#ident as #db::Collection>::Id, contents: &#ident, emit: &mut #db::Emit<Self>) {
                        emit.entry(::core::clone::Clone::clone(&contents.#field), ());
                    }
                }

                impl #db::Named for #ident {
                    type ByName = ByName;
                }
            };
        }
    });
    Ok(quote! {
        impl #db::Collection for #ident {
            type Id = #id;
            const NAME: &'static str = #collection;

            #natural_id

            fn views(views: &mut #db::Views<Self>) {
                #by_name
                #(views.add::<#views>();)*
            }
        }

        impl #db::Schema for #ident {
            const NAME: ::core::option::Option<&'static str> = ::core::option::Option::Some(#collection);

            fn collections(collections: &mut #db::Collections) {
                collections.add::<Self>();
            }
        }

        #named
    })
}

/// A field of the type.
fn field(input: &DeriveInput, wanted: Ident) -> syn::Result<Ident> {
    if let Data::Struct(data) = &input.data
        && let Fields::Named(fields) = &data.fields
        && fields
            .named
            .iter()
            .any(|field| field.ident.as_ref() == Some(&wanted))
    {
        return Ok(wanted);
    }
    Err(syn::Error::new_spanned(
        &wanted,
        format_args!("{} has no field of this name", input.ident),
    ))
}
