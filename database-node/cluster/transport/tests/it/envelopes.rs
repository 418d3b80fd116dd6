//! Envelopes between networks: their order, their bounds, who may send them, and bad ways.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pliantdb_cluster::wire::{Envelope, Message, Peer};
use pliantdb_cluster_driver::Transport;
use pliantdb_cluster_transport::{Hooks, Network, Options, TransportEvent};
use pliantdb_core::protocol::framed;
use tokio::task::spawn_blocking;

use crate::machines::{
    CLUSTER, Machines, any, append, beat, beats, chunk, envelope, hear, id, network_at, peer, receive, tell,
    until,
};
use crate::plain::{Like, NODE, connect};
use crate::relay::Relay;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envelopes_come_in_their_order_and_together() {
    let machines = Machines::new();
    let (one, two) = (machines.network(1), machines.network(2));
    let (at_one, at_two) = (hear(&one), hear(&two));
    tell(&one, 2, &two);
    tell(&two, 1, &one);
    let mut sender = one.sender();
    for number in 0..2000 {
        sender.send(peer(2), envelope(1, 2, vec![beat(number)]));
    }
    two.sender().send(peer(1), envelope(2, 1, vec![beat(5)]));
    until("sent", || one.counters().messages_sent == 2000).await;
    let mut all = Vec::new();
    until("all", || {
        all.extend(at_two.try_iter().map(|(_, envelope)| envelope));
        beats(all.clone()).len() == 2000
    })
    .await;
    assert!(beats(all.clone()).into_iter().eq(0..2000));
    assert!(
        all.iter()
            .all(|envelope| envelope.from == peer(1) && envelope.to == peer(2))
    );
    let back = spawn_blocking(move || at_one.recv_timeout(Duration::from_secs(10)));
    assert_eq!(beats([back.await.unwrap().unwrap().1]), [5]);
    // What waited for the connection went in few envelopes.
    let (sent, received) = (one.counters(), two.counters());
    assert!(sent.envelopes_sent < 1000, "{sent:?}");
    assert_eq!(sent.envelopes_sent, received.envelopes_received);
    assert_eq!(sent.bytes_sent, received.bytes_received);
    let status = &one.peers()[0];
    assert_eq!(status.connected_to, Some(two.local_address()));
    assert!(status.round_trip.unwrap() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_in_the_name_of_another_closes_the_connection() {
    let machines = Machines::new();
    let network = machines.network(1);
    let heard = hear(&network);
    let shown = machines.show(&Like::default());
    let others = Envelope {
        cluster: CLUSTER + 1,
        ..envelope(2, 1, vec![beat(9)])
    };
    for wrong in [envelope(3, 1, vec![beat(9)]), others] {
        let plain = connect(Some(&shown), NODE, network.local_address())
            .await
            .unwrap();
        plain.greet(CLUSTER, peer(2), 1).await.unwrap();
        let mut bytes = vec![1];
        framed(&envelope(2, 1, vec![beat(1)]).encode().unwrap(), &mut bytes).unwrap();
        framed(&wrong.encode().unwrap(), &mut bytes).unwrap();
        framed(&envelope(2, 1, vec![beat(2)]).encode().unwrap(), &mut bytes).unwrap();
        let mut stream = plain.connection.open_uni().await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let (code, reason) = plain.closed().await;
        assert!(
            code == 5 && reason.contains("an envelope is from"),
            "{code} {reason}"
        );
        assert_eq!(beats(heard.try_iter().map(|(_, envelope)| envelope)), [1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_closes_the_connection_and_no_more() {
    let machines = Machines::new();
    let network = machines.network(1);
    let heard = hear(&network);
    let shown = machines.show(&Like::default());
    let greeted = async || {
        let plain = connect(Some(&shown), NODE, network.local_address())
            .await
            .unwrap();
        plain.greet(CLUSTER, peer(2), 1).await.unwrap();
        plain
    };
    // Greetings.
    let too_long = vec![1; 1000];
    for (first, code) in [
        (&b""[..], 1),
        (&b"\x02abc"[..], 1),
        (&b"\x01"[..], 1),
        (too_long.as_slice(), 1),
    ] {
        let plain = connect(Some(&shown), NODE, network.local_address())
            .await
            .unwrap();
        plain.say(first).await.unwrap();
        assert_eq!(plain.closed().await.0, code, "{first:?}");
    }
    // Of another cluster; in the name of the node itself.
    for (cluster, name) in [(CLUSTER + 1, 2), (CLUSTER, 1)] {
        let plain = connect(Some(&shown), NODE, network.local_address())
            .await
            .unwrap();
        assert_eq!(plain.greet(cluster, peer(name), 1).await, None);
        assert_eq!(plain.closed().await.0, 4);
    }
    // Streams: of no kind; too long; no envelope.
    let mut garbage = vec![1];
    framed(&[1, 255, 255, 255], &mut garbage).unwrap();
    for bytes in [vec![9], [&[1], &u32::MAX.to_be_bytes()[..]].concat(), garbage] {
        let plain = greeted().await;
        let mut stream = plain.connection.open_uni().await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        assert_eq!(plain.closed().await.0, 1, "{bytes:?}");
    }
    let plain = greeted().await;
    let (mut send, _receive) = plain.connection.open_bi().await.unwrap();
    send.write_all(&[9, 0, 0, 0, 0]).await.unwrap();
    assert_eq!(plain.closed().await.0, 1);
    // Others go on.
    let two = machines.network(2);
    tell(&two, 1, &network);
    two.sender().send(peer(1), envelope(2, 1, vec![beat(1)]));
    until("it is heard", || heard.try_recv().is_ok()).await;
}

/// They wait for seconds, so they do it at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_its_time() {
    tokio::join!(
        a_peer_that_does_not_answer_stops_nobody_and_fills_nothing(),
        a_way_that_is_cut_is_given_up_in_seconds_and_taken_up_again(),
        two_processes_that_are_one_node_are_noticed(),
    );
}

async fn a_peer_that_does_not_answer_stops_nobody_and_fills_nothing() {
    let machines = Machines::new();
    let options = Options {
        max_waiting_bulk: 1 << 20,
        ..Options::default()
    };
    let one = machines.network_with(1, options);
    let two = machines.network(2);
    let heard = hear(&two);
    let silent = UdpSocket::bind(any()).unwrap();
    one.set_address(id(3), &silent.local_addr().unwrap().to_string());
    one.set_address(id(4), "no.such.host.invalid:6482");
    tell(&one, 2, &two);
    let mut sender = one.sender();
    let mut longest = Duration::ZERO;
    let mut seen = Vec::new();
    for number in 0..200 {
        let began = Instant::now();
        for to in [3, 4, 2] {
            sender.send(peer(to), envelope(1, to, vec![beat(number)]));
        }
        sender.send(peer(3), envelope(1, 3, vec![chunk(0, 100 << 10)]));
        sender.send(peer(9), envelope(1, 9, vec![beat(number)]));
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
        seen.extend(heard.try_iter().map(|(_, envelope)| envelope));
        let waiting = one.peers().iter().map(|status| status.waiting).max().unwrap();
        assert!(waiting <= 2 << 20, "{waiting}");
    }
    until("all for the one that is there", || {
        seen.extend(heard.try_iter().map(|(_, envelope)| envelope));
        beats(seen.clone()).into_iter().eq(0..200)
    })
    .await;
    // Sending is putting something into a queue.
    assert!(longest < Duration::from_millis(100), "{longest:?}");
    let counters = one.counters();
    assert!(counters.dropped_full > 0, "{counters:?}");
    assert_eq!(counters.dropped_no_address, 200);
    until("it is given up", || {
        one.peers()[1].reason.contains("does not answer") && one.peers()[2].failures > 0
    })
    .await;
}

async fn a_way_that_is_cut_is_given_up_in_seconds_and_taken_up_again() {
    let machines = Machines::new();
    let (one, two) = (machines.network(1), machines.network(2));
    let heard = hear(&two);
    let relay = Relay::new(two.local_address(), 100 << 20).await;
    one.set_address(id(2), &relay.address.to_string());
    let mut sender = one.sender();
    let mut send = |number| sender.send(peer(2), envelope(1, 2, vec![beat(number)]));
    send(1);
    until("heard", || heard.try_recv().is_ok()).await;
    // It is kept though nothing is said.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(one.peers()[0].round_trip.is_some());
    assert_eq!(one.counters().connections_made, 1);
    // A process that is gone without a word, and comes back: what is sent to the one before is answered by the one after.
    relay.cut(true);
    let address = two.local_address();
    drop(two);
    let two = network_at(address, &machines.credentials(2)).await;
    two.set_identity(CLUSTER, id(2));
    let heard = hear(&two);
    relay.cut(false);
    let back = Instant::now();
    until("heard by the one after", || {
        send(2);
        heard.try_recv().is_ok()
    })
    .await;
    assert!(
        back.elapsed() < Duration::from_millis(1500),
        "{:?}",
        back.elapsed()
    );
    relay.cut(true);
    let cut = Instant::now();
    until("given up", || one.peers()[0].round_trip.is_none()).await;
    assert!(cut.elapsed() < Duration::from_secs(4), "{:?}", cut.elapsed());
    send(2);
    relay.cut(false);
    until("heard again", || {
        send(3);
        beats(heard.try_iter().map(|(_, envelope)| envelope)).contains(&3)
    })
    .await;
}

/// Over a way of 4 MiB/s with a router's queue, as many chunks and then also entries as it takes: beats come at their pace
/// all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_and_entries_do_not_delay_what_is_urgent() {
    let machines = Machines::new();
    let (one, two) = (machines.network(1), machines.network(2));
    let heard = hear(&two);
    let relay = Relay::new(two.local_address(), 4 << 20).await;
    one.set_address(id(2), &relay.address.to_string());
    let mut sender = one.sender();
    let began = Instant::now();
    let mut sent = Vec::new();
    for number in 0..40 {
        // Far more than goes through: what has no room is dropped.
        for _ in 0..8 {
            sender.send(peer(2), envelope(1, 2, vec![chunk(0, 256 << 10)]));
            if number >= 20 {
                sender.send(peer(2), envelope(1, 2, vec![append(1, 2, 256 << 10)]));
            }
        }
        sent.push(Instant::now());
        sender.send(peer(2), envelope(1, 2, vec![beat(number)]));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (mut chunks, mut late_chunks, mut appends, mut latencies) = (0, 0, 0, Vec::new());
    until("all beats", || {
        for (at, envelope) in heard.try_iter() {
            for message in envelope.messages {
                match message {
                    Message::Beat(beat) => latencies.push(at - sent[usize::try_from(beat.lost).unwrap()]),
                    Message::Chunk(_) if appends == 0 => chunks += 1,
                    Message::Chunk(_) => late_chunks += 1,
                    _ => appends += 1,
                }
            }
        }
        latencies.len() == 40
    })
    .await;
    let took = began.elapsed();
    latencies.sort();
    let (median, longest) = (latencies[20], latencies[39]);
    println!(
        "{chunks} chunks, then {appends} appends and {late_chunks} chunks of 256 KiB in {took:?}; beats took {median:?} in the \
         median, {longest:?} at most"
    );
    assert!(chunks >= 3 && appends >= 3, "{chunks} {appends}");
    // Chunks get what logs leave.
    assert!(late_chunks <= appends / 2, "{late_chunks} {appends}");
    // An election begins when nothing is heard for a second.
    assert!(
        longest < Duration::from_millis(700) && median < Duration::from_millis(250),
        "{median:?} {longest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_sent_nothing_where_another_is() {
    let machines = Machines::new();
    let (one, two) = (machines.network(1), machines.network(2));
    let heard = hear(&two);
    let at_one = hear(&one);
    let mut sender = one.sender();
    // Another node; this node itself; one that is none yet.
    let nobody = Network::bind(any(), machines.credentials(3), Options::default()).unwrap();
    let at_nobody = hear(&nobody);
    for (node, network, reason) in [
        (3, &two, "its address has changed"),
        (4, &one, "this node itself"),
        (5, &nobody, "not part of a cluster"),
    ] {
        one.set_address(id(node), &network.local_address().to_string());
        sender.send(peer(node), envelope(1, node, vec![beat(1)]));
        let status = || {
            one.peers()
                .into_iter()
                .find(|status| status.node == id(node))
                .unwrap()
        };
        until(reason, || status().reason.contains(reason)).await;
    }
    for heard in [&heard, &at_one, &at_nobody] {
        assert!(heard.try_recv().is_err());
    }
    // When it is one, it is sent what is for it.
    nobody.set_identity(CLUSTER, id(5));
    until("heard", || {
        sender.send(peer(5), envelope(1, 5, vec![beat(1)]));
        at_nobody.try_recv().is_ok()
    })
    .await;
    // And under another address too.
    let elsewhere = machines.network(6);
    let at_elsewhere = hear(&elsewhere);
    elsewhere.set_identity(CLUSTER, id(6));
    one.set_address(id(6), "127.0.0.1:9");
    sender.send(peer(6), envelope(1, 6, vec![beat(1)]));
    tell(&one, 6, &elsewhere);
    until("heard elsewhere", || {
        sender.send(peer(6), envelope(1, 6, vec![beat(1)]));
        at_elsewhere.try_recv().is_ok()
    })
    .await;
    one.remove_address(id(6));
    let before = one.counters().dropped_no_address;
    sender.send(peer(6), envelope(1, 6, vec![beat(1)]));
    assert_eq!(one.counters().dropped_no_address, before + 1);
}

async fn two_processes_that_are_one_node_are_noticed() {
    let machines = Machines::new();
    let network = machines.network(1);
    let events: Arc<Mutex<Vec<TransportEvent>>> = Arc::default();
    let telling = Arc::clone(&events);
    let (sender, _heard) = std::sync::mpsc::channel();
    network.start(Hooks::new(receive(sender)).telling(move |event| telling.lock().unwrap().push(event)));
    let copies: Vec<_> = (0..2).map(|_| machines.network(2)).collect();
    let restarted: Vec<_> = (0..2).map(|_| machines.network(3)).collect();
    let send = |of: &Network, node| {
        tell(of, 1, &network);
        of.sender().send(peer(1), envelope(node, 1, vec![beat(1)]));
    };
    for copy in &copies {
        send(copy, 2);
    }
    let mut addresses: Vec<_> = copies.iter().map(Network::local_address).collect();
    // One that comes back elsewhere is no copy.
    let mut restarted = restarted.into_iter();
    let (first, second) = (restarted.next().unwrap(), restarted.next().unwrap());
    send(&first, 3);
    until("taken", || network.counters().connections_taken == 3).await;
    drop(first);
    send(&second, 3);
    until("noticed", || !events.lock().unwrap().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let events = events.lock().unwrap().clone();
    let [
        TransportEvent::TwoProcesses {
            node,
            addresses: told,
        },
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    let mut told = told.to_vec();
    addresses.sort();
    told.sort();
    assert_eq!((*node, told), (id(2), addresses));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_that_goes_on_looking_is_answered_however_long_that_takes() {
    let machines = Machines::new();
    let one = machines.network(1);
    let at_one = hear(&one);
    let joiner = Network::bind(any(), machines.credentials(3), Options::default()).unwrap();
    let at_joiner = hear(&joiner);
    let seeds = [one.local_address().to_string()];
    let found: Mutex<Vec<Vec<Peer>>> = Mutex::default();
    let joining = joiner.join(99, &seeds, |peers| found.lock().unwrap().push(peers));
    let asking = async {
        until("it is found", || !found.lock().unwrap().is_empty()).await;
        let token = Peer::Joiner(99);
        let question = Envelope {
            cluster: 0,
            from: token,
            to: peer(1),
            messages: vec![beat(1)],
        };
        joiner.sender().send(peer(1), question);
        until("asked", || {
            at_one
                .try_recv()
                .is_ok_and(|(_, envelope)| envelope.from == token)
        })
        .await;
        // Meanwhile it looks again who is there, twice a second.
        tokio::time::sleep(Duration::from_millis(1300)).await;
        let mut answer = envelope(1, 0, vec![beat(1)]);
        answer.to = token;
        one.sender().send(token, answer);
        until("answered", || {
            at_joiner
                .try_recv()
                .is_ok_and(|(_, envelope)| envelope.from == peer(1))
        })
        .await;
        joiner.set_identity(CLUSTER, id(3));
    };
    tokio::join!(joining, asking);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_is_answered_over_the_connection_by_which_it_asks() {
    let machines = Machines::new();
    let (one, two) = (machines.network(1), machines.network(2));
    let (at_one, at_two) = (hear(&one), hear(&two));
    tell(&one, 2, &two);
    tell(&two, 1, &one);
    let joiner = Network::bind(any(), machines.credentials(3), Options::default()).unwrap();
    let at_joiner = hear(&joiner);
    let nowhere = UdpSocket::bind(any()).unwrap().local_addr().unwrap();
    let found: Mutex<Vec<Vec<Peer>>> = Mutex::default();
    // Of the two it is told of one; itself, and where nobody is, it does not find.
    let seeds = [
        joiner.local_address().to_string(),
        nowhere.to_string(),
        two.local_address().to_string(),
    ];
    let joining = joiner.join(99, &seeds, |peers| found.lock().unwrap().push(peers));
    let asking = async {
        until("both are found", || !found.lock().unwrap().is_empty()).await;
        assert_eq!(*found.lock().unwrap(), [[peer(1), peer(2)]]);
        let token = Peer::Joiner(99);
        let mut sender = joiner.sender();
        for to in [1, 2] {
            sender.send(
                peer(to),
                Envelope {
                    cluster: 0,
                    from: token,
                    to: peer(to),
                    messages: vec![beat(1)],
                },
            );
        }
        for heard in [&at_one, &at_two] {
            until("asked", || {
                heard.try_recv().is_ok_and(|(_, envelope)| envelope.from == token)
            })
            .await;
        }
        // Both answer.
        for (network, from) in [(&one, 1), (&two, 2)] {
            let mut answer = envelope(from, 0, vec![beat(from.into())]);
            answer.to = token;
            network.sender().send(token, answer);
            until("answered", || {
                at_joiner
                    .try_recv()
                    .is_ok_and(|(_, envelope)| envelope.from == peer(from))
            })
            .await;
        }
        joiner.set_identity(CLUSTER, id(3));
        until("it is a node", || {
            sender.send(peer(1), envelope(3, 1, vec![beat(2)]));
            at_one
                .try_recv()
                .is_ok_and(|(_, envelope)| envelope.from == peer(3))
        })
        .await;
    };
    tokio::join!(joining, asking);
    // Nobody is left to be answered.
    until("forgotten", || {
        let before = one.counters().dropped_no_address;
        let mut answer = envelope(1, 0, vec![beat(1)]);
        answer.to = Peer::Joiner(99);
        one.sender().send(Peer::Joiner(99), answer);
        one.counters().dropped_no_address > before
    })
    .await;
}
