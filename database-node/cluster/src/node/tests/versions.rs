//! The versions of commands: what leaders write while nodes are upgraded, and what becomes of those that are behind.

use pliantdb_core::{Command, Timestamp};

use super::*;
use crate::group::payload::Payload;

fn upgrade(cluster: &mut Cluster, host: usize, apply_version: u16) {
    cluster.stop(host);
    cluster.machines[host].apply_version = apply_version;
    cluster.start(host);
    cluster.until(200, |cluster| {
        let meta = cluster
            .leader(META)
            .and_then(|leader| cluster.node(leader).meta());
        meta.is_some_and(|meta| meta.nodes()[&node(host)].apply_version == apply_version)
            && cluster.leader(GROUP).is_some()
    });
    cluster.pass(20);
}

/// Writes, and gives the version that every replica was given.
fn written(cluster: &mut Cluster) -> u16 {
    let leader = cluster.leader(GROUP).unwrap();
    cluster.versions.clear();
    cluster.write(leader, GROUP);
    cluster.pass(10);
    let version = cluster.versions[0];
    let of_voters = vec![version; cluster.machines.len()];
    assert_eq!(cluster.versions, of_voters);
    version
}

fn gate(cluster: &Cluster, host: usize) -> u16 {
    cluster.node(host).meta().unwrap().apply_version()
}

fn halts(cluster: &Cluster) -> Vec<(usize, GroupId, String)> {
    let mut halts = Vec::new();
    for host in cluster.up() {
        for (id, group) in &cluster.node(host).groups {
            halts.extend(group.halt().map(|halt| (host, *id, halt.to_string())));
        }
    }
    halts
}

#[test]
fn leaders_write_the_next_version_when_the_last_node_can_apply_it() {
    let mut cluster = Cluster::asleep(3, 1, true);
    assert_eq!(written(&mut cluster), 1);
    let mut leaders = BTreeSet::new();
    for host in [0, 1] {
        upgrade(&mut cluster, host, 2);
        assert_eq!((written(&mut cluster), gate(&cluster, 0)), (1, 1));
        leaders.insert(cluster.machines[cluster.leader(GROUP).unwrap()].apply_version);
    }
    assert!(leaders.contains(&2), "one that knows more wrote what all know");
    upgrade(&mut cluster, 2, 3);
    assert_eq!((written(&mut cluster), gate(&cluster, 0)), (2, 2));
    assert_eq!(halts(&cluster), []);
    // Entries of both versions are applied again by whoever starts anew.
    for host in 0..3 {
        upgrade(&mut cluster, host, 2);
        assert_eq!(written(&mut cluster), 2);
    }
    assert_eq!(halts(&cluster), []);
}

#[test]
fn a_node_that_goes_back_to_a_version_before_stops_where_later_commands_are() {
    let mut cluster = Cluster::asleep(3, 1, true);
    for host in 0..3 {
        upgrade(&mut cluster, host, 2);
    }
    assert_eq!(written(&mut cluster), 2);
    let back = (0..3).find(|host| !cluster.node(*host).leads(GROUP)).unwrap();
    cluster.stop(back);
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
    cluster.machines[back].apply_version = 1;
    cluster.start(back);
    cluster.until(100, |cluster| !halts(cluster).is_empty());
    for (host, group, why) in halts(&cluster) {
        assert_eq!((host, group), (back, GROUP));
        assert!(why.contains("apply version 2"), "{why}");
    }
    // The gate is open all the same, and the others go on.
    cluster.pass(50);
    let leader = cluster.leader(GROUP).unwrap();
    assert_ne!(leader, back);
    cluster.write(leader, GROUP);
    assert_eq!(gate(&cluster, leader), 2);
}

#[test]
fn what_a_later_version_has_written_is_named_even_when_it_cannot_be_read() {
    let mut cluster = Cluster::asleep(1, 1, false);
    let later = postcard::to_stdvec(&(7_u16, Timestamp::from_bits(u64::MAX >> 1), [200_u8; 8])).unwrap();
    assert!(postcard::from_bytes::<Command>(&later).is_err());
    let group = cluster.node_mut(0).groups.get_mut(&GROUP).unwrap();
    group.propose(&Payload::Command(later)).unwrap();
    cluster.node_mut(0).touched.insert(GROUP);
    cluster.until(50, |cluster| !halts(cluster).is_empty());
    let (_, group, why) = halts(&cluster).remove(0);
    assert_eq!(group, GROUP);
    assert!(
        why.contains("apply version 7") && why.contains("up to 1"),
        "{why}"
    );
}

#[test]
fn who_cannot_apply_what_is_written_cannot_join() {
    let mut cluster = Cluster::asleep(1, 1, false);
    upgrade(&mut cluster, 0, 2);
    assert_eq!(written(&mut cluster), 2);
    let join = |cluster: &mut Cluster, apply_version| {
        cluster.machines.push(Machine {
            log: Arc::default(),
            state: Arc::default(),
            apply_version,
            process: None,
        });
        let host = cluster.machines.len() - 1;
        cluster.start(host);
        let token = u128::try_from(host).unwrap();
        cluster.node_mut(host).join(token, vec![Peer::Node(node(0))]);
        cluster.heard.clear();
        cluster.pass(50);
        host
    };
    let host = join(&mut cluster, 1);
    assert_eq!(cluster.node(host).id(), None);
    let refused = cluster.heard.iter().find_map(|message| match message {
        Message::Joined {
            node: Err(reason), ..
        } => Some(reason.clone()),
        _ => None,
    });
    let refused = refused.unwrap();
    assert!(refused.contains("the cluster writes version 2"), "{refused}");
    cluster.machines.pop();
    let host = join(&mut cluster, 2);
    assert_eq!(cluster.node(host).id(), Some(node(host)));
}

#[test]
fn later_kinds_of_message_are_sent_only_to_who_understands_them() {
    let mut cluster = Cluster::asleep(3, 1, true);
    let host = cluster.leader(GROUP).unwrap();
    let old = (host + 1) % 3;
    // As a node of an earlier version tells of itself.
    cluster.change(MetaCommand::SetAttributes {
        node: node(old),
        attributes: BTreeMap::new(),
    });
    cluster.pass(10);
    cluster.later.clear();
    let within = Duration::from_secs(10);
    let token = cluster.ask(host, Ask::StepAside { within });
    cluster.until(60, |cluster| cluster.answers.contains_key(&token));
    cluster.pass(10);
    assert_eq!(cluster.later, BTreeSet::from([(host + 2) % 3]));
}
