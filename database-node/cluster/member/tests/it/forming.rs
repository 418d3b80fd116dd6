//! A cluster is founded, joined, changed and left, by way of any of its nodes.

use std::time::Duration;

use pliantdb_cluster::Mode;
use pliantdb_cluster::meta::{Consent, MetaCommand, MetaOutcome, MetaRejection};
use pliantdb_cluster_member::{ChangeError, Formation, Member, NodeStatus, StartError, Status};

use tokio::time::Instant;

use crate::machines::{Machines, founding, node, until};

fn database(name: &str) -> MetaCommand {
    MetaCommand::CreateDatabase {
        name: name.parse().unwrap(),
        slots: 4.try_into().unwrap(),
    }
}

fn of(status: &Status, number: u32) -> &NodeStatus {
    let mut nodes = status.nodes.iter();
    nodes.find(|status| status.node == node(number)).unwrap()
}

/// Whether everything is where it is to be, and the nodes have all that there is.
fn is_at_rest(status: &Status) -> bool {
    let is_live = |node: &NodeStatus| node.silent.is_some() && node.lag == Some(0) && node.halted.is_empty();
    status.switch.is_none() && status.settled == status.groups && status.nodes.iter().all(is_live)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_grows_to_a_quorum_and_goes_on_after_restarts() {
    let machines = Machines::new();
    let first = machines.found("first").await;
    assert_eq!(first.joined().await.unwrap().0, node(1));
    first.change(database("shop")).await.unwrap();
    let second = machines.join("second", &first).await;
    let third = machines.join("third", &first).await;

    // Asked of one that does not decide.
    // Whoever has applied so much knows of it.
    let (_, at) = third.change_at(database("office")).await.unwrap();
    let mut known = second.handle().known();
    let known = known.wait_for(|known| known.applied >= at).await.unwrap().clone();
    let meta = known.meta.unwrap();
    let mut shards = meta.groups().values().filter_map(|record| record.shard.as_ref());
    assert!(shards.any(|shard| shard.database.as_str() == "office"));
    let switched = third.change(MetaCommand::Switch { to: Mode::Quorum }).await;
    assert!(matches!(switched, Ok(MetaOutcome::Switch(_))), "{switched:?}");
    let status = until(&second, |status| {
        status.mode == Mode::Quorum && status.survives_minorities && is_at_rest(status)
    })
    .await;
    assert_eq!((status.node, status.nodes.len()), (Some(node(2)), 3));
    assert_eq!(status.databases[0].voters, [node(1), node(2), node(3)]);
    assert_eq!(of(&status, 3).name, "third");
    let refused = second.change(database("shop")).await;
    let exists = MetaRejection::DatabaseExists("shop".parse().unwrap());
    let taken = ChangeError::Refused(Box::new(exists));
    assert_eq!(refused, Err(taken));

    // Back in its directory it is who it was, at another address, whatever it is told about forming.
    let before = of(&status, 3).address.clone();
    third.stop().await.unwrap();
    drop(third);
    let third = Member::start(machines.options("third", founding()))
        .await
        .unwrap();
    assert_eq!(third.joined().await.unwrap().0, node(3));
    let status = until(&first, |status| {
        of(status, 3).address != before && is_at_rest(status)
    })
    .await;
    assert_eq!(status.mode, Mode::Quorum);
    // All were gone, and two of three come back where they were.
    let addresses = [first.network().local_address(), second.network().local_address()];
    for member in [first, second, third] {
        member.stop().await.unwrap();
    }
    let back = |name, listen| {
        let mut options = machines.options(name, founding());
        options.listen = listen;
        Member::start(options)
    };
    let first = back("first", addresses[0]).await.unwrap();
    let second = back("second", addresses[1]).await.unwrap();
    // Two of three go on. What is shown first may be what the node knew when it was stopped.
    until(&second, |status| status.is_supervised && status.nodes.len() == 3).await;
    for member in [first, second] {
        member.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_and_a_leader_that_is_gone_is_replaced() {
    let machines = Machines::new();
    let first = machines.found("first").await;
    first.change(database("shop")).await.unwrap();
    let second = machines.join("second", &first).await;
    let third = machines.join("third", &first).await;
    until(&first, |status| status.nodes.len() == 3 && is_at_rest(status)).await;

    let third_leaves = |is_draining| MetaCommand::SetDraining {
        node: node(3),
        is_draining,
    };
    second.change(third_leaves(true)).await.unwrap();
    until(&second, |status| {
        status.databases[0].learners == [node(2)] && is_at_rest(status)
    })
    .await;
    let remove = MetaCommand::RemoveNode {
        node: node(3),
        is_lost: false,
    };
    second.change(remove).await.unwrap();
    until(&second, |status| status.nodes.len() == 2).await;
    third.stop().await.unwrap();

    // In order.
    let to = Mode::OneLeader { leader: node(2) };
    first.change(MetaCommand::Switch { to }).await.unwrap();
    until(&first, |status| status.mode == to && is_at_rest(status)).await;
    // By force: of two nodes the one that decided is gone, so there is nobody to be asked.
    second.stop().await.unwrap();
    let began = Instant::now();
    until(&first, |status| !status.is_supervised).await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let refused = first.force(Some(node(1)), Consent::ProcessGone).await;
    assert!(matches!(refused, Err(ChangeError::Unavailable(_))), "{refused:?}");
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_joins_without_a_token_or_with_one_that_was_used() {
    let machines = Machines::new();
    let first = machines.found("first").await;
    let without = machines.try_join("second", &first, None).await;
    assert!(matches!(without, Err(StartError::NoToken)));
    let (token, _) = first.make_join_token(Duration::from_secs(60)).await.unwrap();
    let second = machines
        .try_join("second", &first, Some(token.clone()))
        .await
        .unwrap();
    second.joined().await.unwrap();
    let used = machines.try_join("third", &first, Some(token)).await;
    assert!(matches!(used, Err(StartError::Join(_))));
    // Made at any node, by one that has the authority.
    let (_, maker) = second.make_join_token(Duration::from_secs(60)).await.unwrap();
    assert!([node(1), node(2)].contains(&maker));

    // One of the same name is refused, and hears why.
    let (token, _) = first.make_join_token(Duration::from_secs(60)).await.unwrap();
    let seeds = vec![first.network().local_address().to_string()];
    let mut options = machines.options(
        "fourth",
        Formation::Join {
            seeds,
            token: Some(token),
        },
    );
    options.name = "second".to_owned();
    let fourth = Member::start(options).await.unwrap();
    let joined = tokio::time::timeout(Duration::from_secs(3), fourth.joined()).await;
    assert!(joined.is_err());
    assert!(matches!(fourth.status().await, Err(ChangeError::Unavailable(_))));
    for member in [first, second, fourth] {
        member.stop().await.unwrap();
    }
}
