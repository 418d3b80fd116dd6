//! What a backup consists of.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::BackupError;

/// The format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupInfo {
    /// The version of this description.
    pub format: u32,
    /// Its name: when it was made, in UTC, and four random digits.
    pub id: String,
    /// The version of PliantDB that made it.
    pub made_by: String,
    /// The name of the master key that is needed to open it, if it is encrypted.
    pub master_key: Option<String>,
    /// The files of the data directory.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its place in the data directory.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The SHA-256 of its content, in hexadecimal digits, which is its name in `files/` too.
    pub sha256: String,
}

/// The file: what it says, and the checksum of that.
#[derive(Serialize, Deserialize)]
struct Signed<'a> {
    sha256: String,
    #[serde(borrow)]
    backup: &'a RawValue,
}

/// What can be read of a description of any format.
#[derive(Deserialize)]
struct AnyFormat {
    format: u32,
}

impl BackupInfo {
    pub(super) fn new(id: String, master_key: Option<String>, files: Vec<BackupFile>) -> Self {
        Self {
            format: FORMAT,
            id,
            made_by: env!("CARGO_PKG_VERSION").to_owned(),
            master_key,
            files,
        }
    }

    /// The bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    pub(super) fn encode(&self) -> Result<String, BackupError> {
        let encode = || {
            let backup = serde_json::value::to_raw_value(self)?;
            serde_json::to_string(&Signed {
                sha256: hex(digest(&SHA256, backup.get().as_bytes()).as_ref()),
                backup: &backup,
            })
        };
        encode().map_err(|error| self.damaged(error.to_string()))
    }

    /// Reads what [`BackupInfo::encode`] wrote, and checks all of it.
    pub(super) fn decode(id: &str, text: &[u8]) -> Result<Self, BackupError> {
        let damaged = |reason: String| BackupError::Manifest {
            id: id.to_owned(),
            reason,
        };
        let invalid = |error: serde_json::Error| damaged(format!("cannot be read: {error}"));
        let signed: Signed<'_> = serde_json::from_slice(text).map_err(invalid)?;
        let found = hex(digest(&SHA256, signed.backup.get().as_bytes()).as_ref());
        if found != signed.sha256 {
            return Err(damaged(format!(
                "has the checksum {found} and should have {}",
                pliantdb_core::shorten(&signed.sha256)
            )));
        }
        let AnyFormat { format } = serde_json::from_str(signed.backup.get()).map_err(invalid)?;
        if format > FORMAT {
            return Err(BackupError::Newer {
                id: id.to_owned(),
                found: format,
                supported: FORMAT,
            });
        }
        let backup: Self = serde_json::from_str(signed.backup.get()).map_err(invalid)?;
        if backup.id != id {
            return Err(damaged(format!("is of the backup {:?}", backup.id)));
        }
        for file in &backup.files {
            if !is_ours(&file.path) || !is_checksum(&file.sha256) {
                return Err(damaged(format!(
                    "names {:?}, which is no file of a data directory",
                    file.path
                )));
            }
        }
        Ok(backup)
    }

    fn damaged(&self, reason: String) -> BackupError {
        BackupError::Manifest {
            id: self.id.clone(),
            reason,
        }
    }
}

/// Whether a file may be restored to that place: at the top of the data directory or one folder below, and nowhere
/// else.
fn is_ours(path: &str) -> bool {
    let is_name = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
    };
    match path.split_once('/') {
        Some((folder, name)) => is_name(folder) && is_name(name),
        None => is_name(path),
    }
}

fn is_checksum(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Whether it can be the name of a backup, and thus of an object.
pub(super) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && is_ours(id)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(path: &str) -> BackupInfo {
        let file = BackupFile {
            path: path.to_owned(),
            size: 3,
            sha256: hex(digest(&SHA256, b"abc").as_ref()),
        };
        BackupInfo::new("20261121T065000.123Z-0a1b".to_owned(), None, vec![file])
    }

    #[test]
    fn reads_what_it_wrote_and_finds_every_damage() {
        let backup = with("state/000012.sst");
        let text = backup.encode().unwrap();
        assert_eq!(
            BackupInfo::decode(&backup.id, text.as_bytes()),
            Ok(backup.clone())
        );
        for at in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[at] ^= 1;
            let error = BackupInfo::decode(&backup.id, &damaged).map(|_| ());
            assert!(
                matches!(error, Err(BackupError::Manifest { .. })),
                "{at}: {error:?}"
            );
            assert!(BackupInfo::decode(&backup.id, &text.as_bytes()[..at]).is_err());
        }
        assert!(BackupInfo::decode("other", text.as_bytes()).is_err());
    }

    #[test]
    fn names_no_file_outside_of_the_directory() {
        for path in [
            "../x",
            "/etc/x",
            "state/../x",
            "state/a/b",
            "",
            "state/",
            ".x",
            "a\0",
            "state/..",
        ] {
            let text = with(path).encode().unwrap();
            let error = BackupInfo::decode("20261121T065000.123Z-0a1b", text.as_bytes()).unwrap_err();
            assert!(matches!(error, BackupError::Manifest { .. }), "{path}: {error}");
        }
    }

    #[test]
    fn a_later_format_is_not_damage() {
        let mut later = with("FORMAT");
        later.format = 2;
        let text = later.encode().unwrap();
        assert_eq!(
            BackupInfo::decode(&later.id, text.as_bytes()),
            Err(BackupError::Newer {
                id: later.id,
                found: 2,
                supported: 1
            })
        );
    }

    #[test]
    fn any_text() {
        let backup = with("state/000012.sst");
        let seeds = [backup.encode().unwrap().into_bytes()];
        bolero::check!()
            .with_iterations(pliantdb_fuzzing::RUNS)
            .with_type::<(pliantdb_fuzzing::Input, bool)>()
            .for_each(|(input, signs)| {
                let mut bytes = pliantdb_fuzzing::bytes(input, &seeds);
                // With the right checksum it gets further.
                if *signs && let Ok(text) = str::from_utf8(&bytes) {
                    let sha256 = hex(digest(&SHA256, text.as_bytes()).as_ref());
                    bytes = format!(r#"{{"backup":{text},"sha256":"{sha256}"}}"#).into_bytes();
                }
                if let Ok(decoded) = BackupInfo::decode(&backup.id, &bytes) {
                    assert_eq!(decoded.id, backup.id);
                    assert!(decoded.files.iter().all(|file| !file.path.contains("..")));
                }
            });
    }
}
