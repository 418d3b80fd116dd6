//! A disk that is nearly full.

use super::*;

fn write(text: &str) -> Ask {
    let change = DocumentChange {
        collection: collection(),
        id: document(),
        precondition: Precondition::None,
        action: DocumentAction::Put {
            body: Body::parse(text.to_owned().into_bytes()).unwrap(),
            emitted: Vec::new(),
        },
    };
    let action = WriteAction::Transact(vec![change]);
    let operation = Operation::write("database-0".parse().unwrap(), action, None);
    let group = GROUP;
    Ask::Write { group, operation }
}

#[test]
fn a_leader_that_is_short_of_room_answers_reads_and_refuses_writes() {
    let mut cluster = Cluster::asleep(1, 1, false);
    let written = cluster.answer(0, write("1"));
    assert!(
        matches!(written, Some(Answer::Written { result: Ok(_), .. })),
        "{written:?}"
    );

    cluster.step(0, Input::Space(Room::Little));
    assert_eq!(
        cluster.answer(0, write("2")),
        Some(Answer::Refused(Refusal::DiskFull))
    );
    for freshness in [Freshness::Linearizable, Freshness::Quorum] {
        let answer = cluster.read(0, freshness);
        let Some(Answer::Read {
            result: Ok(Response::Documents(found)),
            ..
        }) = answer
        else {
            panic!("{answer:?}");
        };
        assert_eq!(found.first().map(|document| document.body.as_str()), Some("1"));
    }
    // What the cluster itself has to note goes on.
    let (name, slots) = ("other".parse().unwrap(), SlotCount::try_from(4).unwrap());
    cluster.change(MetaCommand::CreateDatabase { name, slots });

    cluster.step(0, Input::Space(Room::Enough));
    let written = cluster.answer(0, write("3"));
    assert!(
        matches!(written, Some(Answer::Written { result: Ok(_), .. })),
        "{written:?}"
    );
}

fn delete() -> Ask {
    let change = DocumentChange {
        collection: collection(),
        id: document(),
        precondition: Precondition::None,
        action: DocumentAction::Delete,
    };
    let operation = Operation::write(
        "database-0".parse().unwrap(),
        WriteAction::Transact(vec![change]),
        None,
    );
    let group = GROUP;
    Ask::Write { group, operation }
}

#[test]
fn what_frees_room_is_taken_while_there_is_a_little_and_logs_give_theirs_back() {
    let mut cluster = Cluster::asleep(2, 1, false);
    for text in ["1", "2", "3"] {
        let written = cluster.answer(0, write(text));
        assert!(
            matches!(written, Some(Answer::Written { result: Ok(_), .. })),
            "{written:?}"
        );
    }
    let kept = |cluster: &Cluster| {
        let (node, _) = cluster.machines[0].process.as_ref().unwrap();
        node.groups[&GROUP].log().len()
    };
    assert!(kept(&cluster) >= 3);
    cluster.step(0, Input::Space(Room::None));
    assert_eq!(
        cluster.answer(0, delete()),
        Some(Answer::Refused(Refusal::DiskFull))
    );
    cluster.step(0, Input::Space(Room::Little));
    let deleted = cluster.answer(0, delete());
    assert!(
        matches!(deleted, Some(Answer::Written { result: Ok(_), .. })),
        "{deleted:?}"
    );
    // The other one has all of it, so it needs nothing of the log.
    cluster.step(0, Input::Space(Room::Little));
    assert_eq!(kept(&cluster), 0);
    cluster.step(0, Input::Space(Room::Enough));
    let written = cluster.answer(0, write("4"));
    assert!(
        matches!(written, Some(Answer::Written { result: Ok(_), .. })),
        "{written:?}"
    );
    assert_eq!(
        cluster.machines[1].process.as_ref().unwrap().0.groups[&GROUP].last(),
        {
            let (node, _) = cluster.machines[0].process.as_ref().unwrap();
            node.groups[&GROUP].last()
        }
    );
}
