//! What everything that can be asked needs, and that nothing else gives it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::examples::{KINDS, kind, table};
use super::*;
use crate::protocol::{Ask, Secret};
use crate::{Rejection, Request, RoleName};

fn permissions(texts: &[&str]) -> Permissions {
    texts
        .iter()
        .map(|text| text.parse::<Permission>().unwrap())
        .collect()
}

fn allows(permissions: &Permissions, ask: &Ask) -> bool {
    needed(ask).iter().all(|need| permissions.allow(need))
}

#[test]
fn everything_needs_just_its_permissions() {
    let table = table();
    let kinds: BTreeSet<_> = table.iter().map(|(ask, _)| kind(ask)).collect();
    assert!(kinds.iter().copied().eq(0..KINDS), "one is missing: {kinds:?}");
    let neighbours: Vec<_> = [
        "all on database other",
        "all on collection */other",
        "all on collection other/*",
        "all on view */*/other",
        "all on keys */other",
        "all on topic */other.**",
        "all on api */other",
    ]
    .into();
    for (ask, enough) in &table {
        assert!(allows(&Permissions::everything(), ask), "{ask:?}");
        assert!(allows(&permissions(enough), ask), "{ask:?} with {enough:?}");
        if enough.is_empty() {
            continue;
        }
        assert!(!allows(&Permissions::default(), ask), "{ask:?} with nothing");
        for left_out in 0..enough.len() {
            let mut fewer = enough.to_vec();
            fewer.remove(left_out);
            assert!(!allows(&permissions(&fewer), ask), "{ask:?} with only {fewer:?}");
        }
        // Everything that anybody can do, but for what is needed; and all of what is beside it.
        for need in needed(ask) {
            let Need::Action(needed, _) = need else { continue };
            let others = Action::ALL.into_iter().filter(|action| *action != needed);
            let others: Permissions = others
                .map(|action| format!("{action} on everything").parse::<Permission>().unwrap())
                .chain(
                    neighbours
                        .iter()
                        .map(|text| text.parse().unwrap())
                        .filter(|permission: &Permission| !permission.gives(&need)),
                )
                .collect();
            assert!(!allows(&others, ask), "{ask:?} without {need}");
        }
    }
    // What is beside it does not give it, but where it is any of the database.
    for (ask, _) in &table {
        let is_any = needed(ask).iter().all(|need| matches!(need, Need::Any(_)));
        assert!(is_any || !allows(&permissions(&neighbours), ask), "{ask:?}");
    }
}

#[test]
fn what_is_in_something_is_included() {
    let (all_of_shop, orders) = (
        permissions(&["all on database shop"]),
        permissions(&["read on collection shop/orders"]),
    );
    for (ask, _) in table() {
        let is_in_database = needed(&ask)
            .iter()
            .all(|need| !matches!(need, Need::Action(_, Resource::Server)));
        assert_eq!(allows(&all_of_shop, &ask), is_in_database, "{ask:?}");
        if let Ask::Request {
            request: Request::Query { .. } | Request::Reduce(_),
            ..
        } = ask
        {
            assert!(allows(&orders, &ask), "{ask:?}");
        }
    }
}

#[test]
fn texts_that_are_no_permissions_say_what_would_be_right() {
    for (text, parts) in [
        ("", &["read,write on collection shop/orders"][..]),
        ("read", &["read,write on"]),
        ("read on", &["read,write on"]),
        ("read on shop", &["\"shop\"", "database, collection"]),
        (
            "read on server",
            &["\"read\"", "list, administer, backup, monitor, or all"],
        ),
        ("reed on database shop", &["\"reed\"", "read, write"]),
        ("read, on database shop", &["\"\" is not an action"]),
        ("read on collection orders", &["collection DATABASE/COLLECTION"]),
        ("read on collection shop/a*b", &["\"a*b\"", "'*'"]),
        ("read on collection shop/_x", &["\"_x\""]),
        ("read on database ", &["\"\""]),
        ("read on view shop/orders", &["DATABASE/COLLECTION/VIEW"]),
        ("all on everything else", &["nothing can follow everything"]),
        ("subscribe on topic shop/a.**.b", &["pattern of topics"]),
    ] {
        let error = text.parse::<Permission>().unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
    let long = format!("{} on everything", "x".repeat(10_000));
    assert!(long.parse::<Permission>().unwrap_err().to_string().len() < 1000);
    let written = |text: &str| text.parse::<Permission>().unwrap().to_string();
    assert_eq!(
        written("delete, read ,write on collection  a/*"),
        "all on collection a/*"
    );
    assert_eq!(written("write,read on keys a/b"), "read,write on keys a/b");
}

fn changed(accounts: &mut Accounts, change: AccountsChange) -> Result<Vec<Account>, Rejection> {
    let before = accounts.clone();
    let result = accounts.change(&change);
    if result.is_err() {
        assert_eq!(*accounts, before, "nothing has changed");
    }
    result
}

fn set_user(name: &str, roles: &[&str], password: Option<&str>) -> AccountsChange {
    AccountsChange::SetUser {
        name: name.parse().unwrap(),
        change: UserChange {
            password: password.map(Secret::new),
            roles: Some(roles.iter().map(|role| role.parse().unwrap()).collect()),
            is_disabled: None,
        },
        must_exist: false,
    }
}

#[test]
fn accounts_keep_to_their_rules() {
    let mut accounts = Accounts::default();
    let role = |name: &str| -> RoleName { name.parse().unwrap() };
    assert!(accounts.has_no_users());
    assert_eq!(
        changed(
            &mut accounts,
            set_user("ada", &["administrator", "clerk"], Some("hash"))
        ),
        Err(Rejection::UnknownRole { role: role("clerk") })
    );
    let set_role = |name: &str, permission: &str| AccountsChange::SetRole {
        name: role(name),
        permissions: vec![permission.parse().unwrap()],
    };
    changed(&mut accounts, set_role("clerk", "read on collection shop/orders")).unwrap();
    for built_in in ["administrator", "writer", "reader"] {
        let refused = changed(&mut accounts, set_role(built_in, "all on everything"));
        assert_eq!(refused, Err(Rejection::BuiltInRole { role: role(built_in) }));
    }
    changed(
        &mut accounts,
        set_user("ada", &["administrator", "clerk"], Some("hash")),
    )
    .unwrap();
    changed(&mut accounts, set_user("alan", &["clerk", "reader"], None)).unwrap();
    let Err(Rejection::RoleInUse { holder, .. }) =
        changed(&mut accounts, AccountsChange::DeleteRole { name: role("clerk") })
    else {
        panic!("it is in use");
    };
    assert_eq!(holder, "the user \"ada\"");

    // An administrator is left, who can come in.
    let last = Err(Rejection::LastAdministrator {
        user: "ada".parse().unwrap(),
    });
    let disable = |name: &str, is_disabled| AccountsChange::SetUser {
        name: name.parse().unwrap(),
        change: UserChange {
            is_disabled: Some(is_disabled),
            ..UserChange::default()
        },
        must_exist: true,
    };
    let delete = |name: &str| AccountsChange::DeleteUser {
        name: name.parse().unwrap(),
    };
    changed(&mut accounts, set_user("alan", &["administrator"], None)).unwrap();
    assert_eq!(changed(&mut accounts, delete("ada")), last);
    assert_eq!(changed(&mut accounts, disable("ada", true)), last);
    assert_eq!(changed(&mut accounts, set_user("ada", &[], None)), last);
    changed(&mut accounts, set_user("alan", &["administrator"], Some("hash"))).unwrap();
    changed(&mut accounts, disable("ada", true)).unwrap();
    assert!(changed(&mut accounts, delete("alan")).is_err());
    assert!(
        changed(&mut accounts, disable("grace", true)).is_err(),
        "there must be one"
    );

    // What is left out stays.
    changed(&mut accounts, disable("ada", false)).unwrap();
    let ada = accounts.user(&"ada".parse().unwrap()).unwrap();
    assert_eq!(
        (ada.password.as_ref().unwrap().expose(), ada.roles.len()),
        ("hash", 2)
    );

    // Keys go with their user.
    let key = |owner, byte| ApiKey {
        hash: KeyHash([byte; 32]),
        owner,
        expires_ms: None,
    };
    let add = |name: &str, key| AccountsChange::AddApiKey {
        name: name.parse().unwrap(),
        key,
    };
    changed(
        &mut accounts,
        add("own", key(KeyOwner::User("ada".parse().unwrap()), 1)),
    )
    .unwrap();
    changed(
        &mut accounts,
        add("ci", key(KeyOwner::Roles([role("clerk")].into()), 2)),
    )
    .unwrap();
    assert!(matches!(
        changed(&mut accounts, add("ci", key(KeyOwner::Roles(BTreeSet::new()), 3))),
        Err(Rejection::ApiKeyExists { .. })
    ));
    assert!(
        changed(
            &mut accounts,
            add("x", key(KeyOwner::User("nobody".parse().unwrap()), 3))
        )
        .is_err()
    );
    assert!(
        changed(
            &mut accounts,
            add("x", key(KeyOwner::Roles([role("nothing")].into()), 3))
        )
        .is_err()
    );
    assert_eq!(accounts.key_by_hash(&KeyHash([2; 32])).unwrap().0.as_str(), "ci");
    assert_eq!(changed(&mut accounts, delete("ada")).unwrap().len(), 2);
    assert!(accounts.key_by_hash(&KeyHash([1; 32])).is_none());
    let Err(Rejection::RoleInUse { holder, .. }) =
        changed(&mut accounts, AccountsChange::DeleteRole { name: role("clerk") })
    else {
        panic!("it is in use");
    };
    assert_eq!(holder, "the API key \"ci\"");
    changed(
        &mut accounts,
        AccountsChange::DeleteApiKey {
            name: "ci".parse().unwrap(),
        },
    )
    .unwrap();
    changed(&mut accounts, AccountsChange::DeleteRole { name: role("clerk") }).unwrap();
    assert!(changed(&mut accounts, AccountsChange::DeleteRole { name: role("clerk") }).is_err());

    // That of those without credentials is there, and allows nothing until it is told to.
    assert_eq!(accounts.role(&anonymous()), Some(Permissions::default()));
    changed(&mut accounts, set_role("anonymous", "call on api shop/search")).unwrap();
    assert!(!accounts.role(&anonymous()).unwrap().is_empty());
    assert_eq!(accounts.roles().count(), 4);
    assert!(
        !format!("{accounts:?}").contains("hash\""),
        "no secret is printed"
    );
}

#[test]
fn built_in_roles_do_what_they_say() {
    let accounts = Accounts::default();
    for (ask, _) in table() {
        let allowed = |role: RoleName| allows(&accounts.permissions([&role]), &ask);
        assert!(allowed(administrator()), "{ask:?}");
        let changes_data = matches!(&ask, Ask::Request { request, .. } if request.is_write())
            || matches!(kind(&ask), 16 | 24 | 26);
        let is_higher = matches!(kind(&ask), 1 | 3 | 4 | 7 | 30..=39);
        assert_eq!(allowed(writer()), !is_higher, "{ask:?}");
        assert_eq!(allowed(reader()), !is_higher && !changes_data, "{ask:?}");
    }
}

/// Whether a permission gives leave, by looking at the texts only.
fn by_the_texts(permission: &str, action: &str, resource: &str) -> bool {
    let (actions, scope) = permission.split_once(" on ").unwrap();
    let (kind, path) = scope.split_once(' ').unwrap_or((scope, ""));
    let (of_kind, of_path) = resource.split_once(' ').unwrap_or((resource, ""));
    let matches = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    };
    let (parts, names): (Vec<_>, Vec<_>) = (path.split('/').collect(), of_path.split('/').collect());
    let includes = match kind {
        "everything" => true,
        "server" => of_kind == "server",
        "database" => of_kind != "server",
        "collection" => of_kind == "collection" || of_kind == "view",
        kind => kind == of_kind,
    };
    let all_match = parts
        .iter()
        .zip(&names)
        .all(|(pattern, name)| pattern.is_empty() || matches(pattern, name));
    includes && all_match && (actions == "all" || actions.split(',').any(|one| one == action))
}

proptest! {
    #[test]
    fn nothing_is_allowed_that_no_permission_names(
        scopes in proptest::collection::vec(
            ("everything|server|database|collection|view|keys|api", proptest::array::uniform3("\\*|a\\*?|ab\\*?|b"), any::<u16>()),
            0..4,
        ),
        (of, names, action) in (0..6_usize, proptest::array::uniform3("a|ab|abc|b"), 0..13_usize),
    ) {
        let texts: Vec<_> = scopes.iter().map(|(kind, parts, bits)| {
            let path = match kind.as_str() {
                "everything" | "server" => String::new(),
                "database" => format!(" {}", parts[0]),
                "view" => format!(" {}", parts.join("/")),
                _ => format!(" {}/{}", parts[0], parts[1]),
            };
            let scope = format!("{kind}{path}");
            let possible = format!("all on {scope}").parse::<Permission>().unwrap().actions();
            let some: Vec<_> = possible.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0).map(|(_, action)| action.as_str()).collect();
            let actions = if some.is_empty() { "all".to_owned() } else { some.join(",") };
            format!("{actions} on {scope}")
        }).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let (database, collection, view) = (names[0].parse().unwrap(), names[1].parse().unwrap(), names[2].parse().unwrap());
        let (namespace, api) = (names[1].parse().unwrap(), names[1].parse().unwrap());
        let resource = match of {
            0 => Resource::Server,
            1 => Resource::Database(&database),
            2 => Resource::Collection(&database, &collection),
            3 => Resource::View(&database, &collection, &view),
            4 => Resource::Keys(&database, &namespace),
            _ => Resource::Api(&database, &api),
        };
        let action = Action::ALL[action];
        let allowed = permissions(&texts).allow(&Need::Action(action, resource));
        let is_named = texts.iter().any(|text| {
            // What cannot be done to it is not named by "all" of what it is in.
            let possible = text.parse::<Permission>().unwrap().actions().contain(action);
            possible && by_the_texts(text, action.as_str(), &resource.to_string())
        });
        prop_assert_eq!(allowed, is_named, "{:?} {} on {}", texts, action, resource);
        for text in texts {
            let permission: Permission = text.parse().unwrap();
            prop_assert_eq!(permission.to_string().parse::<Permission>().unwrap(), permission);
        }
    }
}
