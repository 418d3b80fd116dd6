use std::path::Path;

use super::super::{Settings, tests::load};
use super::*;

fn clustering(file: &str) -> Clustering {
    load(file).unwrap().clustering.unwrap()
}

#[test]
fn a_node_is_alone_until_it_listens_to_others() {
    assert_eq!(load("").unwrap().clustering, None);
    let host = rustix::system::uname();
    assert_eq!(
        clustering("nodesListen: 10.0.0.1\nnodeName: a"),
        Clustering {
            listen: "10.0.0.1:6482".parse().unwrap(),
            advertise: "10.0.0.1".parse().unwrap(),
            name: "a".to_owned(),
            attributes: BTreeMap::new(),
            join: Vec::new(),
            cluster: "pliantdb".to_owned(),
            certificate: NodeCertificate::Own { token_file: None },
        }
    );
    let named = clustering("nodesListen: 127.0.0.1:0").name;
    assert_eq!(named, host.nodename().to_string_lossy());
}

#[test]
fn reads_every_key() {
    let file = "
        nodesListen: '[::]:7'
        advertise: db-1.example.com
        nodeName: db-1
        nodeAttributes: {zone: a, topology.example/rack: '7'}
        join: [db-0.example.com, 'db-2:8', '[::1]:9', '::2', 10.0.0.3]
        joinTokenFile: /t
        clusterName: shop
    ";
    let read = clustering(file);
    assert_eq!(read.listen.to_string(), "[::]:7");
    assert_eq!(read.advertise.with_port(7), "db-1.example.com:7");
    assert_eq!((read.name.as_str(), read.cluster.as_str()), ("db-1", "shop"));
    let attributes = [("topology.example/rack", "7"), ("zone", "a")];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(read.attributes, BTreeMap::from(attributes));
    assert_eq!(
        read.join,
        [
            "db-0.example.com:6482",
            "db-2:8",
            "[::1]:9",
            "[::2]:6482",
            "10.0.0.3:6482"
        ]
    );
    let token_file = Some("/t".into());
    assert_eq!(read.certificate, NodeCertificate::Own { token_file });
    let files = "{nodesListen: '[::1]', nodesCertificateFile: /c, nodesKeyFile: /k, nodesAuthorityFile: /a}";
    assert_eq!(
        clustering(files).certificate,
        NodeCertificate::Files {
            certificate: "/c".into(),
            key: "/k".into(),
            authority: "/a".into(),
        }
    );
    assert_eq!(clustering(files).advertise.with_port(1), "[::1]:1");
}

#[test]
fn names_what_is_wrong() {
    for (file, parts) in [
        ("join: [a:1]", &["join is set and nodesListen is not"][..]),
        ("advertise: a", &["advertise is set and nodesListen is not"]),
        ("nodeAttributes: {zone: a}", &["nodeAttributes", "nodesListen"]),
        (
            "nodesListen: db-1:6482",
            &["nodesListen is db-1:6482", "10.0.0.1:6482"],
        ),
        (
            "nodesListen: 0.0.0.0:6482",
            &["nodesListen is 0.0.0.0:6482", "advertise", "PLIANT_ADVERTISE"],
        ),
        (
            "{nodesListen: 0.0.0.0:0, advertise: db-1}",
            &["nodesListen is 0.0.0.0:0", "choose the port"],
        ),
        (
            "{nodesListen: 0.0.0.0, advertise: 'db-1:6482'}",
            &["advertise is db-1:6482", "without a port"],
        ),
        ("{nodesListen: 0.0.0.0, advertise: '::'}", &["advertise is ::"]),
        ("{nodesListen: 0.0.0.0, advertise: 10.0.0.300}", &["10.0.0.300"]),
        (
            "{nodesListen: 10.0.0.1, nodeName: a b}",
            &["nodeName is a b", "letters"],
        ),
        ("{nodesListen: 10.0.0.1, clusterName: ''}", &["clusterName is ,"]),
        ("{nodesListen: 10.0.0.1, join: ['db-1:0']}", &["join is db-1:0"]),
        ("{nodesListen: 10.0.0.1, join: ['x::y:1']}", &["join is x::y:1"]),
        (
            "{nodesListen: 10.0.0.1, join: ['::1:99999']}",
            &["join is ::1:99999"],
        ),
        (
            "{nodesListen: 10.0.0.1, nodeAttributes: {quic: a}}",
            &["nodeAttributes is quic=a", "the node itself"],
        ),
        (
            "{nodesListen: 10.0.0.1, nodeAttributes: {a b: c}}",
            &["nodeAttributes is a b=c", "zone"],
        ),
        (
            "{nodesListen: 10.0.0.1, joinTokenFile: /t}",
            &["joinTokenFile is set and join is not"],
        ),
        (
            "{nodesListen: 10.0.0.1, nodesKeyFile: /k, nodesAuthorityFile: /a}",
            &["nodesKeyFile is set and nodesCertificateFile is not"],
        ),
        (
            "{nodesListen: 10.0.0.1, join: [a], joinTokenFile: /t, nodesKeyFile: /k, nodesAuthorityFile: /a, \
             nodesCertificateFile: /c}",
            &["joinTokenFile is /t", "leave it out"],
        ),
    ] {
        let error = load(file).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{file}: {error}");
        }
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn attributes_on_the_command_line_are_said_once_each() {
    let given = |texts: &[&str]| Inputs {
        nodes_listen: Some("10.0.0.1".to_owned()),
        node_attributes: Some(texts.iter().map(|text| text.parse().unwrap()).collect()),
        ..Inputs::default()
    };
    let load = |texts: &[&str]| Settings::load(given(texts), None::<&Path>);
    let settings = load(&["zone=a", "note=b=c"]).unwrap();
    assert_eq!(settings.clustering.unwrap().attributes["note"], "b=c");
    let twice = load(&["zone=a", "zone=b"]).unwrap_err().to_string();
    assert!(twice.contains("zone=b") && twice.contains("once"), "{twice}");
    let many: Vec<_> = (0..65).map(|number| format!("a{number}=b")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert!(load(&many).unwrap_err().to_string().contains("65 attributes"));
    assert_eq!("zone".parse::<Attribute>(), Err(InvalidAttribute));
}
