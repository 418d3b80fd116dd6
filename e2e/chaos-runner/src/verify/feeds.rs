//! Whoever follows the changes, on one node after the other, misses none and hears of none twice.

use std::collections::{BTreeMap, BTreeSet};

use super::lives::Losses;
use super::{Failures, parts};
use crate::history::{Kind, Operation, Outcome, Read};

/// The collections that are written to by what is recorded.
const COLLECTIONS: [&str; 2] = ["documents", "ledger"];

/// What is wrong with what the followers were told. They need not have been told of what may be lost.
#[must_use]
pub fn check(
    operations: &[Operation],
    reads: &[Read],
    followers: &[String],
    losses: &Losses<'_>,
) -> Vec<String> {
    let mut failures = Failures::default();
    let mut told: BTreeMap<&str, Vec<&Read>> = BTreeMap::new();
    for read in reads {
        told.entry(&read.follower).or_default().push(read);
    }
    for follower in followers {
        let reads = told.get(follower.as_str()).map(Vec::as_slice).unwrap_or_default();
        for pair in reads.windows(2) {
            if let [before, next] = pair
                && next.revision <= before.revision
            {
                failures.add(|| {
                    format!(
                        "feed: {follower} was told of {} by {} after {} by {}",
                        next.revision, next.node, before.revision, before.node
                    )
                });
            }
        }
        missed(operations, reads, follower, losses, &mut failures);
        made_up(operations, reads, follower, losses, &mut failures);
    }
    failures.told("feed")
}

/// The documents that a write changes.
fn changed(operation: &Operation) -> Vec<(&str, &str)> {
    match operation.kind {
        Kind::Append => operation.ids.iter().map(|id| ("ledger", id.as_str())).collect(),
        Kind::Put | Kind::Delete => vec![parts(operation)],
        _ => Vec::new(),
    }
}

/// Acknowledged writes that a follower was not told of, each whole in its transaction.
fn missed(
    operations: &[Operation],
    reads: &[&Read],
    follower: &str,
    losses: &Losses<'_>,
    failures: &mut Failures,
) {
    let mut transactions: BTreeMap<&str, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for read in reads {
        let changes = read
            .changes
            .iter()
            .map(|(collection, id)| (collection.as_str(), id.as_str()));
        transactions.entry(&read.revision).or_default().extend(changes);
    }
    let acknowledged = operations
        .iter()
        .filter(|operation| operation.result == Outcome::Ok && !operation.revision.is_empty());
    let are_kept = acknowledged.filter(|operation| operation.kind.is_write() && !losses.may_be(operation));
    for write in are_kept {
        let told = transactions.get(write.revision.as_str());
        for (collection, id) in changed(write) {
            if !told.is_some_and(|told| told.contains(&(collection, id))) {
                failures.add(|| {
                    format!(
                        "feed: {follower} was not told of {collection}/{id} at {}: a gap",
                        write.revision
                    )
                });
            }
        }
    }
}

/// Changes that a follower was told of, and nobody made: more of a document than may have been.
fn made_up(
    operations: &[Operation],
    reads: &[&Read],
    follower: &str,
    losses: &Losses<'_>,
    failures: &mut Failures,
) {
    let mut made: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    let may_be_made = |operation: &&Operation| matches!(operation.result, Outcome::Ok | Outcome::Unknown);
    for write in operations.iter().filter(may_be_made) {
        // One that was lost with the memory of its request is made again when its client asks again.
        let times = if losses.touches(write) { 2 } else { 1 };
        for document in changed(write) {
            *made.entry(document).or_default() += times;
        }
    }
    for (collection, id) in reads.iter().flat_map(|read| &read.changes) {
        if !COLLECTIONS.contains(&collection.as_str()) {
            continue;
        }
        let left = made.entry((collection, id)).or_default();
        *left -= 1;
        if *left == -1 {
            failures.add(|| {
                format!("feed: {follower} was told of more changes of {collection}/{id} than were made")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::examples::operation;

    fn put(id: &str, revision: &str, result: Outcome) -> Operation {
        let mut put = operation(Kind::Put, &format!("documents/{id}"), (1, 2), result);
        put.revision = revision.to_owned();
        put
    }

    fn read(revision: &str, ids: &[&str]) -> Read {
        let change = |id: &&str| ("documents".to_owned(), (*id).to_owned());
        Read {
            follower: "http".to_owned(),
            node: "n1".to_owned(),
            revision: revision.to_owned(),
            changes: ids.iter().map(change).collect(),
        }
    }

    fn found(operations: &[Operation], reads: &[Read]) -> String {
        check(operations, reads, &["http".to_owned()], &Losses::default()).join("\n")
    }

    #[test]
    fn every_write_once_is_right() {
        let writes = [
            put("a", "1", Outcome::Ok),
            put("a", "2", Outcome::Ok),
            put("b", "", Outcome::Unknown),
        ];
        assert_eq!(found(&writes, &[read("1", &["a"]), read("2", &["a"])]), "");
        assert_eq!(
            found(
                &writes,
                &[read("1", &["a"]), read("2", &["a"]), read("3", &["b"])]
            ),
            ""
        );
    }

    #[test]
    fn a_gap_is_found() {
        let writes = [put("a", "1", Outcome::Ok), put("a", "2", Outcome::Ok)];
        assert!(found(&writes, &[read("1", &["a"])]).contains("documents/a at 2: a gap"));
        assert!(found(&writes, &[]).contains("documents/a at 1: a gap"));
    }

    #[test]
    fn a_double_is_found() {
        let writes = [put("a", "1", Outcome::Ok), put("b", "2", Outcome::Ok)];
        let twice = [read("1", &["a"]), read("1", &["a"]), read("2", &["b"])];
        assert!(found(&writes, &twice).contains("was told of 1 by n1 after 1"));
        let back = [read("2", &["b"]), read("1", &["a"])];
        assert!(found(&writes, &back).contains("was told of 1 by n1 after 2"));
    }

    #[test]
    fn what_nobody_made_is_found() {
        let writes = [put("a", "1", Outcome::Ok), put("b", "", Outcome::Failed)];
        let reads = [read("1", &["a"]), read("2", &["b"])];
        assert!(found(&writes, &reads).contains("more changes of documents/b than were made"));
    }

    #[test]
    fn half_a_transaction_is_a_gap() {
        let mut append = operation(Kind::Append, "ledger/1", (1, 2), Outcome::Ok);
        (append.ids, append.revision) = (vec!["x".to_owned(), "y".to_owned()], "1".to_owned());
        let half = Read {
            changes: vec![("ledger".to_owned(), "x".to_owned())],
            ..read("1", &[])
        };
        assert!(found(&[append], &[half]).contains("ledger/y at 1: a gap"));
    }
}
