//! Every file of a data directory damaged in every way: an error that says so, or the right answer; never a panic, and
//! never another answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use pliantdb_core::{Body, CollectionName, DatabaseName, DocumentId, Listing, Precondition};
use pliantdb_storage::{Options, Storage};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;

/// What happens to a file. Places are fractions of it.
#[derive(Debug, Clone)]
enum Damage {
    Deleted,
    Emptied,
    Cut(f64),
    Flipped(f64, u8),
    Zeroed(f64, usize),
    Removed(f64, usize),
    Longer(Vec<u8>),
    /// Another file of the same kind in its place.
    Swapped(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let length = || prop_oneof![Just(1usize), Just(512), Just(4096), 1..20_000usize];
    prop_oneof![
        1 => Just(Damage::Deleted),
        1 => Just(Damage::Emptied),
        3 => (0.0..1.0).prop_map(Damage::Cut),
        6 => (0.0..1.0, 0..8u8).prop_map(|(at, bit)| Damage::Flipped(at, bit)),
        3 => (0.0..1.0, length()).prop_map(|(at, length)| Damage::Zeroed(at, length)),
        2 => (0.0..1.0, length()).prop_map(|(at, length)| Damage::Removed(at, length)),
        1 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Damage::Longer),
        1 => any::<Index>().prop_map(Damage::Swapped),
    ]
}

impl Damage {
    fn apply(&self, path: &Path, all: &[PathBuf]) {
        let mut bytes = fs::read(path).unwrap();
        let place = |at: f64, length: usize| {
            let start = ((at * bytes.len() as f64) as usize).min(bytes.len());
            start..(start + length).min(bytes.len())
        };
        match self {
            Self::Deleted => return fs::remove_file(path).unwrap(),
            Self::Emptied => bytes.clear(),
            Self::Cut(at) => bytes.truncate(place(*at, 0).start),
            Self::Flipped(at, bit) => {
                let place = place(*at, 1);
                bytes[place].iter_mut().for_each(|byte| *byte ^= 1 << bit);
            }
            Self::Zeroed(at, length) => {
                let place = place(*at, *length);
                bytes[place].fill(0);
            }
            Self::Removed(at, length) => drop(bytes.drain(place(*at, *length))),
            Self::Longer(more) => bytes.extend(more),
            Self::Swapped(other) => {
                let alike = |other: &&PathBuf| other.extension() == path.extension();
                let alike = all.iter().filter(alike).collect::<Vec<_>>();
                bytes = fs::read(other.get(&alike)).unwrap();
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

type Documents = BTreeMap<DocumentId, Body>;

/// A directory with a file of every kind, and what is in it.
static WHOLE: LazyLock<(TempDir, Documents)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let mut documents = Documents::new();
    for generation in 0..4 {
        let storage = open(directory.path()).unwrap();
        let database = storage.get(&DatabaseName::default_database()).unwrap();
        for n in 0..60 {
            let id: DocumentId = format!("{:03}", (n * 7 + generation * 13) % 100).parse().unwrap();
            let size = if n % 10 == 0 { 70_000 } else { 300 };
            let text = format!("\"{generation}-{n} {}\"", "0123456789abcdef".repeat(size / 16));
            let body = Body::parse(text.into_bytes()).unwrap();
            database
                .put(&collection(), &id, body.clone(), Precondition::None)
                .unwrap();
            documents.insert(id, body);
        }
        // The last is as a crash leaves it, with a log.
        if generation < 3 {
            storage.close().unwrap();
        }
    }
    (directory, documents)
});

fn collection() -> CollectionName {
    "c".parse().unwrap()
}

fn open(path: &Path) -> Result<Storage, pliantdb_storage::StorageError> {
    let options = Options {
        memory_limit: Some(16 << 20),
        ..Options::default()
    };
    Storage::open_with(path, options)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        match from.is_dir() {
            true => copy(&from, &to),
            false => drop(fs::copy(from, to).unwrap()),
        }
    }
}

/// The files that count, in order. RocksDB's own log and its lock say nothing.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in [directory.to_owned(), directory.join("state")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_file() && !name.starts_with("LOG") && name != "LOCK" {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Opens the directory and reads everything in every way. An error is fine if it says something.
fn read(path: &Path, expected: &Documents) -> Result<(), String> {
    let storage = open(path).map_err(|error| error.to_string())?;
    let database = storage
        .get(&DatabaseName::default_database())
        .map_err(|error| error.to_string())?;
    let listing = Listing {
        limit: usize::MAX,
        max_bytes: usize::MAX,
        ..Listing::default()
    };
    let listed = database.list(&collection(), &listing).map(|page| {
        page.documents
            .into_iter()
            .map(|found| (found.id, found.body))
            .collect::<Documents>()
    });
    if let Ok(listed) = &listed {
        assert!(
            listed == expected,
            "listed {} of {}",
            listed.len(),
            expected.len()
        );
    }
    let mut failed = listed.err().map(|error| error.to_string());
    for (id, body) in expected {
        match database.get(&collection(), id) {
            Ok(found) => assert!(found.is_some_and(|found| found.body == *body), "{id}"),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    failed.map_or(Ok(()), Err)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn are_an_error_or_do_no_harm(file in any::<Index>(), damage in damage()) {
        let (whole, documents) = &*WHOLE;
        let directory = tempfile::tempdir().unwrap();
        copy(whole.path(), directory.path());
        let files = files(directory.path());
        let file = file.get(&files);
        damage.apply(file, &files);
        for _ in 0..2 {
            if let Err(error) = read(directory.path(), documents) {
                prop_assert!(error.len() > 20, "{:?} {:?}: {}", file, damage, error);
            }
        }
    }
}

#[test]
fn there_is_one_of_every_kind_and_without_damage_all_is_right() {
    let (whole, documents) = &*WHOLE;
    let directory = tempfile::tempdir().unwrap();
    copy(whole.path(), directory.path());
    let files = files(directory.path());
    let kinds = [
        "FORMAT",
        "CURRENT",
        "MANIFEST-",
        "OPTIONS-",
        "SYNCED",
        ".sst",
        ".blob",
        ".log",
    ];
    for kind in kinds {
        assert!(
            files.iter().any(|file| file.to_str().unwrap().contains(kind)),
            "{kind}: {files:?}"
        );
    }
    assert_eq!(read(directory.path(), documents), Ok(()));
}
