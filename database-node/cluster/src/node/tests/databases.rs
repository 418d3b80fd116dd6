//! Databases come and go.

use super::*;

fn delete(cluster: &mut Cluster, number: usize) {
    let name = format!("database-{number}").parse().unwrap();
    cluster.change(MetaCommand::DeleteDatabase { name });
}

/// Whether a node has a replica of a group, or what a crash has left of it.
fn has(cluster: &Cluster, host: usize, group: GroupId) -> bool {
    cluster
        .node(host)
        .replicas()
        .iter()
        .any(|replica| replica.group == group)
}

#[test]
fn a_database_that_is_deleted_is_gone_everywhere() {
    for is_quorum in [false, true] {
        let mut cluster = Cluster::asleep(3, 2, is_quorum);
        let leader = cluster.leader(GROUP).unwrap();
        cluster.write(leader, GROUP);
        delete(&mut cluster, 0);
        cluster.pass(10);
        for host in 0..3 {
            assert!(!has(&cluster, host, GROUP) && has(&cluster, host, GroupId::new(2)));
            assert!(matches!(
                cluster.read(host, Freshness::Linearizable),
                Some(Answer::Refused(Refusal::NotLeader { leader: None }))
            ));
        }
        // Another of that name has nothing of it.
        cluster.change(MetaCommand::CreateDatabase {
            name: "database-0".parse().unwrap(),
            slots: SlotCount::try_from(4).unwrap(),
        });
        let group = GroupId::new(3);
        cluster.until(100, |cluster| cluster.leader(group).is_some());
        cluster.pass(20);
        let leader = cluster.leader(group).unwrap();
        let request = Request::Get {
            collection: collection(),
            ids: vec![document()],
        };
        let freshness = Freshness::Linearizable;
        let read = Ask::Read {
            group,
            request,
            freshness,
        };
        let found = cluster.answer(leader, read);
        assert!(
            matches!(&found, Some(Answer::Read { result: Ok(Response::Documents(none)), .. }) if none.is_empty()),
            "{found:?}"
        );
        cluster.until(200, |cluster| cluster.are_all_asleep());
    }
}

#[test]
fn who_was_away_deletes_it_when_it_is_back() {
    let mut cluster = Cluster::asleep(3, 2, true);
    let away = (0..3).find(|host| !cluster.node(*host).leads(META)).unwrap();
    cluster.stop(away);
    cluster.pass(QUIET);
    delete(&mut cluster, 0);
    cluster.start(away);
    assert!(has(&cluster, away, GROUP));
    cluster.until(100, |cluster| !has(cluster, away, GROUP));
    cluster.until(200, |cluster| cluster.are_all_asleep());
    cluster.stop(away);
    cluster.start(away);
    assert!(!has(&cluster, away, GROUP), "also after a start");
}
