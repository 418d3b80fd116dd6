//! What the file `FORMAT` says.
//!
//! ```text
//! pliantdb 1       what this is, and the version of its layout
//! encrypted        if it is
//! node             if it is of a node of a cluster; "growing" while a storage becomes one
//! ```

use std::path::Path;

use super::{FORMAT, FORMAT_FILE};
use crate::error::StorageError;

/// Whose a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Of an embedded storage, or a server alone.
    Storage,
    /// It was of a storage, and becomes one of a node: it cannot be opened as either.
    Growing,
    /// Of a node of a cluster.
    Node,
}

/// What is said of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) is_encrypted: bool,
    pub(crate) of: Of,
}

impl Format {
    /// Everything that can be said.
    fn all() -> impl Iterator<Item = Self> {
        let of = [Of::Storage, Of::Growing, Of::Node].into_iter();
        of.flat_map(|of| [false, true].map(|is_encrypted| Self { is_encrypted, of }))
    }

    pub(super) fn text(self) -> String {
        let encrypted = if self.is_encrypted { "encrypted\n" } else { "" };
        let of = match self.of {
            Of::Storage => "",
            Of::Growing => "growing\n",
            Of::Node => "node\n",
        };
        format!("pliantdb {FORMAT}\n{encrypted}{of}")
    }

    /// `None` when it is no format of this build.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::all().find(|format| format.text().trim_end() == text.trim_end())
    }

    /// Whether the text is one, or the beginning of one.
    pub(super) fn begins_with(text: &str) -> bool {
        Self::all().any(|format| format.text().starts_with(text))
    }

    /// What the file of the directory at `path` says.
    ///
    /// # Errors
    /// [`StorageError::NewerFormat`], or [`StorageError::ForeignDirectory`].
    pub(super) fn read(path: &Path, text: &str) -> Result<Self, StorageError> {
        if let Some(format) = Self::parse(text) {
            return Ok(format);
        }
        let version = text
            .lines()
            .next()
            .and_then(|line| line.strip_prefix("pliantdb "));
        match version.and_then(|version| version.trim_end().parse().ok()) {
            Some(found) if found > FORMAT => Err(StorageError::NewerFormat {
                path: path.to_owned(),
                found,
                supported: FORMAT,
            }),
            _ => Err(StorageError::ForeignDirectory {
                path: path.to_owned(),
                found: format!("{FORMAT_FILE} with the text {text:?}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_it_always_was() {
        let texts: Vec<String> = Format::all().map(Format::text).collect();
        let expected = [
            "pliantdb 1\n",
            "pliantdb 1\nencrypted\n",
            "pliantdb 1\ngrowing\n",
            "pliantdb 1\nencrypted\ngrowing\n",
            "pliantdb 1\nnode\n",
            "pliantdb 1\nencrypted\nnode\n",
        ];
        assert_eq!(texts, expected);
        for format in Format::all() {
            assert_eq!(Format::parse(&format.text()), Some(format));
        }
        assert!(Format::begins_with("pliantdb 1\nenc") && !Format::begins_with("pliantdb 1\nother"));
    }
}
