//! What an operator sees: probes, metrics, the log, a full disk.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use pliantdb_client::blocking::Client;
use pliantdb_client::{Options, StorageConnection};

use crate::node::Node;

fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics
        .lines()
        .find(|line| line.split(' ').next() == Some(series));
    let line = line.unwrap_or_else(|| panic!("no {series} in {metrics}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn metrics_count_what_happened() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(data.path());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let node = &node;
            scope.spawn(move || {
                for n in 0..25 {
                    assert_eq!(node.put(&format!("/v1/default/c/{thread}-{n}"), "1").status, 201);
                }
            });
        }
    });
    node.get("/nothing/here");
    node.send("PATCH", "/v1/default/c/x", &[], "");
    let answer = node.admin_get("/metrics", &[]);
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let metrics = answer.body;
    assert!(metrics.ends_with("# EOF\n"));
    let document = "route=\"/v1/{db}/{collection}/{id}\"";
    let of = |series: &str| value(&metrics, series);
    assert_eq!(
        of(&format!(
            "pliantdb_http_requests_total{{{document},method=\"PUT\",status=\"201\"}}"
        )),
        200.0
    );
    assert_eq!(
        of(&format!(
            "pliantdb_http_request_duration_seconds_count{{{document},method=\"PUT\"}}"
        )),
        200.0
    );
    assert_eq!(
        of(&format!(
            "pliantdb_http_requests_total{{{document},method=\"other\",status=\"405\"}}"
        )),
        1.0
    );
    assert_eq!(
        of("pliantdb_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"}"),
        1.0
    );
    assert_eq!(of("pliantdb_http_requests_in_flight"), 1.0, "this one");
    assert_eq!(of("pliantdb_documents_written_total"), 200.0);
    // 200 writes and the creation of the database `default`; how many share a commit, and so a sync, is up to the
    // scheduler. That those which wait do is tested on the storage.
    assert_eq!(of("pliantdb_commit_batch_size_sum"), 201.0);
    assert!((1.0..=201.0).contains(&of("pliantdb_commit_batch_size_count")));
    assert_eq!(
        of("pliantdb_store_wal_syncs_total"),
        of("pliantdb_commit_batch_size_count")
    );
    assert_eq!(of("pliantdb_store_writable"), 1.0);
    assert!(of("pliantdb_process_resident_memory_bytes") > 1e6);
    assert!(of("pliantdb_uptime_seconds") > 0.0);
    assert!(metrics.contains("pliantdb_build_info{version="));
    assert!(node.get("/metrics").status == 404, "not on the clients' port");
}

/// What docs/metrics.md calls metrics, without the labels.
/// The metrics that are documented: of any node, or those that only one of a cluster has.
fn documented(of_cluster: bool) -> BTreeSet<String> {
    let page = include_str!("../../../../docs/metrics.md");
    let cells = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let series = cells.flat_map(|cell| cell.split("`, `"));
    series
        .map(|series| series.split(['{', '`']).next().unwrap().to_owned())
        .filter(|series| series.starts_with("pliantdb_cluster_") == of_cluster)
        .collect()
}

/// The metrics that a node shows.
fn shown(node: &Node) -> BTreeSet<String> {
    let metrics = node.admin_get("/metrics", &[]).body;
    let types = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            "info" => format!("{name}_info"),
            _ => name.to_owned(),
        })
        .collect()
}

#[test]
fn every_metric_of_a_cluster_is_documented_too() {
    let data = tempfile::tempdir().unwrap();
    let clustering = ["--nodes-listen", "127.0.0.1:0", "--node-name", "first"];
    let node = Node::start_with(&data.path().join("data"), &clustering);
    node.put("/v1/default/c/a", "1");
    let is_of_cluster = |name: &String| name.starts_with("pliantdb_cluster_");
    let shown: BTreeSet<_> = shown(&node).into_iter().filter(is_of_cluster).collect();
    assert_eq!(shown, documented(true));
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_there() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &["--max-connections", "1"]);
    node.put("/v1/default/c/a", "1");
    node.get("/v1/default/c/a");
    node.get("/v1/nothing/c?limit=1");
    // The second finds no place.
    let options = || Options {
        connect_timeout: Duration::from_secs(2),
        ..Options::default()
    };
    let client = Client::connect(&node.quic_url(), options()).unwrap();
    client.databases().unwrap();
    assert!(Client::connect(&node.quic_url(), options()).is_err());

    let metrics = node.admin_get("/metrics", &[]).body;
    assert_eq!(shown(&node), documented(false));
    for (series, count) in [
        (
            "pliantdb_operation_duration_seconds_count{door=\"Http\",operation=\"transact\"}",
            1.0,
        ),
        (
            "pliantdb_operation_duration_seconds_count{door=\"Http\",operation=\"get\"}",
            1.0,
        ),
        (
            "pliantdb_operation_duration_seconds_count{door=\"Quic\",operation=\"databases\"}",
            1.0,
        ),
        (
            "pliantdb_operation_errors_total{door=\"Http\",operation=\"list\",error=\"unknown_database\"}",
            1.0,
        ),
        ("pliantdb_operations_in_flight{door=\"Http\"}", 0.0),
        ("pliantdb_operations_in_flight{door=\"Quic\"}", 0.0),
        ("pliantdb_connections{door=\"Http\"}", 1.0),
        ("pliantdb_connections{door=\"Quic\"}", 1.0),
        ("pliantdb_connections_refused_total{door=\"Quic\"}", 1.0),
        ("pliantdb_writes_waiting", 0.0),
        ("pliantdb_store_stalled", 0.0),
    ] {
        assert_eq!(value(&metrics, series), count, "{series}");
    }
}

#[test]
fn refused_logins_are_counted() {
    let data = tempfile::tempdir().unwrap();
    let token = data.path().join("token");
    std::fs::write(&token, "a-token-of-sufficient-length").unwrap();
    let folder = data.path().join("data");
    let node = Node::start_with(&folder, &["--token-file", token.to_str().unwrap()]);
    let ask = |header: &str| node.send("GET", "/v1", &[("Authorization", header)], "").status;
    assert_eq!(ask("Bearer another-token-of-some-length"), 401);
    assert_eq!(ask("Basic YWRhOm5vcGU="), 401);
    assert_eq!(ask("Bearer a-token-of-sufficient-length"), 200);
    let metrics = node.admin_get("/metrics", &[]).body;
    assert_eq!(value(&metrics, "pliantdb_logins_refused_total"), 2.0);
}

#[test]
fn requests_have_ids() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start_with(data.path(), &["--log-level", "debug"]);
    let id = |sent: &str| {
        let answer = node.send(
            "GET",
            "/v1/default/secrets/a?limit=hush",
            &[("X-Request-Id", sent)],
            "",
        );
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(id("my-request.1_2"), "my-request.1_2");
    let long = "x".repeat(65);
    for refused in ["", "a b", "a\"b", &long] {
        assert_eq!(id(refused).len(), 36, "{refused}");
    }
    assert_eq!(node.get("/nothing").header("x-request-id").len(), 36);
    node.put("/v1/default/c/a", "\"the content of a document\"");
    node.terminate();
    let mut node = node;
    node.wait();
    let log = node.log();
    assert!(
        log.lines()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{log}"
    );
    let answered = log.lines().find(|line| line.contains("my-request.1_2")).unwrap();
    for part in ["\"status\":", "/v1/{db}/{collection}/{id}"] {
        assert!(answered.contains(part), "{answered}");
    }
    assert!(!log.contains("the content of a document"), "no bodies in the log");
}

#[test]
fn a_disk_without_room_refuses_writes_only() {
    let data = tempfile::tempdir().unwrap();
    let start = |reserve: &str| Node::start_with(data.path(), &["--min-free-space", reserve]);
    for id in ["a", "b"] {
        assert_eq!(start("0").put(&format!("/v1/default/c/{id}"), "1").status, 201);
    }
    let free = free_space(data.path());
    let node = start(&(free * 2).to_string());
    node.put("/v1/default/c/a", "2").problem(507, "disk-full");
    node.send("POST", "/v1/default/c", &[], "2")
        .problem(507, "disk-full");
    assert_eq!(node.get("/v1/default/c/a").body, "1", "reads go on");
    assert_eq!(node.get("/v1/default/c").status, 200);
    assert_eq!(
        node.send("DELETE", "/v1/default/c/b", &[], "").status,
        204,
        "deletes make room"
    );
    let ready = node.get("/readyz");
    assert_eq!(ready.status, 200, "reads and deletes are still wanted");
    assert!(ready.body.contains("writes are refused"), "{}", ready.body);
    assert_eq!(node.get("/healthz").status, 200);
    drop(node);
    let node = start(&(free * 8).to_string());
    node.send("DELETE", "/v1/default/c/a", &[], "")
        .problem(507, "disk-full");
}

fn free_space(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).unwrap();
    stat.f_bavail * stat.f_frsize
}
