//! Whoever subscribes gets each message that is published while nothing is wrong, once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failures, calm};
use crate::history::{Period, Signal};

/// What is wrong with what the subscribers received.
#[must_use]
pub fn check(signals: &[Signal], periods: &[Period]) -> Vec<String> {
    let mut failures = Failures::default();
    let mut received: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for signal in signals {
        match signal {
            Signal::Subscribed { subscriber } => drop(received.entry(subscriber).or_default()),
            Signal::Received { subscriber, number } => {
                if !received.entry(subscriber).or_default().insert(*number) {
                    failures.add(|| format!("messages: {subscriber} received message {number} twice"));
                }
            }
            Signal::Published { .. } => {}
        }
    }
    let calm = calm(periods);
    for signal in signals {
        let Signal::Published { number, call, end } = signal else {
            continue;
        };
        if !calm.iter().any(|(from, until)| from <= call && end < until) {
            continue;
        }
        for (subscriber, received) in &received {
            if !received.contains(number) {
                failures.add(|| {
                    format!(
                        "messages: {subscriber} did not receive message {number}, published at {:.3} s, when nothing was \
                         wrong",
                        std::time::Duration::from_nanos(*call).as_secs_f64()
                    )
                });
            }
        }
    }
    failures.told("messages")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::examples::period;

    fn published(number: u64, second: u64) -> Signal {
        Signal::Published {
            number,
            call: second * 1_000_000_000,
            end: second * 1_000_000_000 + 1000,
        }
    }

    fn received(number: u64) -> Signal {
        Signal::Received {
            subscriber: "http at n1".to_owned(),
            number,
        }
    }

    fn subscribed() -> Signal {
        Signal::Subscribed {
            subscriber: "http at n1".to_owned(),
        }
    }

    #[test]
    fn what_is_published_when_nothing_is_wrong_is_received() {
        let periods = [period(0, 1, 2), period(10, 20, 25)];
        let all = [
            subscribed(),
            published(1, 5),
            received(1),
            published(2, 30),
            received(2),
        ];
        assert!(check(&all, &periods).is_empty());
        let found = check(&[subscribed(), published(1, 5)], &periods).join("\n");
        assert!(
            found.contains("http at n1 did not receive message 1, published at 5.000 s"),
            "{found}"
        );
    }

    #[test]
    fn what_is_published_amid_faults_may_be_missed() {
        let periods = [period(0, 1, 2), period(10, 20, 25)];
        assert!(check(&[subscribed(), published(1, 12), published(2, 22)], &periods).is_empty());
    }

    #[test]
    fn nothing_comes_twice() {
        let found = check(&[received(1), received(1)], &[period(0, 1, 2)]).join("\n");
        assert!(found.contains("received message 1 twice"), "{found}");
    }
}
