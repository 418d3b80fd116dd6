use proptest::prelude::*;

use super::*;

const PEER: NodeId = NodeId::new(2);
const MS: u64 = 1_000_000;

/// What came of a clock that runs so much faster than ours, asked every 300 ms for so long: messages take as long there
/// and back as they are given in turn.
struct Course {
    clocks: Clocks,
    told: Vec<i64>,
    /// When it was first trusted.
    trusted: Option<u64>,
    is_ever_off: bool,
    is_trusted: bool,
}

fn course(ppm: i64, seconds: u64, delays: &[(u64, u64)]) -> Course {
    let mut clocks = Clocks::new(Instant::default(), &Timing::default());
    let (mut told, mut trusted, mut is_ever_off, mut is_trusted) = (Vec::new(), None, false, false);
    let mut answers = Vec::new();
    for (turn, (there, back)) in (0..seconds * 10 / 3).zip(delays.iter().cycle()) {
        let sent = 5_000 * MS + turn * 300 * MS;
        let read = sent + there;
        let theirs = 77_000 * MS + (i128::from(read) * i128::from(1_000_000 + ppm) / 1_000_000) as u64;
        let received = Instant::from_nanos(read + back);
        let (sent, theirs) = (Instant::from_nanos(sent), Instant::from_nanos(theirs));
        answers.push(Sample {
            sent,
            theirs,
            received,
        });
    }
    answers.sort_by_key(|sample| sample.received);
    for sample in answers {
        told.extend(clocks.note(PEER, sample));
        is_trusted = clocks.trusts(PEER, sample.received);
        if is_trusted {
            trusted.get_or_insert(sample.received.nanos() - 5_000 * MS);
        }
        is_ever_off |= clocks.is_off(PEER);
    }
    Course {
        clocks,
        told,
        trusted,
        is_ever_off,
        is_trusted,
    }
}

#[test]
fn a_clock_is_trusted_soon_and_a_wrong_one_never() {
    let lan = [(MS / 2, MS / 2)];
    let busy = [(MS, 2 * MS), (8 * MS, 6 * MS), (MS, 30 * MS)];
    let far = [(35 * MS, 40 * MS)];
    // How much faster, over what network; within how many milliseconds it is trusted, if it is.
    for (ppm, delays, trusted) in [
        (0, &lan[..], Some(400)),
        (20_000, &lan[..], Some(400)),
        (-19_000, &lan[..], Some(400)),
        (0, &busy[..], Some(2_000)),
        (20_000, &busy[..], Some(3_000)),
        (0, &far[..], Some(6_000)),
        (20_000, &far[..], Some(16_000)),
        (40_400, &lan[..], None),
        (-40_400, &lan[..], None),
        (40_400, &busy[..], None),
        (-40_400, &far[..], None),
        (100_000, &far[..], None),
    ] {
        let course = course(ppm, 30, delays);
        match trusted {
            Some(within) => {
                let took = course.trusted.map(|nanos| nanos / MS);
                assert!(
                    took.is_some_and(|took| took <= within),
                    "{ppm} {delays:?}: {took:?}"
                );
                assert!(course.is_trusted && !course.is_ever_off, "{ppm} {delays:?}");
            }
            None => {
                assert_eq!(course.trusted, None, "{ppm} {delays:?}");
                assert_eq!(course.told.len(), 1, "told once: {:?}", course.told);
                let off_by = course.told[0] - ppm;
                assert!(off_by.abs() < ppm.abs(), "{:?} of {ppm}", course.told);
            }
        }
    }
}

#[test]
fn what_was_shown_does_not_count_for_ever() {
    let course = course(0, 10, &[(MS, MS)]);
    let last = 15_000 * MS;
    assert!(course.clocks.trusts(PEER, Instant::from_nanos(last)));
    assert!(
        !course
            .clocks
            .trusts(PEER, Instant::from_nanos(last + 17_000 * MS))
    );
}

#[test]
fn a_process_that_starts_anew_is_measured_anew() {
    let mut clocks = course(0, 10, &[(MS, MS)]).clocks;
    let sample = |sent: u64, theirs: u64| Sample {
        sent: Instant::from_nanos(sent * MS),
        theirs: Instant::from_nanos(theirs * MS),
        received: Instant::from_nanos((sent + 2) * MS),
    };
    assert_eq!(
        clocks.note(PEER, sample(16_000, 3)),
        None,
        "it is another clock, and not wrong"
    );
    assert!(!clocks.is_off(PEER) && !clocks.trusts(PEER, Instant::from_nanos(16_002 * MS)));
    assert_eq!(clocks.note(PEER, sample(17_000, 1_003)), None);
    assert!(clocks.trusts(PEER, Instant::from_nanos(17_002 * MS)));
}

#[test]
fn a_clock_that_goes_wrong_is_noticed() {
    let mut clocks = course(0, 30, &[(MS, MS)]).clocks;
    let (began, mut theirs) = (36_000 * MS, 77_000 * MS + 36_000 * MS);
    for turn in 1..=40 {
        theirs += 300 * MS * 11 / 10;
        let sent = Instant::from_nanos(began + turn * 300 * MS);
        let received = sent.after(Duration::from_millis(2));
        clocks.note(
            PEER,
            Sample {
                sent,
                theirs: Instant::from_nanos(theirs),
                received,
            },
        );
        if clocks.is_off(PEER) {
            assert!(turn <= 7, "after {turn} answers");
            return;
        }
    }
    panic!("it was not noticed");
}

proptest! {
    /// However long messages take, clocks within the bound are never taken for wrong ones.
    #[test]
    fn a_right_clock_is_never_off(
        ppm in -19_800_i64..=20_200,
        delays in prop::collection::vec((0..5_000 * MS, 0..5_000 * MS), 1..40),
    ) {
        let course = course(ppm, 60, &delays);
        prop_assert!(!course.is_ever_off && course.told.is_empty());
    }

    /// And when a round trip takes 50 ms at most they are trusted within 16 s, and stay so.
    #[test]
    fn a_right_clock_is_trusted(
        ppm in -19_800_i64..=20_200,
        delays in prop::collection::vec((0..25 * MS, 0..25 * MS), 1..40),
    ) {
        let course = course(ppm, 40, &delays);
        prop_assert!(course.trusted.is_some_and(|trusted| trusted <= 16_000 * MS));
        prop_assert!(course.is_trusted);
    }

    /// A clock that is out of bound by as much again is never trusted, whatever the delays, and is told of within 16 s when
    /// a round trip takes 50 ms at most.
    #[test]
    fn a_wrong_clock_is_never_trusted(
        beyond in 40_400_i64..200_000,
        is_slow in any::<bool>(),
        delays in prop::collection::vec((0..5_000 * MS, 0..5_000 * MS), 1..40),
    ) {
        let ppm = if is_slow { -beyond } else { beyond };
        prop_assert_eq!(course(ppm, 60, &delays).trusted, None);
        let near: Vec<(u64, u64)> = delays.iter().map(|(there, back)| (there / 200, back / 200)).collect();
        prop_assert!(course(ppm, 16, &near).is_ever_off);
    }
}
