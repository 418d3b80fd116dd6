//! Ids by type: what a collection's documents are called in Rust.

use crate::{DocumentId, InvalidDocumentId};

/// A type that can be the id of a collection's documents.
///
/// Its text sorts as its values do, so numbers are written with leading zeros to their full width.
///
/// ```
/// use pliantdb_core::Id;
///
/// let id = 42u32.to_document_id().unwrap();
/// assert_eq!(id.as_str(), "0000000042");
/// assert_eq!(u32::from_document_id(&id), Ok(42));
/// ```
pub trait Id: Sized + Send + 'static {
    /// The id as it is stored.
    ///
    /// # Errors
    /// [`InvalidDocumentId`] when the value cannot be an id.
    fn to_document_id(&self) -> Result<DocumentId, InvalidDocumentId>;

    /// The value that a stored id stands for.
    ///
    /// # Errors
    /// [`InvalidDocumentId::OtherType`] when it is not the id of such a value.
    fn from_document_id(id: &DocumentId) -> Result<Self, InvalidDocumentId>;

    /// [`Id::from_document_id`], for who needs the text no more.
    ///
    /// # Errors
    /// As [`Id::from_document_id`].
    fn from_own(id: DocumentId) -> Result<Self, InvalidDocumentId> {
        Self::from_document_id(&id)
    }
}

impl Id for DocumentId {
    fn to_document_id(&self) -> Result<DocumentId, InvalidDocumentId> {
        Ok(self.clone())
    }

    fn from_document_id(id: &DocumentId) -> Result<Self, InvalidDocumentId> {
        Ok(id.clone())
    }

    fn from_own(id: DocumentId) -> Result<Self, InvalidDocumentId> {
        Ok(id)
    }
}

impl Id for String {
    fn to_document_id(&self) -> Result<DocumentId, InvalidDocumentId> {
        self.parse()
    }

    fn from_document_id(id: &DocumentId) -> Result<Self, InvalidDocumentId> {
        Ok(id.as_str().to_owned())
    }
}

macro_rules! number_ids {
    ($($type:ty: $digits:literal),*) => {$(
        impl Id for $type {
            fn to_document_id(&self) -> Result<DocumentId, InvalidDocumentId> {
                format!("{self:0width$}", width = $digits).try_into()
            }

            fn from_document_id(id: &DocumentId) -> Result<Self, InvalidDocumentId> {
                let text = id.as_str();
                let is_padded = text.len() == $digits && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|_| is_padded).ok_or_else(|| InvalidDocumentId::OtherType {
                    value: crate::shorten(text).into_owned(),
                    expected: concat!("a ", stringify!($type), " in ", $digits, " digits"),
                })
            }
        }
    )*};
}
number_ids!(u32: 10, u64: 20);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Id;

    #[test]
    fn numbers_have_their_full_width() {
        assert_eq!(42u64.to_document_id().unwrap().as_str(), "00000000000000000042");
        assert_eq!(u32::MAX.to_document_id().unwrap().as_str(), "4294967295");
        for text in ["42", "+000000042", "4294967296", "000000004x", "ten"] {
            let error = u32::from_document_id(&text.parse().unwrap()).unwrap_err();
            assert!(error.to_string().contains("a u32 in 10 digits"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn sort_like_their_numbers(a: u64, b: u64) {
            let (x, y) = (a.to_document_id().unwrap(), b.to_document_id().unwrap());
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            prop_assert_eq!(u64::from_document_id(&x), Ok(a));
        }
    }
}
