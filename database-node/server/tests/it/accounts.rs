//! Users, roles, sessions and API keys, over HTTP.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::node::{Answer, Node};

const PASSWORD: &str = "correct horse battery";

/// Sends JSON with credentials, if there are any.
fn send(node: &Node, credentials: &str, method: &str, path: &str, body: &Value) -> Answer {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let authorization = [("Authorization", credentials)];
    let headers = if credentials.is_empty() {
        &[][..]
    } else {
        &authorization[..]
    };
    node.send(method, path, headers, &body)
}

fn login(node: &Node, user: &str, password: &str) -> Answer {
    let body = json!({ "user": user, "password": password });
    send(node, "", "POST", "/v1/_login", &body)
}

/// The header of a new session.
fn session(node: &Node, user: &str) -> String {
    let answer = login(node, user, PASSWORD);
    assert_eq!(answer.status, 200, "{}", answer.body);
    format!("Bearer {}", answer.json()["token"].as_str().unwrap())
}

/// A node with the administrator "root", and the header of a session of hers.
fn start(data: &Path) -> (Node, String) {
    let node = Node::start(data);
    let root = json!({ "password": PASSWORD, "roles": ["administrator"] });
    assert_eq!(send(&node, "", "PUT", "/v1/_users/root", &root).status, 204);
    let root = session(&node, "root");
    (node, root)
}

fn ok(answer: Answer) -> Answer {
    assert!(answer.status < 300, "{} {}", answer.status, answer.body);
    answer
}

#[test]
fn the_first_user_closes_the_door() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut node = Node::start(&data);
    assert_eq!(node.get("/v1/_whoami").json()["name"], "everybody");
    for useless in [
        json!({ "roles": ["administrator"] }),
        json!({ "password": PASSWORD, "roles": ["writer"] }),
        json!({ "password": PASSWORD, "roles": ["administrator"], "disabled": true }),
    ] {
        let refused = send(&node, "", "PUT", "/v1/_users/ada", &useless);
        assert!(
            refused.status >= 400 && refused.body.contains("first user"),
            "{}",
            refused.body
        );
    }
    let first = json!({ "password": PASSWORD, "roles": ["administrator"] });
    ok(send(&node, "", "PUT", "/v1/_users/ada", &first));
    node.get("/v1/_whoami").problem(401, "unauthorized");
    node.get("/v1/_users").problem(401, "unauthorized");
    let ada = session(&node, "ada");
    let me = ok(send(&node, &ada, "GET", "/v1/_whoami", &Value::Null)).json();
    assert_eq!(
        (&me["user"], &me["permissions"]),
        (&"ada".into(), &json!(["all on everything"]))
    );
    let refused = send(&node, &ada, "DELETE", "/v1/_users/ada", &Value::Null);
    refused.problem(409, "last-administrator");
    // Sessions end with the server, users do not; and now it may be reached from elsewhere.
    node.terminate();
    node.wait();
    let node = Node::start_with(&data, &["--listen", "0.0.0.0:0"]);
    send(&node, &ada, "GET", "/v1/_whoami", &Value::Null).problem(401, "unauthorized");
    session(&node, "ada");
    assert!(
        !node.log().contains("correct horse") && !node.log().contains("argon2id"),
        "no secret in the log"
    );
}

#[test]
fn every_request_about_accounts_asks_for_its_permission() {
    let folder = tempfile::tempdir().unwrap();
    let (node, root) = start(&folder.path().join("data"));
    let everything_else =
        "list,backup,monitor,read,write,delete,subscribe,publish,call,create,drop,define on everything";
    for (name, permission) in [("all-but", everything_else), ("just", "administer on server")] {
        let role = json!({ "permissions": [permission] });
        ok(send(&node, &root, "PUT", &format!("/v1/_roles/{name}"), &role));
        let user = json!({ "password": PASSWORD, "roles": [name] });
        ok(send(&node, &root, "PUT", &format!("/v1/_users/{name}"), &user));
    }
    let (all_but, just) = (session(&node, "all-but"), session(&node, "just"));
    for (method, path, body) in [
        ("GET", "/v1/_users", Value::Null),
        (
            "PUT",
            "/v1/_users/x",
            json!({ "password": PASSWORD, "roles": [] }),
        ),
        (
            "PUT",
            "/v1/_roles/x",
            json!({ "permissions": ["read on database shop"] }),
        ),
        ("GET", "/v1/_roles", Value::Null),
        ("POST", "/v1/_keys", json!({ "name": "x", "roles": ["x"] })),
        ("GET", "/v1/_keys", Value::Null),
        ("DELETE", "/v1/_keys/x", Value::Null),
        ("DELETE", "/v1/_roles/x", Value::Null),
        ("DELETE", "/v1/_users/x", Value::Null),
    ] {
        send(&node, "", method, path, &body).problem(401, "unauthorized");
        let denied = send(&node, &all_but, method, path, &body).problem(403, "denied");
        let detail = denied["detail"].as_str().unwrap();
        assert!(detail.contains("administer on server"), "{detail}");
        let allowed = ok(send(&node, &just, method, path, &body));
        assert!(
            !allowed.body.contains("argon2"),
            "no hash is given away: {}",
            allowed.body
        );
    }
}

#[test]
fn who_is_disabled_is_out_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (node, root) = start(&folder.path().join("data"));
    let user = json!({ "password": PASSWORD, "roles": ["reader"] });
    ok(send(&node, &root, "PUT", "/v1/_users/ada", &user));
    let key = ok(send(
        &node,
        &root,
        "POST",
        "/v1/_keys",
        &json!({ "name": "k", "user": "ada" }),
    ));
    let key = format!("Bearer {}", key.json()["key"].as_str().unwrap());
    let ada = session(&node, "ada");
    let who = |credentials: &str| send(&node, credentials, "GET", "/v1/_whoami", &Value::Null);
    for credentials in [&ada, &key] {
        assert_eq!(who(credentials).json()["user"], "ada");
    }
    ok(send(
        &node,
        &root,
        "PUT",
        "/v1/_users/ada",
        &json!({ "disabled": true }),
    ));
    for credentials in [&ada, &key] {
        who(credentials).problem(401, "unauthorized");
    }
    login(&node, "ada", PASSWORD).problem(401, "unauthorized");
    ok(send(
        &node,
        &root,
        "PUT",
        "/v1/_users/ada",
        &json!({ "disabled": false }),
    ));
    assert_eq!(who(&key).status, 200);
    // Roles are looked at each time.
    let permissions = |credentials: &str| who(credentials).json()["permissions"].to_string();
    assert!(permissions(&key).contains("read"));
    ok(send(
        &node,
        &root,
        "PUT",
        "/v1/_users/ada",
        &json!({ "roles": [] }),
    ));
    assert_eq!(permissions(&key), "[]");
    // A key goes with its user.
    ok(send(&node, &root, "DELETE", "/v1/_users/ada", &Value::Null));
    who(&key).problem(401, "unauthorized");
    let keys = ok(send(&node, &root, "GET", "/v1/_keys", &Value::Null)).json();
    assert_eq!(keys["keys"], json!([]));
}

#[test]
fn a_session_ends_with_its_password_or_when_it_is_logged_out() {
    let folder = tempfile::tempdir().unwrap();
    let (node, root) = start(&folder.path().join("data"));
    let user = json!({ "password": PASSWORD, "roles": ["reader"] });
    ok(send(&node, &root, "PUT", "/v1/_users/ada", &user));
    let who = |credentials: &str| send(&node, credentials, "GET", "/v1/_whoami", &Value::Null).status;
    let (one, another) = (session(&node, "ada"), session(&node, "ada"));
    ok(send(&node, &one, "POST", "/v1/_logout", &Value::Null));
    assert_eq!((who(&one), who(&another)), (401, 200));
    let change = |old: &str, new: &str| {
        let body = json!({ "old": old, "new": new });
        send(&node, &another, "PUT", "/v1/_password", &body)
    };
    change("wrong", "another password").problem(401, "unauthorized");
    let short = change(PASSWORD, "short");
    assert!(short.status == 422 || short.status == 400, "{}", short.body);
    assert!(short.body.contains("at least 8"), "{}", short.body);
    ok(change(PASSWORD, "another password"));
    assert_eq!(who(&another), 401);
    login(&node, "ada", PASSWORD).problem(401, "unauthorized");
    assert_eq!(login(&node, "ada", "another password").status, 200);
    // Basic, whose scheme may be spelt as one likes; "ada:another password" and "ada:wrong".
    assert_eq!(who("basic YWRhOmFub3RoZXIgcGFzc3dvcmQ="), 200);
    assert_eq!(who("Basic YWRhOndyb25n"), 401);
    // Nothing of it is in the log.
    assert!(!node.log().contains("another password") && !node.log().contains("session_"));
    let no_session = send(
        &node,
        "Basic YWRhOmFub3RoZXIgcGFzc3dvcmQ=",
        "POST",
        "/v1/_logout",
        &Value::Null,
    );
    assert!(no_session.body.contains("no session"), "{}", no_session.body);
}

#[test]
fn an_api_key_is_shown_once_and_expires() {
    let folder = tempfile::tempdir().unwrap();
    let (node, root) = start(&folder.path().join("data"));
    let create = |body: Value| send(&node, &root, "POST", "/v1/_keys", &body);
    let key = ok(create(
        json!({ "name": "short", "roles": ["reader"], "expiresIn": "2s" }),
    ));
    assert_eq!(key.status, 201);
    let key = key.json()["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("pliant_") && key.len() == 50, "{key}");
    let who = || {
        send(
            &node,
            &format!("Bearer {key}"),
            "GET",
            "/v1/_whoami",
            &Value::Null,
        )
    };
    let me = who().json();
    assert_eq!((&me["name"], &me["user"]), (&"key short".into(), &Value::Null));
    let shown = ok(send(&node, &root, "GET", "/v1/_keys", &Value::Null));
    assert!(
        !shown.body.contains(&key) && shown.json()["keys"][0]["expires"].is_string(),
        "{}",
        shown.body
    );
    create(json!({ "name": "short", "roles": ["reader"] })).problem(409, "key-exists");
    create(json!({ "name": "x", "roles": ["nothing"] })).problem(404, "unknown-role");
    create(json!({ "name": "x" })).problem(400, "invalid-value");
    create(json!({ "name": "x", "roles": [], "expiresIn": "soon" })).problem(400, "invalid-value");
    let start = Instant::now();
    while who().status == 200 {
        assert!(start.elapsed() < Duration::from_secs(10), "it does not expire");
        std::thread::sleep(Duration::from_millis(50));
    }
    who().problem(401, "unauthorized");
    assert!(!node.log().contains(&key));
}

#[test]
fn roles_say_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let (node, root) = start(&folder.path().join("data"));
    let set = |name: &str, body: Value| send(&node, &root, "PUT", &format!("/v1/_roles/{name}"), &body);
    let wrong =
        set("clerk", json!({ "permissions": ["reed on database shop"] })).problem(400, "invalid-value");
    assert!(
        wrong["detail"].as_str().unwrap().contains("read, write"),
        "{wrong}"
    );
    set("clerk", json!({ "permission": [] })).problem(400, "invalid-value");
    set("_x", json!({ "permissions": [] })).problem(400, "invalid-value");
    set("writer", json!({ "permissions": [] })).problem(409, "built-in-role");
    ok(set(
        "clerk",
        json!({ "permissions": ["write,read on keys shop/carts"] }),
    ));
    let roles = ok(send(&node, &root, "GET", "/v1/_roles", &Value::Null)).json();
    let names: Vec<_> = roles["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| role["name"].clone())
        .collect();
    assert_eq!(
        json!(names),
        json!(["administrator", "writer", "reader", "anonymous", "clerk"])
    );
    assert_eq!(
        roles["roles"][4]["permissions"],
        json!(["read,write on keys shop/carts"])
    );
    ok(send(
        &node,
        &root,
        "PUT",
        "/v1/_users/ada",
        &json!({ "roles": ["clerk"] }),
    ));
    let in_use = send(&node, &root, "DELETE", "/v1/_roles/clerk", &Value::Null).problem(409, "role-in-use");
    assert!(
        in_use["detail"].as_str().unwrap().contains("the user \"ada\""),
        "{in_use}"
    );
    send(&node, &root, "DELETE", "/v1/_roles/none", &Value::Null).problem(404, "unknown-role");
    send(&node, &root, "DELETE", "/v1/_users/none", &Value::Null).problem(404, "unknown-user");
    send(&node, &root, "DELETE", "/v1/_keys/none", &Value::Null).problem(404, "unknown-key");
    send(&node, &root, "PATCH", "/v1/_users/ada", &Value::Null).problem(405, "method-not-allowed");
}

#[test]
fn who_gives_no_credentials_may_what_anonymous_may() {
    let folder = tempfile::tempdir().unwrap();
    let (node, root) = start(&folder.path().join("data"));
    node.get("/v1/_whoami").problem(401, "unauthorized");
    let role = json!({ "permissions": ["call on api shop/search"] });
    ok(send(&node, &root, "PUT", "/v1/_roles/anonymous", &role));
    let me = node.get("/v1/_whoami").json();
    assert_eq!(
        (&me["name"], &me["permissions"]),
        (&"anonymous".into(), &json!(["call on api shop/search"]))
    );
    let denied = node.get("/v1/_users").problem(401, "unauthorized");
    assert!(
        denied["detail"]
            .as_str()
            .unwrap()
            .contains("administer on server"),
        "{denied}"
    );
    ok(send(&node, &root, "DELETE", "/v1/_roles/anonymous", &Value::Null));
    node.get("/v1/_whoami").problem(401, "unauthorized");
}

#[test]
fn guessing_is_slowed_down() {
    let folder = tempfile::tempdir().unwrap();
    let (node, _) = start(&folder.path().join("data"));
    for _ in 0..5 {
        login(&node, "root", "a wrong guess").problem(401, "unauthorized");
        login(&node, "no name!", "a wrong guess").problem(401, "unauthorized");
    }
    let time = |user: &str| {
        let start = Instant::now();
        login(&node, user, "a wrong guess").problem(401, "unauthorized");
        start.elapsed()
    };
    assert!(time("root") >= Duration::from_millis(250));
    assert!(
        time("nobody") >= Duration::from_millis(500),
        "the address is the same"
    );
}

#[test]
fn what_happens_to_accounts_is_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let (data, audit) = (folder.path().join("data"), folder.path().join("audit"));
    let node = Node::start_with(&data, &["--audit-log", audit.to_str().unwrap()]);
    let first = json!({ "password": PASSWORD, "roles": ["administrator"] });
    ok(send(&node, "", "PUT", "/v1/_users/root", &first));
    let root = session(&node, "root");
    login(&node, "root", "a wrong guess").problem(401, "unauthorized");
    ok(send(
        &node,
        &root,
        "PUT",
        "/v1/_users/ada",
        &json!({ "password": PASSWORD, "roles": [] }),
    ));
    let ada = session(&node, "ada");
    send(&node, &ada, "GET", "/v1/_users", &Value::Null).problem(403, "denied");
    send(&node, &root, "DELETE", "/v1/_users/nobody", &Value::Null).problem(404, "unknown-user");
    // Moved away, it is begun anew.
    let old = folder.path().join("audit.1");
    std::fs::rename(&audit, &old).unwrap();
    node.signal(rustix::process::Signal::HUP);
    ok(send(&node, &root, "DELETE", "/v1/_users/ada", &Value::Null));
    let text = std::fs::read_to_string(&old).unwrap() + &std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            ["caller", "action", "resource", "result"].map(|field| line[field].as_str().unwrap_or(""))
        })
        .collect();
    assert_eq!(
        told,
        [
            ["everybody", "set user", "user root", "allowed"],
            ["root", "login", "", "allowed"],
            ["root", "login", "", "denied"],
            ["root", "set user", "user ada", "allowed"],
            ["ada", "login", "", "allowed"],
            ["ada", "ask", "administer on server", "denied"],
            ["root", "delete user", "user nobody", "failed"],
            ["root", "delete user", "user ada", "allowed"],
        ]
    );
    assert!(
        lines
            .iter()
            .all(|line| line["peer"].as_str().unwrap().starts_with("127.0.0.1:"))
    );
    assert!(!text.contains("correct horse") && !text.contains("wrong guess") && !text.contains("session_"));
    assert!(node.log().contains("\"target\":\"audit\""), "{}", node.log());
}
