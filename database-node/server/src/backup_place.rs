//! Places for backups.

use pliantdb_core::protocol::BackupSummary;
use pliantdb_core::{Error, shorten};
use pliantdb_storage::backup::{BackupError, BackupReport, BackupTarget};

/// Opens a place for backups. Only variables of the object stores are handed to them.
///
/// # Errors
/// [`BackupError::InvalidTarget`].
pub fn open(place: &str) -> Result<BackupTarget, BackupError> {
    let settings = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("AWS_"))?;
        Some((name, value.into_string().ok()?))
    });
    BackupTarget::open(place, settings)
}

/// What a backup came to, in short.
#[must_use]
pub fn summary(report: &BackupReport) -> BackupSummary {
    BackupSummary {
        id: report.backup.id.clone(),
        files: report.backup.files.len() as u64,
        bytes: report.backup.bytes(),
        sent_files: report.sent_files as u64,
        sent_bytes: report.sent_bytes,
    }
}

/// A place, for logs and errors: shortened, and without what may be a password.
pub(crate) fn shown(place: &str) -> String {
    match place.split_once("://") {
        Some((scheme, rest)) if rest.contains('@') => format!("{scheme}://…"),
        _ => shorten(place).into_owned(),
    }
}

/// Whether backups may go to a place: it is one of those allowed, or below one.
///
/// # Errors
/// [`Error::Invalid`], which says what to set.
pub(crate) fn check(allowed: &[String], place: &str) -> Result<(), Error> {
    let is_below = |allowed: &String| {
        let rest = place.strip_prefix(allowed.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // What leads out of a place is in none. The same for what object stores would read as such.
    let climbs = place.split(['/', '\\']).any(|part| part == "..") || place.contains(['%', '?', '#']);
    match allowed.iter().any(is_below) && !climbs {
        true => Ok(()),
        false => Err(Error::Invalid(format!(
            "this node makes no backups to {:?}: its setting backupPlaces (--backup-places, PLIANT_BACKUP_PLACES) {}",
            shown(place),
            match allowed {
                [] => "allows none; list the places that backups may go to".to_owned(),
                allowed => format!("allows {}, and what is below", allowed.join(", ")),
            }
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn allows_places_and_what_is_below() {
        let allowed = ["/backups/".to_owned(), "s3://bucket/db".to_owned()];
        for place in [
            "/backups",
            "/backups/",
            "/backups/a",
            "s3://bucket/db",
            "s3://bucket/db/x",
        ] {
            assert!(check(&allowed, place).is_ok(), "{place}");
        }
        for place in [
            "/",
            "",
            "/backups2",
            "/backups/../etc",
            "/backups/a/..",
            "s3://bucket",
            "s3://bucket/dbx",
            "s3://bucket/db/%2e%2e/x",
            "s3://bucket/db/..",
        ] {
            let error = check(&allowed, place).unwrap_err().to_string();
            assert!(
                error.contains("backupPlaces allows") || error.contains("PLIANT_BACKUP_PLACES) allows"),
                "{error}"
            );
        }
        let secret = check(&[], "s3://ada:hunter2@bucket").unwrap_err().to_string();
        assert!(!secret.contains("hunter2"), "{secret}");
        assert!(
            check(&[], "/backups")
                .unwrap_err()
                .to_string()
                .contains("allows none")
        );
    }
}
