//! Groups go on by force, whatever happens amid it.

use super::*;
use crate::meta::{Consent, Failover, Forced};

/// A cluster of five in quorum mode, with the hosts whose replicas vote in the group: its leader first.
fn with_voters() -> (Cluster, Vec<usize>) {
    let mut cluster = Cluster::asleep(5, 1, true);
    let leader = cluster.leader(GROUP).unwrap();
    cluster.write(leader, GROUP);
    cluster.pass(QUIET);
    let record = cluster.node(leader).meta().unwrap().group(GROUP).unwrap();
    let mut voters: Vec<usize> = record.voters.iter().map(|node| node.get() as usize - 1).collect();
    voters.sort_by_key(|host| *host != leader);
    assert_eq!(voters.len(), 3);
    (cluster, voters)
}

/// Forces what cannot go on, as soon as that is possible, and waits until that is decided.
fn force(cluster: &mut Cluster) -> Forced {
    // Whoever leads the meta group by then, and has heard long enough who is there.
    cluster.until(100, |cluster| cluster.leader(META).is_some());
    cluster.pass(40);
    let leader = cluster.leader(META).unwrap();
    let force = Ask::Force {
        leader: None,
        consent: Consent::ProcessGone,
    };
    cluster.ask(leader, force);
    cluster.until(100, |cluster| unconfirmed(cluster).is_some());
    unconfirmed(cluster).unwrap()
}

fn unconfirmed(cluster: &Cluster) -> Option<Forced> {
    let leader = cluster.leader(META)?;
    cluster.node(leader).meta()?.group(GROUP)?.unconfirmed()
}

fn is_settled(cluster: &Cluster) -> bool {
    let meta = cluster
        .leader(META)
        .and_then(|leader| cluster.node(leader).meta());
    meta.is_some_and(|meta| {
        meta.groups()
            .values()
            .all(|record| record.is_settled() && record.unconfirmed().is_none())
    })
}

#[test]
fn a_replica_that_was_forced_answers_when_it_is_confirmed() {
    let (mut cluster, voters) = with_voters();
    cluster.stop(voters[0]);
    cluster.stop(voters[1]);
    let forced = force(&mut cluster);
    let holder = forced.replica.node().get() as usize - 1;
    assert_eq!(holder, voters[2]);
    assert!(!cluster.finds(holder, Freshness::Within(Duration::from_secs(60))));
    cluster.until(200, |cluster| {
        unconfirmed(cluster).is_none() && cluster.leader(GROUP).is_some()
    });
    cluster.pass(20);
    let leader = cluster.leader(GROUP).unwrap();
    assert!(cluster.finds(leader, Freshness::Linearizable), "nothing was lost");
    cluster.write(leader, GROUP);
}

#[test]
fn another_goes_on_when_the_one_that_was_forced_is_gone() {
    let (mut cluster, voters) = with_voters();
    cluster.stop(voters[0]);
    cluster.stop(voters[1]);
    let forced = force(&mut cluster);
    let holder = forced.replica.node().get() as usize - 1;
    cluster.stop(holder);
    cluster.start(voters[0]);
    cluster.start(voters[1]);
    cluster.until(300, |cluster| {
        unconfirmed(cluster).is_none() && cluster.leader(GROUP).is_some_and(|leader| leader != holder)
    });
    cluster.pass(30);
    let leader = cluster.leader(GROUP).unwrap();
    assert!(voters[..2].contains(&leader));
    assert!(
        cluster.finds(leader, Freshness::Linearizable),
        "two of three had it"
    );
    cluster.start(holder);
    cluster.until(300, |cluster| is_settled(cluster));
    let leader = cluster.leader(GROUP).unwrap();
    assert!(cluster.finds(leader, Freshness::Linearizable));
}

#[test]
fn the_one_that_was_given_up_goes_on_when_it_comes_back_with_more() {
    let (mut cluster, voters) = with_voters();
    let [leader, follower, behind] = voters[..] else {
        panic!("{voters:?}")
    };
    // Written by two of the three.
    cluster.isolate(behind);
    cluster.write(leader, GROUP);
    cluster.stop(leader);
    cluster.stop(behind);
    cluster.cut.clear();
    let forced = force(&mut cluster);
    assert_eq!(forced.replica.node(), node(follower));
    cluster.stop(follower);
    cluster.start(behind);
    let is_tried = |cluster: &mut Cluster| {
        unconfirmed(cluster).is_some_and(|forced| forced.replica.node() == node(behind))
    };
    cluster.until(200, is_tried);
    cluster.start(follower);
    cluster.until(300, |cluster| {
        unconfirmed(cluster).is_none() && cluster.leader(GROUP) == Some(follower)
    });
    cluster.pass(30);
    assert!(cluster.finds(follower, Freshness::Linearizable));
    let record = cluster.node(follower).meta().unwrap().group(GROUP).unwrap();
    assert!(record.former.is_empty() && record.forced.unwrap().replica.node() == node(follower));
}

#[test]
fn who_was_to_lead_by_failover_and_is_gone_at_once_is_replaced_too() {
    let mut cluster = Cluster::asleep(5, 1, false);
    let delay = Duration::from_secs(3);
    cluster.change(MetaCommand::SetFailover(Failover::Automatic { delay }));
    cluster.write(0, GROUP);
    cluster.pass(QUIET);
    cluster.stop(0);
    cluster.until(200, |cluster| unconfirmed(cluster).is_some());
    let gone = unconfirmed(&cluster).unwrap().replica.node().get() as usize - 1;
    cluster.stop(gone);
    let leads = |cluster: &mut Cluster| {
        let meta = cluster
            .leader(META)
            .and_then(|leader| cluster.node(leader).meta())?;
        match meta.mode() {
            Mode::OneLeader { leader } => Some(leader.get() as usize - 1),
            Mode::Quorum => None,
        }
    };
    cluster.until(300, |cluster| {
        leads(cluster).is_some_and(|leader| leader != gone && leader != 0)
    });
    let leader = leads(&mut cluster).unwrap();
    cluster.until(300, |cluster| cluster.finds(leader, Freshness::Linearizable));
    cluster.write(leader, GROUP);
    cluster.start(0);
    cluster.start(gone);
    cluster.until(300, |cluster| is_settled(cluster));
    assert!(cluster.finds(leader, Freshness::Linearizable));
}

#[test]
fn no_revision_of_what_was_lost_comes_again() {
    let mut cluster = Cluster::asleep(3, 1, false);
    let delay = Duration::from_secs(3);
    cluster.change(MetaCommand::SetFailover(Failover::Automatic { delay }));
    // Walls were ahead, so the next revisions follow the last, whoever gives them.
    cluster.ahead = 60_000;
    cluster.write(0, GROUP);
    cluster.pass(QUIET);
    cluster.ahead = 0;
    let revision = |cluster: &mut Cluster, host| match cluster.read(host, Freshness::Linearizable) {
        Some(Answer::Read {
            result: Ok(Response::Documents(documents)),
            ..
        }) => documents[0].revision,
        answer => panic!("{answer:?}"),
    };
    cluster.isolate(0);
    cluster.write(0, GROUP);
    let lost = revision(&mut cluster, 0);
    cluster.stop(0);
    cluster.cut.clear();
    cluster.until(300, |cluster| {
        cluster.leader(GROUP).is_some_and(|leader| leader != 0)
    });
    let leader = cluster.leader(GROUP).unwrap();
    cluster.until(300, |cluster| cluster.finds(leader, Freshness::Linearizable));
    assert_ne!(revision(&mut cluster, leader), lost, "it is lost");
    cluster.write(leader, GROUP);
    assert_ne!(revision(&mut cluster, leader), lost);
}

/// An entry of the meta group, as a node is handed it that has applied the ones before.
fn decided(cluster: &Cluster, host: usize, command: MetaCommand) -> crate::group::Committed {
    let index = cluster.node(host).meta_applied();
    crate::group::Committed {
        at: LogPoint { index, term: 1 },
        payload: Some(crate::group::payload::Payload::Meta(command)),
        config: None,
    }
}

#[test]
fn who_waits_for_its_log_and_is_given_up_meanwhile_does_not_go_on() {
    let (mut cluster, voters) = with_voters();
    let [_, holder, other] = voters[..] else {
        panic!("{voters:?}")
    };
    let meta = cluster.node(holder).meta().unwrap().clone();
    let record = meta.group(GROUP).unwrap();
    let last = cluster.node(holder).groups[&GROUP].last();
    let on = |host: usize| record.replicas[&node(host)];
    let force = MetaCommand::Force(crate::meta::Force {
        as_of: meta.epoch(),
        heard: crate::ids::Epoch::default(),
        leader: None,
        holders: BTreeMap::from([(GROUP, (on(holder), last))]),
        consent: Consent::ProcessGone,
    });
    let now = cluster.now();
    let entry = decided(&cluster, holder, force);
    cluster.node_mut(holder).committed(META, vec![entry]);
    // It is to go on, and its log is not written yet.
    cluster.node_mut(holder).match_replicas(now);
    assert!(cluster.node(holder).applying.is_forcing(GROUP));
    let meta = cluster.node(holder).meta().unwrap();
    let another = MetaCommand::ForceAnother {
        group: GROUP,
        epoch: meta.group(GROUP).unwrap().unconfirmed().unwrap().epoch,
        replica: on(other),
        fork: last,
        gone: None,
    };
    let entry = decided(&cluster, holder, another);
    cluster.node_mut(holder).committed(META, vec![entry]);
    cluster.step(holder, Input::Tick);
    assert_eq!(cluster.node(holder).incarnation(GROUP), Some(record.incarnation));
    assert_eq!(
        cluster.node(holder).groups[&GROUP].halt(),
        Some(&Halt::Superseded)
    );
}

#[test]
fn a_take_over_goes_on_in_the_next_process() {
    let mut cluster = Cluster::asleep(2, 1, false);
    cluster.write(0, GROUP);
    cluster.pass(20);
    cluster.stop(0);
    cluster.pass(40);
    let consent = Consent::ProcessGone;
    cluster.ask(1, Ask::ForceMeta { consent });
    assert_ne!(
        cluster.node(1).incarnation(META),
        Some(crate::ids::Incarnation::FIRST)
    );
    cluster.stop(1);
    cluster.start(1);
    let leads = Mode::OneLeader { leader: node(1) };
    cluster.until(200, |cluster| cluster.node(1).meta().unwrap().mode() == leads);
    cluster.until(200, |cluster| cluster.finds(1, Freshness::Linearizable));
    cluster.write(1, GROUP);
    cluster.start(0);
    cluster.pass(100);
    assert!(
        !cluster.node(0).leads(GROUP)
            || cluster.node(0).incarnation(GROUP) < cluster.node(1).incarnation(GROUP),
        "whoever was given up is in a life that is over"
    );
}

/// Decides, as far as a node knows, that the group goes on with the replica of another.
fn decide_on(cluster: &mut Cluster, host: usize, holder: usize) {
    let meta = cluster.node(host).meta().unwrap().clone();
    let replica = meta.group(GROUP).unwrap().replicas[&node(holder)];
    let last = cluster.node(holder).groups[&GROUP].last();
    let force = MetaCommand::Force(crate::meta::Force {
        as_of: meta.epoch(),
        heard: crate::ids::Epoch::default(),
        leader: None,
        holders: BTreeMap::from([(GROUP, (replica, last))]),
        consent: Consent::AcceptSplitBrain,
    });
    let entry = decided(cluster, host, force);
    cluster.node_mut(host).committed(META, vec![entry]);
}

#[test]
fn who_stops_tells_only_of_what_comes_to_its_disk() {
    let (mut cluster, voters) = with_voters();
    let [leader, follower, holder] = voters[..] else {
        panic!("{voters:?}")
    };
    let before = cluster.node(follower).groups[&GROUP].last();
    // Entries of the old leader are on their way.
    cluster.tokens += 1;
    let token = cluster.tokens;
    let database = cluster.database_of(GROUP);
    let operation = Operation::write(database, WriteAction::Transact(Vec::new()), None);
    let ask = Ask::Write {
        group: GROUP,
        operation,
    };
    cluster.step(leader, Input::Ask { token, ask });
    let sent: Vec<_> = cluster.sent.drain(..).collect();
    let now = cluster.now();
    for (_, to, envelope) in sent {
        if to == follower {
            cluster.node_mut(follower).take(now, Input::Receive(envelope));
        }
    }
    assert!(cluster.node(follower).groups[&GROUP].last() > before);
    // They come together with the word that the group goes on without them.
    decide_on(&mut cluster, follower, holder);
    cluster.step(follower, Input::Tick);
    let group = &cluster.node(follower).groups[&GROUP];
    assert_eq!(group.halt(), Some(&Halt::Superseded));
    assert_eq!((group.last(), group.log().last()), (before, before));
}

#[test]
fn what_is_asked_of_who_stops_can_be_asked_again() {
    let (mut cluster, voters) = with_voters();
    let (leader, holder) = (voters[0], voters[2]);
    decide_on(&mut cluster, leader, holder);
    cluster.step(leader, Input::Tick);
    assert_eq!(
        cluster.node(leader).groups[&GROUP].halt(),
        Some(&Halt::Superseded)
    );
    let operation = Operation::write(
        cluster.database_of(GROUP),
        WriteAction::Transact(Vec::new()),
        None,
    );
    let write = Ask::Write {
        group: GROUP,
        operation,
    };
    let written = cluster.answer(leader, write);
    let read = cluster.read(leader, Freshness::Within(std::time::Duration::from_secs(60)));
    for answer in [written, read] {
        assert!(
            matches!(answer, Some(Answer::Refused(Refusal::Busy(_)))),
            "{answer:?}"
        );
    }
}

#[test]
fn who_stops_while_a_snapshot_is_put_in_place_goes_on_behind_it() {
    // Before it is in place, and together with the word that it is.
    for stops_first in [true, false] {
        let (mut cluster, voters) = with_voters();
        let (follower, holder) = (voters[1], voters[2]);
        if stops_first {
            decide_on(&mut cluster, follower, holder);
            cluster.step(follower, Input::Tick);
        }
        let group = &cluster.node(follower).groups[&GROUP];
        let (before, config) = (group.last(), group.config().clone());
        let at = LogPoint {
            index: before.index + 50,
            term: before.term,
        };
        let position = Position {
            index: at.index,
            term: at.term,
            config: super::super::replicas::encode_config(&config),
            ..Position::default()
        };
        let group = cluster.node_mut(follower).groups.get_mut(&GROUP).unwrap();
        group.accept(at);
        assert!(group.is_installing());
        cluster.node_mut(follower).installed(GROUP, &position);
        assert!(
            cluster.node(follower).groups[&GROUP].is_installing(),
            "its log does not begin there yet"
        );
        if !stops_first {
            decide_on(&mut cluster, follower, holder);
        }
        cluster.step(follower, Input::Tick);
        let group = &cluster.node(follower).groups[&GROUP];
        assert_eq!(group.halt(), Some(&Halt::Superseded));
        assert_eq!((group.last(), group.log().truncated()), (at, at));
        assert!(!group.is_installing());
        // It can be taken for the next life.
        let next = config.incarnation.next(node(follower));
        cluster.node_mut(follower).applying.force(GROUP, next, None);
        cluster.node_mut(follower).touched.insert(GROUP);
        cluster.step(follower, Input::Tick);
        let group = &cluster.node(follower).groups[&GROUP];
        assert_eq!((group.incarnation(), group.last().index), (next, at.index));
        assert_eq!(group.halt(), None);
    }
}

#[test]
fn who_has_stopped_and_fails_is_told_of_as_one_that_cannot_go_on() {
    let (mut cluster, voters) = with_voters();
    let (follower, holder) = (voters[1], voters[2]);
    decide_on(&mut cluster, follower, holder);
    cluster.step(follower, Input::Tick);
    let error = pliantdb_storage::StorageError::Closed;
    let group = Some(GROUP);
    cluster.step(follower, Input::Done(Done::Failed { group, error }));
    let told = cluster.node(follower).replicas();
    let told = told.iter().find(|told| told.group == GROUP).unwrap();
    assert!(told.halted.is_some() && !told.is_superseded);
}
