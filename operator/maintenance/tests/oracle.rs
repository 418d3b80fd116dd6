//! Random windows around both changes of the clock of every time zone that has them, against going through it minute by minute.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

use std::collections::BTreeSet;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use pliant_maintenance::{Exclusion, Gate, Maintenance, Window, Work};

/// The days around a change that are gone through, and those that are compared.
const SEEN: i64 = 84 * 60;
const COMPARED: i64 = 36 * 60;
/// Random sets of windows for each change.
const ROUNDS: u64 = 4;

/// Random numbers, the same each time (SplitMix64, Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: i64) -> i64 {
        i64::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn one_in(&mut self, of: i64) -> bool {
        self.below(of) == 0
    }
}

/// One field of cron: its text, and what it stands for.
struct Field {
    text: String,
    values: BTreeSet<i8>,
    is_star: bool,
    is_one: bool,
}

impl Field {
    fn random(dice: &mut Dice, first: i64, last: i64) -> Self {
        let value = |dice: &mut Dice| first + dice.below(last - first + 1);
        let set = |values: &mut dyn Iterator<Item = i64>| {
            values.map(|value| i8::try_from(value).unwrap()).collect()
        };
        let (text, values, is_star, is_one) = match dice.below(6) {
            0 => ("*".to_owned(), set(&mut (first..=last)), true, false),
            1 => {
                let step = 2 + dice.below((last - first) / 2);
                let mut values = (first..=last).step_by(usize::try_from(step).unwrap());
                (format!("*/{step}"), set(&mut values), false, false)
            }
            2 => {
                let (one, other) = (value(dice), value(dice));
                let (one, other) = (one.min(other), one.max(other));
                match one == other {
                    true => (one.to_string(), set(&mut (one..=one)), false, true),
                    false => (format!("{one}-{other}"), set(&mut (one..=other)), false, false),
                }
            }
            3 => {
                let (one, other) = (value(dice), value(dice));
                match one == other {
                    true => (one.to_string(), set(&mut (one..=one)), false, true),
                    false => (
                        format!("{one},{other}"),
                        set(&mut [one, other].into_iter()),
                        false,
                        false,
                    ),
                }
            }
            _ => {
                let one = value(dice);
                (one.to_string(), set(&mut (one..=one)), false, true)
            }
        };
        Self {
            text,
            values,
            is_star,
            is_one,
        }
    }

    fn star() -> Self {
        Self {
            text: "*".to_owned(),
            values: (0..=31).collect(),
            is_star: true,
            is_one: false,
        }
    }
}

/// A start as cron means it.
struct Start {
    minute: Field,
    hour: Field,
    day: Field,
    weekday: Field,
}

impl Start {
    fn random(dice: &mut Dice) -> Self {
        let mut hour = Field::random(dice, 0, 23);
        // Most at the hours at which clocks change.
        while hour.text.bytes().all(|byte| byte != b'*')
            && hour.values.iter().any(|hour| *hour > 4)
            && !dice.one_in(4)
        {
            hour = Field::random(dice, 0, 23);
        }
        Self {
            minute: Field::random(dice, 0, 59),
            hour,
            day: if dice.one_in(4) {
                Field::random(dice, 1, 31)
            } else {
                Field::star()
            },
            weekday: if dice.one_in(3) {
                Field::random(dice, 0, 6)
            } else {
                Field::star()
            },
        }
    }

    fn text(&self) -> String {
        let Self {
            minute,
            hour,
            day,
            weekday,
        } = self;
        format!("{} {} {} * {}", minute.text, hour.text, day.text, weekday.text)
    }

    fn is_shown(&self, clock: DateTime) -> bool {
        let day = self.day.values.contains(&clock.day());
        let weekday = self
            .weekday
            .values
            .contains(&clock.weekday().to_sunday_zero_offset());
        // Either counts when both are given.
        let is_day = match self.day.is_star || self.weekday.is_star {
            true => day && weekday,
            false => day || weekday,
        };
        is_day && self.hour.values.contains(&clock.hour()) && self.minute.values.contains(&clock.minute())
    }

    fn is_fixed(&self) -> bool {
        self.minute.is_one && self.hour.is_one
    }
}

/// A window, and the minutes at which it is open.
struct Known {
    start: Start,
    duration: i64,
    cutoff: i64,
    opens: Vec<i64>,
}

/// What the clock shows at each minute.
fn clocks(zone: &TimeZone, begin: Timestamp) -> Vec<DateTime> {
    let minute = |number: i64| zone.to_datetime(begin + SignedDuration::from_mins(number));
    (0..2 * SEEN).map(minute).collect()
}

/// The minutes at which a start is.
fn starts(start: &Start, clocks: &[DateTime]) -> Vec<i64> {
    let mut found = Vec::new();
    let mut latest = clocks[0].checked_sub(1.minute()).unwrap();
    for (number, clock) in clocks.iter().enumerate() {
        let is_start = match start.is_fixed() {
            false => start.is_shown(*clock),
            // Also what the clock has passed over counts, and nothing that it has shown before.
            true => {
                let mut passed = latest.checked_add(1.minute()).unwrap();
                let mut is_start = false;
                while passed <= *clock {
                    is_start |= start.is_shown(passed);
                    passed = passed.checked_add(1.minute()).unwrap();
                }
                is_start
            }
        };
        latest = latest.max(*clock);
        if is_start {
            found.push(i64::try_from(number).unwrap());
        }
    }
    found
}

/// When the clock of a zone changes in some years, one change of each kind.
fn changes(zone: &TimeZone) -> Vec<Timestamp> {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let soon = zone
        .following(begin)
        .take_while(|change| change.timestamp() < begin + SignedDuration::from_hours(366 * 24));
    soon.map(|change| change.timestamp()).take(2).collect()
}

fn check(zone: &TimeZone, name: &str, change: Timestamp, seed: u64) {
    let mut dice = Dice(seed);
    let begin = change - SignedDuration::from_mins(SEEN);
    let clocks = clocks(zone, begin);
    let windows = 1 + dice.below(3);
    let windows: Vec<Known> = (0..windows)
        .map(|_| {
            let duration = if dice.one_in(3) {
                1 + dice.below(30 * 60)
            } else {
                1 + dice.below(180)
            };
            let start = Start::random(&mut dice);
            Known {
                duration,
                cutoff: dice.below(duration.min(90)),
                opens: starts(&start, &clocks),
                start,
            }
        })
        .collect();
    let exclusions: Vec<(i64, i64)> = (0..dice.below(3))
        .map(|_| {
            let from = SEEN - COMPARED + dice.below(2 * COMPARED);
            (from, from + 1 + dice.below(1000))
        })
        .collect();
    let text: Vec<_> = windows
        .iter()
        .map(|known| (known.start.text(), known.duration, known.cutoff))
        .collect();
    let about = format!("{name} at {change}, seed {seed}: {text:?}, {exclusions:?}");

    let moment = |minute: i64| begin + SignedDuration::from_mins(minute);
    let made = windows.iter().enumerate().map(|(number, known)| {
        let minutes = SignedDuration::from_mins;
        let (duration, cutoff) = (minutes(known.duration), minutes(known.cutoff));
        let start = known.start.text();
        Window::new(&number.to_string(), &start, duration, name, cutoff, [Work::Split]).unwrap()
    });
    let excluded = exclusions.iter().map(|(from, to)| Exclusion {
        from: moment(*from),
        to: moment(*to),
    });
    let maintenance = Maintenance::new(made.collect(), excluded.collect()).unwrap();

    let minutes = usize::try_from(2 * SEEN).unwrap();
    let mut open = vec![false; minutes];
    // Up to when the windows that are open at the end of a minute let nothing begin.
    let mut cutoffs = vec![0; minutes + 1];
    for known in &windows {
        for opens in &known.opens {
            let closes = (opens + known.duration).min(2 * SEEN);
            for minute in *opens..closes {
                let minute = usize::try_from(minute).unwrap();
                open[minute] = true;
                cutoffs[minute + 1] = cutoffs[minute + 1].max(known.cutoff);
            }
        }
    }
    for (from, to) in &exclusions {
        for minute in *from..(*to).min(2 * SEEN) {
            open[usize::try_from(minute).unwrap()] = false;
        }
    }
    let range = SEEN - COMPARED..SEEN + COMPARED;
    let mut openings = maintenance.openings(None, moment(range.start)).peekable();
    for minute in range {
        let now = moment(minute);
        while openings
            .next_if(|opening| opening.closes.is_some_and(|closes| closes <= now))
            .is_some()
        {}
        let next = openings.peek();
        let current = next.filter(|opening| opening.opens.is_none_or(|opens| opens <= now));
        let place = usize::try_from(minute).unwrap();
        assert_eq!(
            current.is_some(),
            open[place],
            "whether it is open at {now} ({}): {about}",
            clocks[place]
        );
        let Some(current) = current else { continue };
        let Some(length) = open[place..].iter().position(|is_open| !is_open) else {
            continue;
        };
        let closes = place + length;
        assert_eq!(
            current.closes,
            Some(moment(i64::try_from(closes).unwrap())),
            "when it closes: {about}"
        );
        let left = i64::try_from(length).unwrap();
        let expected = left > cutoffs[closes];
        assert_eq!(
            current.allows_start(now, SignedDuration::ZERO),
            expected,
            "whether something may begin at {now}: {about}"
        );
        assert!(
            !current.allows_start(now, SignedDuration::from_mins(left + 1)),
            "{about}"
        );
    }
    // Asked at any moment it says the same.
    for _ in 0..3 {
        let now = moment(SEEN - COMPARED + dice.below(2 * COMPARED));
        let gate = maintenance.gate(None, now);
        let place = usize::try_from(now.duration_since(begin).as_mins()).unwrap();
        assert_eq!(matches!(gate, Gate::Open(_)), open[place], "at {now}: {about}");
        if let Some(change) = gate.changes(now) {
            assert!(change > now, "{about}");
        }
        if let Gate::Closed(Some(next)) = gate
            && let Some(wait) = open[place..].iter().position(|is_open| *is_open)
        {
            let opens = moment(i64::try_from(place + wait).unwrap());
            assert_eq!(next.opens, Some(opens), "when it opens after {now}: {about}");
        }
    }
}

#[test]
fn is_as_minute_by_minute_in_every_zone_that_changes_its_clock() {
    let mut rules = BTreeSet::new();
    for name in jiff::tz::db().available() {
        let name = name.as_str();
        let Ok(zone) = TimeZone::get(name) else { continue };
        let changes = changes(&zone);
        // Many zones have the same clock: one of them is enough.
        let clock: Vec<_> = changes
            .iter()
            .map(|change| (*change, zone.to_offset(*change)))
            .collect();
        if changes.is_empty() || !rules.insert(clock) {
            continue;
        }
        for (number, change) in changes.into_iter().enumerate() {
            for round in 0..ROUNDS {
                let seed = rules.len() as u64 * 1000 + number as u64 * 100 + round;
                check(&zone, name, change, seed);
            }
        }
    }
    assert!(rules.len() > 15, "{}", rules.len());
}
