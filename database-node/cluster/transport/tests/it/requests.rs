//! Requests between nodes, beside the envelopes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pliantdb_cluster_driver::Transport;
use pliantdb_cluster_transport::{Hooks, MAX_REQUEST, Network, OutletError, RequestError};
use tokio::task::JoinSet;

use crate::machines::{Machines, beat, beats, envelope, id, network_at, peer, receive, tell, until};

const SOON: Duration = Duration::from_secs(10);

/// Two nodes, of which the second answers with what it was asked and who asked. `wait` waits for ever, `large` answers too
/// much; who is being answered is counted.
fn two(machines: &Machines) -> (Network, Network, Arc<AtomicUsize>) {
    let (one, two) = (machines.network(1), machines.network(2));
    let answering = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&answering);
    let (sender, _) = std::sync::mpsc::channel();
    let hooks = Hooks::new(receive(sender)).answering(move |from, request: Bytes| {
        let counted = Count::new(&counted);
        async move {
            match request.as_ref() {
                b"wait" => std::future::pending().await,
                b"slow" => tokio::time::sleep(Duration::from_millis(300)).await,
                b"large" => return vec![0; MAX_REQUEST + 1].into(),
                _ => {}
            }
            drop(counted);
            Bytes::from([from.to_string().as_bytes(), &request].concat())
        }
    });
    two.start(hooks);
    tell(&one, 2, &two);
    (one, two, answering)
}

struct Count(Arc<AtomicUsize>);

impl Count {
    fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counter))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_and_what_it_may_be_is_bounded() {
    let machines = Machines::new();
    let (one, two, answering) = two(&machines);
    let ask = |request: &'static [u8]| one.request(id(2), Bytes::from_static(request), SOON);
    assert_eq!(ask(b" asks").await, Ok(Bytes::from_static(b"n1 asks")));
    assert_eq!(ask(b"").await, Ok(Bytes::from_static(b"n1")));
    // The largest there and back, less what is put before it.
    let large = Bytes::from(vec![7; MAX_REQUEST - 2]);
    let answer = one.request(id(2), large.clone(), SOON).await.unwrap();
    assert!(answer.len() == MAX_REQUEST && answer.ends_with(&large));
    let length = MAX_REQUEST + 1;
    let too_large = one.request(id(2), vec![0; length].into(), SOON).await;
    assert_eq!(too_large, Err(RequestError::TooLarge { length }));
    let node = id(2);
    assert_eq!(
        ask(b"large").await,
        Err(RequestError::AnswerTooLarge { node, length })
    );
    assert_eq!(
        one.request(id(9), Bytes::new(), SOON).await,
        Err(RequestError::UnknownNode(id(9)))
    );

    // Whoever does not wait any more is not answered any more.
    let began = Instant::now();
    let late = one
        .request(id(2), Bytes::from_static(b"wait"), Duration::from_millis(200))
        .await;
    assert!(matches!(late, Err(RequestError::Unknown { .. })), "{late:?}");
    assert!(began.elapsed() < Duration::from_secs(2));
    until("it is given up", || answering.load(Ordering::SeqCst) == 0).await;

    // More than there are places for.
    let one = Arc::new(one);
    let mut asked = JoinSet::new();
    for number in 0..300_u32 {
        let one = Arc::clone(&one);
        asked.spawn(async move {
            let request = Bytes::copy_from_slice(&number.to_be_bytes());
            let answer = one.request(id(2), request, SOON).await.unwrap();
            assert_eq!(answer[2..], number.to_be_bytes());
        });
    }
    while let Some(ended) = asked.join_next().await {
        ended.unwrap();
    }
    assert_eq!(two.counters().requests_answered, 304);

    // The other way nobody answers.
    tell(&two, 1, &one);
    one.start(Hooks::new(|_, _| {}));
    let refused = two.request(id(1), Bytes::new(), SOON).await;
    assert!(
        matches!(refused, Err(RequestError::Refused { .. })),
        "{refused:?}"
    );
}

/// They wait for seconds, so they do it at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_its_time() {
    tokio::join!(
        requests_that_fill_all_places_delay_neither_consensus_nor_what_is_urgent(),
        a_node_that_goes_away_is_told_from_one_that_was_never_there(),
    );
}

async fn requests_that_fill_all_places_delay_neither_consensus_nor_what_is_urgent() {
    let machines = Machines::new();
    let (one, two, _) = two(&machines);
    let (sender, heard) = std::sync::mpsc::channel();
    let third = machines.network(3);
    third.start(
        Hooks::new(receive(sender)).answering(|_, request: Bytes| async move {
            match request.as_ref() {
                b"urgent" => request,
                _ => std::future::pending().await,
            }
        }),
    );
    tell(&one, 3, &third);
    let one = Arc::new(one);
    let mut asked = JoinSet::new();
    // Those that find no place are the first to give up.
    for (count, seconds) in [(64, 3), (36, 2)] {
        for _ in 0..count {
            let one = Arc::clone(&one);
            let (request, deadline) = (Bytes::from(vec![0; 4 << 20]), Duration::from_secs(seconds));
            asked.spawn(async move { one.request(id(3), request, deadline).await });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The memory for requests is full, and all streams.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let (urgent, shortly) = (Bytes::from_static(b"urgent"), Duration::from_millis(500));
    assert_eq!(one.inquire(id(3), urgent.clone(), shortly).await, Ok(urgent));
    let mut sender = one.sender();
    for number in 0..10 {
        let began = Instant::now();
        sender.send(peer(3), envelope(1, 3, vec![beat(number)]));
        let mut all = Vec::new();
        until("heard", || {
            all.extend(heard.try_iter().map(|(_, envelope)| envelope));
            beats(all.clone()) == [number]
        })
        .await;
        assert!(
            began.elapsed() < Duration::from_millis(500),
            "{:?}",
            began.elapsed()
        );
    }
    let mut unasked = 0;
    while let Some(ended) = asked.join_next().await {
        match ended.unwrap() {
            Err(RequestError::Unknown { .. }) => {}
            Err(RequestError::NotAsked(_)) => unasked += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(unasked, 36);
    drop(two);
}

async fn a_node_that_goes_away_is_told_from_one_that_was_never_there() {
    let machines = Machines::new();
    let (one, two, _) = two(&machines);
    let address = two.local_address();
    assert!(one.request(id(2), Bytes::new(), SOON).await.is_ok());
    let (asked, ()) = tokio::join!(one.request(id(2), Bytes::from_static(b"wait"), SOON), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        two.close().await;
    });
    assert!(matches!(asked, Err(RequestError::Unknown { .. })), "{asked:?}");
    let asked = one.request(id(2), Bytes::new(), Duration::from_secs(8)).await;
    assert!(
        matches!(asked, Err(RequestError::Unreachable { .. })),
        "{asked:?}"
    );
    let asked = one.request(id(2), Bytes::new(), Duration::from_millis(100)).await;
    assert!(
        matches!(
            asked,
            Err(RequestError::NotAsked(_) | RequestError::Unreachable { .. })
        ),
        "{asked:?}"
    );
    // It is back.
    let again = network_at(address, &machines.credentials(2)).await;
    again.set_identity(crate::machines::CLUSTER, id(2));
    again.start(Hooks::new(|_, _| {}).answering(|_, request| async { request }));
    let mut asked = Err(RequestError::NotAsked(id(2)));
    for _ in 0..10 {
        asked = one.request(id(2), Bytes::from_static(b"again"), SOON).await;
        if asked.is_ok() {
            break;
        }
    }
    assert_eq!(asked, Ok(Bytes::from_static(b"again")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_can_be_many_messages() {
    let machines = Machines::new();
    let (one, two) = (machines.network(1), machines.network(2));
    let streaming = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&streaming);
    two.start(Hooks::new(|_, _| {}).streaming(move |_, request, outlet| {
        let counted = Count::new(&counted);
        async move {
            let many = u64::from_be_bytes(request[..].try_into().unwrap());
            let mut number = 0_u64;
            while number < many
                && outlet
                    .send(Bytes::copy_from_slice(&number.to_be_bytes()))
                    .await
                    .is_ok()
            {
                number += 1;
            }
            let too_large = outlet.send(vec![0; MAX_REQUEST + 1].into()).await;
            assert!(number < many || matches!(too_large, Err(OutletError::TooLarge { .. })));
            if many == 7 {
                std::future::pending::<()>().await;
            }
            drop(counted);
        }
    }));
    tell(&one, 2, &two);
    let ask = |many: u64| one.stream(id(2), Bytes::copy_from_slice(&many.to_be_bytes()), SOON);
    // To the end, and no further.
    for many in [0, 1000] {
        let mut answers = ask(many).await.unwrap();
        for number in 0..many {
            assert_eq!(
                answers.next().await,
                Ok(Some(Bytes::copy_from_slice(&number.to_be_bytes())))
            );
        }
        assert_eq!((answers.next().await, answers.next().await), (Ok(None), Ok(None)));
    }
    // Without an end: whoever does not read is waited for, and whoever does not listen is not sent anything more.
    let mut answers = ask(u64::MAX).await.unwrap();
    for _ in 0..100 {
        // Nothing is lost when it is not waited for.
        let _ = tokio::time::timeout(Duration::ZERO, answers.next()).await;
    }
    let next = answers.next().await.unwrap().unwrap();
    assert!(u64::from_be_bytes(next[..].try_into().unwrap()) <= 100);
    assert_eq!(streaming.load(Ordering::SeqCst), 1);
    drop(answers);
    until("nobody streams", || streaming.load(Ordering::SeqCst) == 0).await;
    // One that breaks off is told from one that ends.
    let mut answers = ask(7).await.unwrap();
    for _ in 0..7 {
        assert!(answers.next().await.unwrap().is_some());
    }
    let (next, ()) = tokio::join!(answers.next(), two.close());
    assert!(matches!(next, Err(RequestError::Unknown { .. })), "{next:?}");
    until("nobody streams", || streaming.load(Ordering::SeqCst) == 0).await;
    // Who answers none refuses.
    let third = machines.network(3);
    third.start(Hooks::new(|_, _| {}));
    tell(&one, 3, &third);
    let refused = one.stream(id(3), Bytes::new(), SOON).await;
    let Err(RequestError::Refused { reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(reason, "it answers no such requests");
}
