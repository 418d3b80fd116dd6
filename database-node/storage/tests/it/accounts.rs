//! Users, roles and API keys as they are stored.

use pliantdb_core::access::{
    AccountsChange, ApiKey, KeyHash, KeyOwner, Permission, UserChange, administrator,
};
use pliantdb_core::protocol::Secret;
use pliantdb_core::{Operation, Rejection};
use pliantdb_storage::check::check;
use pliantdb_storage::{Storage, StorageError};

use crate::encryption::{files_with, master_key, open};

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g";

fn change(storage: &Storage, change: AccountsChange) -> Result<(), StorageError> {
    storage.execute(Operation::ChangeAccounts(change)).map(drop)
}

fn set_user(name: &str) -> AccountsChange {
    AccountsChange::SetUser {
        name: name.parse().unwrap(),
        change: UserChange {
            password: Some(Secret::new(HASH)),
            roles: Some([administrator()].into()),
            is_disabled: None,
        },
        must_exist: false,
    }
}

#[test]
fn they_are_there_when_the_directory_is_opened_again() {
    for key in [None, Some(master_key(1))] {
        let root = tempfile::tempdir().unwrap();
        let storage = open(root.path(), key.clone()).unwrap();
        let shared = storage.accounts();
        let before = shared.version();
        change(&storage, set_user("ada")).unwrap();
        assert_ne!(shared.version(), before);
        change(&storage, set_user("alan")).unwrap();
        let permission: Permission = "read,write on collection shop/orders".parse().unwrap();
        let clerk = AccountsChange::SetRole {
            name: "clerk".parse().unwrap(),
            permissions: vec![permission],
        };
        change(&storage, clerk).unwrap();
        for (name, owner) in [
            ("of-alan", KeyOwner::User("alan".parse().unwrap())),
            ("ci", KeyOwner::Roles(["clerk".parse().unwrap()].into())),
        ] {
            let key = ApiKey {
                hash: KeyHash([name.len() as u8; 32]),
                owner,
                expires_ms: Some(7),
            };
            change(
                &storage,
                AccountsChange::AddApiKey {
                    name: name.parse().unwrap(),
                    key,
                },
            )
            .unwrap();
        }
        // With the user, the key goes.
        change(
            &storage,
            AccountsChange::DeleteUser {
                name: "alan".parse().unwrap(),
            },
        )
        .unwrap();
        let (_, accounts) = storage.accounts().current();
        assert_eq!(
            (
                accounts.users().count(),
                accounts.keys().count(),
                accounts.roles().count()
            ),
            (1, 1, 5)
        );
        storage.close().unwrap();
        drop((storage, shared));
        assert!(check(root.path(), key.as_deref()).unwrap().is_sound());
        assert_eq!(
            files_with(root.path(), "c2FsdHNhbHQ").is_empty(),
            key.is_some(),
            "encrypted like any value"
        );

        let storage = open(root.path(), key).unwrap();
        assert_eq!(*storage.accounts().current().1, *accounts);
    }
}

#[test]
fn what_is_rejected_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path(), None).unwrap();
    change(&storage, set_user("ada")).unwrap();
    let delete = || AccountsChange::DeleteUser {
        name: "ada".parse().unwrap(),
    };
    let last = Rejection::LastAdministrator {
        user: "ada".parse().unwrap(),
    };
    assert_eq!(change(&storage, delete()), Err(StorageError::Rejected(last)));
    let unknown = AccountsChange::DeleteRole {
        name: "clerk".parse().unwrap(),
    };
    assert!(matches!(
        change(&storage, unknown),
        Err(StorageError::Rejected(Rejection::UnknownRole { .. }))
    ));
    let before = storage.accounts().current().1;
    drop(storage);
    let storage = open(root.path(), None).unwrap();
    assert_eq!(*storage.accounts().current().1, *before);
    assert_eq!(before.users().count(), 1);
}

#[test]
fn a_dump_leaves_them_out() {
    let root = tempfile::tempdir().unwrap();
    let storage = open(root.path(), None).unwrap();
    change(&storage, set_user("ada")).unwrap();
    let mut dump = Vec::new();
    pliantdb_storage::dump::dump(&storage, &mut dump).unwrap();
    assert!(!String::from_utf8(dump).unwrap().contains("argon2"));
}
