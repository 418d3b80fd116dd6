//! Everything that nodes say comes back as it was, also by way of the library's own messages.

use ::raft::eraftpb;
use ::raft::eraftpb::MessageType;
use pliantdb_fuzzing::{Input, RUNS, bytes};

use super::raft::{Body, Rejected, Stamp, WireEntry, raft_snapshot};
use super::*;
use crate::group::config::{Members, MembershipChange};
use crate::group::payload::Payload;
use crate::ids::Epoch;

fn replica(node: u32) -> ReplicaId {
    ReplicaId::new(NodeId::new(node), 2)
}

fn point(index: u64, term: u64) -> LogPoint {
    LogPoint { index, term }
}

fn members() -> Members {
    Members {
        voters: [1, 2, 3].map(replica).into(),
        learners: [4].map(replica).into(),
        outgoing: [1, 5].map(replica).into(),
        learners_next: [5].map(replica).into(),
    }
}

fn entries() -> Vec<WireEntry> {
    let change = Payload::Membership {
        epoch: Epoch::default().next(),
        change: MembershipChange::Enter {
            voters: members().voters,
        },
    };
    let entry = |term, is_membership, payload| WireEntry {
        term,
        is_membership,
        payload,
    };
    vec![
        entry(2, false, Vec::new()),
        entry(2, false, Payload::Command(vec![1, 2, 3]).encode()),
        entry(3, true, change.encode()),
    ]
}

/// One of each kind that replicas send, with all that can be in it.
fn bodies() -> Vec<Body> {
    let mut bodies = vec![
        Body::Append {
            previous: point(7, 2),
            entries: entries(),
            commit: 6,
        },
        Body::Append {
            previous: point(7, 2),
            entries: Vec::new(),
            commit: 9,
        },
        Body::Heartbeat { commit: 5 },
        Body::HeartbeatAnswer { commit: 5 },
        Body::Snapshot {
            snapshot: u128::MAX - 3,
            at: point(11, 4),
            members: members(),
        },
        Body::TimeoutNow,
    ];
    let rejected = Rejected {
        hint: 3,
        hint_term: 1,
        request_snapshot: 0,
    };
    let snapshot = Rejected {
        request_snapshot: 12,
        ..rejected
    };
    for rejected in [None, Some(rejected), Some(snapshot)] {
        bodies.push(Body::Appended {
            index: 9,
            commit: 4,
            rejected,
        });
    }
    for is_pre_vote in [false, true] {
        for yes in [false, true] {
            bodies.push(Body::Vote {
                is_pre_vote,
                last: point(9, 3),
                committed: point(8, 3),
                is_transfer: yes,
            });
            bodies.push(Body::Voted {
                is_pre_vote,
                is_granted: yes,
                committed: point(8, 3),
            });
        }
    }
    bodies
}

fn message(body: Body) -> RaftMessage {
    RaftMessage {
        group: GroupId::new(3),
        incarnation: Incarnation::FIRST.next(NodeId::new(2)),
        from: replica(1),
        to: replica(2),
        term: 5,
        stamp: Some(Stamp {
            sent_at: Instant::from_nanos(77),
            committed: 4,
            asked_at: Some(Instant::from_nanos(78)),
        }),
        body,
    }
}

fn beat() -> Beat {
    Beat {
        process: u64::MAX,
        lost: 3,
    }
}

fn config() -> GroupConfig {
    GroupConfig {
        incarnation: Incarnation::FIRST,
        members: members(),
        epoch: Epoch::default().next(),
        changed_at: 8,
    }
}

/// One of each kind that nodes send.
fn messages() -> Vec<Message> {
    let fetch = Fetch {
        group: GroupId::new(3),
        to: replica(2),
        snapshot: 1 << 90,
        number: 2,
        after: vec![0, 255],
    };
    let chunk = |chunk| {
        Message::Chunk(FetchedChunk {
            group: GroupId::new(3),
            snapshot: 1 << 90,
            number: 2,
            chunk,
        })
    };
    let report = ReplicaReport {
        group: GroupId::new(3),
        replica: replica(2),
        incarnation: Incarnation::FIRST,
        term: 4,
        role: Role::Learner,
        last: point(9, 3),
        applied: 8,
        config: config(),
        is_installing: true,
        fork: Some(point(7, 2)),
        is_superseded: false,
        halted: Some("the disk is gone".to_owned()),
    };
    let mut messages: Vec<Message> = bodies()
        .into_iter()
        .map(|body| Message::Raft(message(body)))
        .collect();
    messages.extend([
        Message::Fetch(fetch),
        chunk(None),
        chunk(Some(SentChunk {
            bytes: vec![1; 300],
            next: Some(vec![9]),
        })),
        chunk(Some(SentChunk {
            bytes: Vec::new(),
            next: None,
        })),
        Message::Report(Report {
            sent_at: Instant::from_nanos(u64::MAX),
            process: 1 << 63,
            meta_applied: 12,
            apply_version: 3,
            replicas: vec![report],
        }),
        Message::Heard(Heard {
            sent_at: Instant::from_nanos(1),
            term: 9,
            meta_committed: 12,
            is_vouched: false,
            wants_all: true,
        }),
        Message::Order {
            group: GroupId::new(3),
            incarnation: Incarnation::FIRST,
            order: Order {
                epoch: Epoch::default().next(),
                voters: members().voters,
                learners: members().learners,
                leader: replica(1),
            },
        },
        Message::Join(Join {
            name: "node-3".to_owned(),
            token: 1 << 100,
            attributes: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            apply_version: 1,
        }),
        Message::Joined {
            cluster: 7,
            node: Ok(NodeId::new(4)),
        },
        Message::Joined {
            cluster: 7,
            node: Err("the name is taken".to_owned()),
        },
        Message::Sleep(Sleep {
            group: GroupId::new(3),
            incarnation: Incarnation::FIRST,
            from: replica(1),
            to: replica(2),
            term: 5,
            last: point(9, 3),
            sent_at: Instant::from_nanos(77),
            beat: beat(),
        }),
        Message::Beat(beat()),
        Message::Wake {
            group: GroupId::new(3),
            incarnation: Incarnation::FIRST,
            from: replica(2),
            to: replica(1),
        },
        Message::StepsAside,
        Message::AwaitsPromotion {
            left: Duration::from_millis(9_500),
        },
    ]);
    messages
}

fn envelope(messages: Vec<Message>) -> Envelope {
    Envelope {
        cluster: 1 << 120,
        from: Peer::Node(NodeId::new(1)),
        to: Peer::Joiner(5),
        messages,
    }
}

#[test]
fn everything_that_nodes_say_arrives() {
    for message in messages() {
        let sent = envelope(vec![message]);
        assert_eq!(Envelope::decode(&sent.encode().unwrap()), Ok(sent));
    }
    let sent = envelope(messages());
    assert_eq!(Envelope::decode(&sent.encode().unwrap()), Ok(sent));
}

#[test]
fn bytes_of_another_version_are_refused() {
    let mut bytes = envelope(Vec::new()).encode().unwrap();
    bytes[0] = WIRE_VERSION + 1;
    assert_eq!(
        Envelope::decode(&bytes),
        Err(Malformed::Version {
            found: WIRE_VERSION + 1
        })
    );
    assert!(matches!(Envelope::decode(&[]), Err(Malformed::Form(_))));
    assert!(matches!(
        Envelope::decode(&[WIRE_VERSION]),
        Err(Malformed::Form(_))
    ));
}

#[test]
fn what_replicas_say_is_the_same_for_the_library() {
    for body in bodies() {
        let sent = message(body);
        let (group, incarnation, stamp) = (sent.group, sent.incarnation, sent.stamp);
        let library = sent.clone().into_raft();
        assert_eq!(RaftMessage::of(group, incarnation, stamp, library), Some(sent));
    }
}

/// A message with what the library sets in any kind.
fn library_message(kind: MessageType) -> eraftpb::Message {
    let mut message = eraftpb::Message {
        from: replica(1).to_raft(),
        to: replica(2).to_raft(),
        term: 5,
        ..eraftpb::Message::default()
    };
    message.set_msg_type(kind);
    message
}

/// What the library itself makes, field by field as in its source (raft 0.7.0, `raft.rs`).
#[test]
fn what_the_library_says_arrives_whole() {
    let mut append = library_message(MessageType::MsgAppend);
    (append.index, append.log_term, append.commit) = (7, 2, 6);
    let of_library = entries()
        .into_iter()
        .zip(8..)
        .map(|(entry, index)| entry.into_raft(index));
    append.entries = of_library.collect::<Vec<_>>().into();

    let mut appended = library_message(MessageType::MsgAppendResponse);
    (appended.index, appended.commit) = (9, 4);
    let mut rejected = appended.clone();
    (rejected.reject, rejected.reject_hint, rejected.log_term) = (true, 3, 1);
    let mut requested = rejected.clone();
    requested.request_snapshot = 12;

    let mut vote = library_message(MessageType::MsgRequestVote);
    (vote.index, vote.log_term, vote.commit, vote.commit_term) = (9, 3, 8, 3);
    let mut transfer = vote.clone();
    transfer.context = b"CampaignTransfer".to_vec().into();
    let mut pre_vote = vote.clone();
    pre_vote.set_msg_type(MessageType::MsgRequestPreVote);

    let granted = library_message(MessageType::MsgRequestVoteResponse);
    let mut denied = granted.clone();
    (denied.reject, denied.commit, denied.commit_term) = (true, 8, 3);
    let mut pre_denied = denied.clone();
    pre_denied.set_msg_type(MessageType::MsgRequestPreVoteResponse);

    let mut heartbeat = library_message(MessageType::MsgHeartbeat);
    heartbeat.commit = 5;
    let mut answer = library_message(MessageType::MsgHeartbeatResponse);
    answer.commit = 5;

    let mut snapshot = library_message(MessageType::MsgSnapshot);
    snapshot.set_snapshot(raft_snapshot(17, point(11, 4), &members()));
    let timeout = library_message(MessageType::MsgTimeoutNow);

    for sent in [
        append, appended, rejected, requested, vote, transfer, pre_vote, granted, denied, pre_denied,
        heartbeat, answer, snapshot, timeout,
    ] {
        let ours = RaftMessage::of(GroupId::new(1), Incarnation::FIRST, None, sent.clone()).unwrap();
        assert_eq!(ours.into_raft(), sent);
    }
}

#[test]
fn what_stays_within_a_replica_is_not_sent() {
    for kind in [
        MessageType::MsgHup,
        MessageType::MsgBeat,
        MessageType::MsgPropose,
        MessageType::MsgUnreachable,
        MessageType::MsgSnapStatus,
        MessageType::MsgCheckQuorum,
        MessageType::MsgTransferLeader,
        MessageType::MsgReadIndex,
        MessageType::MsgReadIndexResp,
    ] {
        let message = library_message(kind);
        assert_eq!(
            RaftMessage::of(GroupId::new(1), Incarnation::FIRST, None, message),
            None,
            "{kind:?}"
        );
    }
}

/// docs/testing.md
/// Entries of so many terms, one each, behind a point.
fn append(previous: LogPoint, terms: &[u64], commit: u64) -> RaftMessage {
    let entry = |term| WireEntry {
        term,
        is_membership: false,
        payload: vec![0; 10],
    };
    message(Body::Append {
        previous,
        entries: terms.iter().copied().map(entry).collect(),
        commit,
    })
}

fn appended(index: u64, commit: u64) -> RaftMessage {
    message(Body::Appended {
        index,
        commit,
        rejected: None,
    })
}

#[test]
fn entries_that_follow_each_other_go_in_one_message() {
    let mut first = append(point(7, 2), &[2, 3], 6);
    let mut next = append(point(9, 3), &[3], 8);
    next.stamp = Some(Stamp {
        sent_at: Instant::from_nanos(99),
        committed: 8,
        asked_at: None,
    });
    let stamp = next.stamp;
    assert_eq!(first.take_in(next, 30), None);
    let mut both = append(point(7, 2), &[2, 3, 3], 8);
    both.stamp = stamp;
    assert_eq!(first, both);
    // What only tells of the commit index follows too.
    let mut told = append(point(10, 3), &[], 10);
    told.stamp = stamp;
    assert_eq!(first.take_in(told, 30), None);
    both.body = append(point(7, 2), &[2, 3, 3], 10).body;
    assert_eq!(first, both);
}

#[test]
fn what_does_not_follow_goes_by_itself() {
    let first = || append(point(7, 2), &[2, 3], 6);
    let mut of_another_term = append(point(9, 3), &[3], 8);
    of_another_term.term += 1;
    let mut to_another = append(point(9, 3), &[3], 8);
    to_another.to = replica(3);
    for next in [
        append(point(10, 3), &[3], 8),
        append(point(9, 2), &[3], 8),
        append(point(8, 2), &[3], 8),
        append(point(9, 3), &[3], 5),
        append(point(9, 3), &[3, 3], 8),
        of_another_term,
        to_another,
        message(Body::Heartbeat { commit: 8 }),
        appended(9, 8),
    ] {
        let mut before = first();
        assert_eq!(before.take_in(next.clone(), 30), Some(next));
        assert_eq!(before, first());
    }
}

#[test]
fn an_answer_to_later_entries_stands_for_the_one_before() {
    let mut first = appended(7, 5);
    assert_eq!(first.take_in(appended(9, 6), 30), None);
    assert_eq!(first, appended(9, 6));
    let rejected = message(Body::Appended {
        index: 12,
        commit: 6,
        rejected: Some(Rejected {
            hint: 3,
            hint_term: 1,
            request_snapshot: 0,
        }),
    });
    for next in [appended(8, 6), appended(10, 5), rejected] {
        assert_eq!(first.take_in(next.clone(), 30), Some(next));
        assert_eq!(first, appended(9, 6));
    }
}

#[test]
fn fuzz_envelopes() {
    let seeds: Vec<Vec<u8>> = messages()
        .into_iter()
        .map(|message| envelope(vec![message]).encode().unwrap())
        .collect();
    bolero::check!()
        .with_iterations(RUNS)
        .with_type::<Input>()
        .for_each(|input| {
            let bytes = bytes(input, &seeds);
            if let Ok(found) = Envelope::decode(&bytes) {
                assert_eq!(Envelope::decode(&found.encode().unwrap()).as_ref(), Ok(&found));
                for message in found.messages {
                    if let Message::Raft(message) = message {
                        let _ = message.into_raft();
                    }
                }
            }
        });
}
