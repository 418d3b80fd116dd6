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

    cluster.step(0, Input::Space { is_short: true });
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

    cluster.step(0, Input::Space { is_short: false });
    let written = cluster.answer(0, write("3"));
    assert!(
        matches!(written, Some(Answer::Written { result: Ok(_), .. })),
        "{written:?}"
    );
}
