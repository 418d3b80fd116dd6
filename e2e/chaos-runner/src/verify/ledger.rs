//! Nothing that was acknowledged is lost, and nothing is there by half.
//!
//! Documents of the ledger are written once, one or two in a transaction, and never again. At the end they are read from
//! every node.

use std::collections::{BTreeMap, BTreeSet};

use super::Failures;
use super::lives::Losses;
use crate::history::{Entry, Kind, Operation, Outcome};

/// What is wrong with the ledger as the nodes showed it at the end, but for what may be lost.
#[must_use]
pub fn check(
    operations: &[Operation],
    entries: &[Entry],
    nodes: &[String],
    losses: &Losses<'_>,
) -> Vec<String> {
    let mut failures = Failures::default();
    let mut known: BTreeMap<&str, BTreeMap<&str, &Entry>> = BTreeMap::new();
    for entry in entries {
        known.entry(&entry.node).or_default().insert(&entry.id, entry);
    }
    let none = BTreeMap::new();
    let appends = || {
        operations
            .iter()
            .filter(|operation| operation.kind == Kind::Append)
    };
    let asked: BTreeSet<&str> = appends()
        .flat_map(|append| &append.ids)
        .map(String::as_str)
        .collect();
    for node in nodes {
        let there = known.get(node.as_str()).unwrap_or(&none);
        for append in appends().filter(|append| !losses.may_be(append)) {
            if let Some(wrong) = wrong(append, there) {
                failures.add(|| format!("ledger: on {node} {wrong}"));
            }
        }
        for id in there.keys().filter(|id| !asked.contains(*id)) {
            failures.add(|| format!("ledger: on {node} there is {id}, which nobody wrote"));
        }
    }
    // What nobody knows must be the same everywhere all the same.
    if let Some((first, others)) = nodes.split_first() {
        let ids = |node: &String| -> BTreeSet<&str> {
            known
                .get(node.as_str())
                .unwrap_or(&none)
                .keys()
                .copied()
                .collect()
        };
        let expected = ids(first);
        for node in others {
            for id in expected.symmetric_difference(&ids(node)) {
                failures.add(|| format!("ledger: {id} is on one of {first} and {node} only"));
            }
        }
    }
    failures.told("ledger")
}

fn wrong(append: &Operation, there: &BTreeMap<&str, &Entry>) -> Option<String> {
    let found: Vec<&Entry> = append
        .ids
        .iter()
        .filter_map(|id| there.get(id.as_str()).copied())
        .collect();
    let ids = append.ids.join(" and ");
    if let Some(other) = found.iter().find(|entry| entry.value != append.value) {
        return Some(format!(
            "{} has the value {}, not {}",
            other.id, other.value, append.value
        ));
    }
    if append.result == Outcome::Ok {
        if found.len() < append.ids.len() {
            return Some(format!(
                "{} of {ids} are there, which client {} wrote at {} and was told so at {} s: a lost write",
                found.len(),
                append.client,
                append.revision,
                append.end.unwrap_or_default() / 1_000_000_000,
            ));
        }
        let other = found.iter().find(|entry| entry.revision != append.revision)?;
        return Some(format!(
            "{} is at {}, not at {}",
            other.id, other.revision, append.revision
        ));
    }
    match (found.as_slice(), append.result) {
        ([], _) => None,
        (_, Outcome::Unknown) if found.len() == append.ids.len() => None,
        (_, Outcome::Unknown) => Some(format!("{} of {ids} are there: half a transaction", found.len())),
        _ => Some(format!(
            "{ids} are there, of which the client was told that they were not written"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::examples::operation;

    fn append(ids: &[&str], result: Outcome) -> Operation {
        let mut append = operation(Kind::Append, "ledger/1", (1, 2), result);
        append.ids = ids.iter().map(|id| (*id).to_owned()).collect();
        (append.value, append.revision) = (7, "r7".to_owned());
        append
    }

    fn entries(node: &str, ids: &[&str]) -> Vec<Entry> {
        let entry = |id: &&str| Entry {
            node: node.to_owned(),
            id: (*id).to_owned(),
            revision: "r7".to_owned(),
            value: 7,
        };
        ids.iter().map(entry).collect()
    }

    fn on_one(append: Operation, there: &[&str]) -> String {
        check(
            &[append],
            &entries("n1", there),
            &["n1".to_owned()],
            &Losses::default(),
        )
        .join("\n")
    }

    #[test]
    fn one_lost_write_is_found() {
        assert_eq!(on_one(append(&["a", "b"], Outcome::Ok), &["a", "b"]), "");
        let found = on_one(append(&["a", "b"], Outcome::Ok), &["a"]);
        assert!(
            found.contains("1 of a and b") && found.contains("a lost write"),
            "{found}"
        );
    }

    #[test]
    fn what_nobody_knows_is_there_or_not_but_not_by_half() {
        assert_eq!(on_one(append(&["a", "b"], Outcome::Unknown), &["a", "b"]), "");
        assert_eq!(on_one(append(&["a", "b"], Outcome::Unknown), &[]), "");
        assert!(on_one(append(&["a", "b"], Outcome::Unknown), &["b"]).contains("half a transaction"));
    }

    #[test]
    fn what_failed_or_nobody_asked_for_is_not_there() {
        assert_eq!(on_one(append(&["a"], Outcome::Failed), &[]), "");
        assert!(on_one(append(&["a"], Outcome::Failed), &["a"]).contains("not written"));
        assert!(on_one(append(&["a"], Outcome::Ok), &["a", "z"]).contains("z, which nobody wrote"));
    }

    #[test]
    fn every_node_has_the_same() {
        let nodes = ["n1".to_owned(), "n2".to_owned()];
        let entries = [entries("n1", &["a"]), entries("n2", &[])].concat();
        let found = check(
            &[append(&["a"], Outcome::Unknown)],
            &entries,
            &nodes,
            &Losses::default(),
        )
        .join("\n");
        assert!(found.contains("a is on one of n1 and n2 only"), "{found}");
    }

    #[test]
    fn a_changed_document_is_found() {
        let mut entries = entries("n1", &["a"]);
        entries
            .iter_mut()
            .for_each(|entry| entry.revision = "r8".to_owned());
        let found = check(
            &[append(&["a"], Outcome::Ok)],
            &entries,
            &["n1".to_owned()],
            &Losses::default(),
        )
        .join("\n");
        assert!(found.contains("a is at r8, not at r7"), "{found}");
    }
}
