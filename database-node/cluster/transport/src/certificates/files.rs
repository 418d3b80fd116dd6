//! Files that are there whole or not at all, and nobody else's to read where they hold a key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most bytes of a file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// For a file that only its owner may read.
pub(crate) const SECRET: u32 = 0o600;
/// For a file that anybody may read.
pub(crate) const PUBLIC: u32 = 0o644;

/// Writes a file under another name first, syncs it, and gives it its name; and syncs that.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut whole = path.as_os_str().to_owned();
    whole.push(".new");
    let whole = Path::new(&whole);
    // One that a crash has left may have another mode.
    match fs::remove_file(whole) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(whole)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(whole, path)?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Reads a file of at most a mebibyte.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!(
            "it has more than {MAX_BYTES} bytes, and nothing that belongs there has"
        )));
    }
    Ok(bytes)
}
