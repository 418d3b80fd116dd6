//! What nodes are asked in all of this.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

use load::Failure;
use pliantdb_cluster::node::{Answer, Ask, Limits};
use pliantdb_cluster::{Settings, Timing};
use pliantdb_core::{
    Body, DatabaseName, Expiry, GroupId, KeyAction, KeyCondition, NamespaceName, Operation, WriteAction,
};

/// What a node is started with.
pub fn settings(index: usize) -> Settings {
    Settings {
        name: format!("node-{index}"),
        attributes: BTreeMap::new(),
        apply_version: pliantdb_core::APPLY_VERSION,
        // Another for each start, by which the others tell one process of a node from the next.
        seed: RandomState::new().build_hasher().finish(),
        timing: Timing::default(),
        limits: Limits::default(),
    }
}

/// The database of that number.
pub fn database(number: usize) -> Result<DatabaseName, Failure> {
    Ok(format!("database-{number}").parse()?)
}

/// What sets a key to some 16 bytes.
pub struct Setting {
    namespace: NamespaceName,
    value: Body,
}

impl Setting {
    pub fn new() -> Result<Self, Failure> {
        Ok(Self {
            namespace: "bench".parse()?,
            value: Body::of("0123456789abcd")?,
        })
    }

    pub fn ask(&self, group: GroupId, database: &DatabaseName, key: u64) -> Result<Ask, Failure> {
        let action = WriteAction::ChangeKey {
            namespace: self.namespace.clone(),
            key: format!("key-{key:04}").parse()?,
            action: KeyAction::Set {
                value: self.value.clone(),
                expiry: Expiry::Never,
                condition: KeyCondition::Always,
            },
        };
        let operation = Operation::write(database.clone(), action, None);
        Ok(Ask::Write { group, operation })
    }
}

/// Whether it was written; a refusal is not, and anything else is a failure.
pub fn is_written(answer: &Answer) -> Result<bool, Failure> {
    match answer {
        Answer::Written { result: Ok(_), .. } => Ok(true),
        Answer::Refused(_) => Ok(false),
        answer => Err(format!("unexpected: {answer:?}").into()),
    }
}
