//! Awkward cases, one after the other, as their owners would tell them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

use jiff::{SignedDuration, Timestamp};
use pliant_maintenance::{
    Exclusion, Gate, Maintenance, MaintenanceError, Opening, Window, WindowError, Work,
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn window(name: &str, start: &str, duration: &str, zone: &str, cutoff: &str) -> Result<Window, WindowError> {
    let duration: SignedDuration = duration.parse().unwrap();
    Window::new(
        name,
        start,
        duration,
        zone,
        cutoff.parse().unwrap(),
        [Work::Upgrade],
    )
}

fn one(start: &str, duration: &str, zone: &str) -> Maintenance {
    let window = window("one", start, duration, zone, "0s").unwrap();
    Maintenance::new(vec![window], Vec::new()).unwrap()
}

fn openings(maintenance: &Maintenance, from: &str, count: usize) -> Vec<(String, String)> {
    let text = |moment: Option<Timestamp>| moment.map_or("-".to_owned(), |moment| moment.to_string());
    let openings = maintenance.openings(None, at(from)).take(count);
    openings
        .map(|opening| (text(opening.opens), text(opening.closes)))
        .collect()
}

fn are(found: &[(String, String)], expected: &[(&str, &str)]) {
    let found: Vec<_> = found
        .iter()
        .map(|(opens, closes)| (opens.as_str(), closes.as_str()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_night_in_berlin_goes_over_midnight() {
    let nights = one("0 23 * * FRI", "3h", "Europe/Berlin");
    are(
        &openings(&nights, "2026-11-28T00:30:00Z", 2),
        &[
            ("2026-11-27T22:00:00Z", "2026-11-28T01:00:00Z"),
            ("2026-12-04T22:00:00Z", "2026-12-05T01:00:00Z"),
        ],
    );
}

#[test]
fn a_start_that_a_day_does_not_have_is_when_the_clock_has_been_put_forward() {
    // 02:30 does not come on 2026-03-29.
    let early = one("30 2 * * *", "1h", "Europe/Berlin");
    are(
        &openings(&early, "2026-03-28T12:00:00Z", 2),
        &[
            ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"),
            ("2026-03-30T00:30:00Z", "2026-03-30T01:30:00Z"),
        ],
    );
    let quarters = one("*/15 2 * * *", "5m", "Europe/Berlin");
    are(
        &openings(&quarters, "2026-03-29T00:00:00Z", 1),
        &[("2026-03-30T00:00:00Z", "2026-03-30T00:05:00Z")],
    );
}

#[test]
fn a_start_that_a_day_has_twice_is_the_first() {
    // 02:30 comes at 00:30 and at 01:30 on 2026-10-25.
    let early = one("30 2 * * *", "1h", "Europe/Berlin");
    are(
        &openings(&early, "2026-10-24T12:00:00Z", 2),
        &[
            ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
            ("2026-10-26T01:30:00Z", "2026-10-26T02:30:00Z"),
        ],
    );
    let hourly = one("*/30 2 * * *", "5m", "Europe/Berlin");
    are(
        &openings(&hourly, "2026-10-24T12:00:00Z", 4),
        &[
            ("2026-10-25T00:00:00Z", "2026-10-25T00:05:00Z"),
            ("2026-10-25T00:30:00Z", "2026-10-25T00:35:00Z"),
            ("2026-10-25T01:00:00Z", "2026-10-25T01:05:00Z"),
            ("2026-10-25T01:30:00Z", "2026-10-25T01:35:00Z"),
        ],
    );
}

#[test]
fn a_window_over_a_change_of_the_clock_is_as_long_as_it_says() {
    let night = one("0 1 * * SUN", "4h", "Europe/Berlin");
    are(
        &openings(&night, "2026-03-28T12:00:00Z", 1),
        &[("2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z")],
    );
    are(
        &openings(&night, "2026-10-24T12:00:00Z", 1),
        &[("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z")],
    );
}

#[test]
fn a_clock_that_is_put_forward_by_half_an_hour_at_midnight_or_so_is_right_too() {
    let lord_howe = one("15 2 * * *", "10m", "Australia/Lord_Howe");
    are(
        &openings(&lord_howe, "2026-10-03T12:00:00Z", 1),
        &[("2026-10-03T15:30:00Z", "2026-10-03T15:40:00Z")],
    );
    // In Beirut midnight itself does not come on 2026-03-29.
    let midnight = one("0 0 * * *", "1h", "Asia/Beirut");
    are(
        &openings(&midnight, "2026-03-28T12:00:00Z", 2),
        &[
            ("2026-03-28T22:00:00Z", "2026-03-28T23:00:00Z"),
            ("2026-03-29T21:00:00Z", "2026-03-29T22:00:00Z"),
        ],
    );
}

#[test]
fn a_leap_day_comes_every_four_years() {
    let rare = one("0 0 29 2 *", "1h", "UTC");
    are(
        &openings(&rare, "2026-01-01T00:00:00Z", 2),
        &[
            ("2028-02-29T00:00:00Z", "2028-02-29T01:00:00Z"),
            ("2032-02-29T00:00:00Z", "2032-02-29T01:00:00Z"),
        ],
    );
}

#[test]
fn windows_that_overlap_or_touch_are_one_opening_with_the_cut_off_of_its_end() {
    let windows = vec![
        window("a", "0 1 * * *", "2h", "UTC", "30m").unwrap(),
        window("b", "0 2 * * *", "2h", "UTC", "10m").unwrap(),
        window("c", "0 4 * * *", "1h", "UTC", "0s").unwrap(),
        window("d", "0 12 * * *", "1h", "UTC", "20m").unwrap(),
        window("e", "30 12 * * *", "30m", "UTC", "5m").unwrap(),
    ];
    let maintenance = Maintenance::new(windows, Vec::new()).unwrap();
    let found: Vec<_> = maintenance
        .openings(None, at("2026-01-01T00:00:00Z"))
        .take(2)
        .collect();
    let opening = |opens: &str, closes: &str, until: &str, windows: &[&str]| Opening {
        opens: Some(at(opens)),
        closes: Some(at(closes)),
        starts_until: Some(at(until)),
        windows: windows.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(
        found,
        [
            opening(
                "2026-01-01T01:00:00Z",
                "2026-01-01T05:00:00Z",
                "2026-01-01T05:00:00Z",
                &["a", "b", "c"]
            ),
            opening(
                "2026-01-01T12:00:00Z",
                "2026-01-01T13:00:00Z",
                "2026-01-01T12:40:00Z",
                &["d", "e"]
            ),
        ]
    );
}

#[test]
fn exclusions_win() {
    let windows = vec![window("nights", "0 22 * * *", "4h", "UTC", "30m").unwrap()];
    let excluded = |from, to| Exclusion {
        from: at(from),
        to: at(to),
    };
    let exclusions = vec![
        // All of three nights.
        excluded("2026-12-24T00:00:00Z", "2026-12-27T00:00:00Z"),
        // The middle of one, in two parts that are one.
        excluded("2026-12-28T23:00:00Z", "2026-12-28T23:30:00Z"),
        excluded("2026-12-28T23:30:00Z", "2026-12-29T00:00:00Z"),
    ];
    let maintenance = Maintenance::new(windows, exclusions).unwrap();
    are(
        &openings(&maintenance, "2026-12-24T12:00:00Z", 5),
        &[
            ("2026-12-27T00:00:00Z", "2026-12-27T02:00:00Z"),
            ("2026-12-27T22:00:00Z", "2026-12-28T02:00:00Z"),
            ("2026-12-28T22:00:00Z", "2026-12-28T23:00:00Z"),
            ("2026-12-29T00:00:00Z", "2026-12-29T02:00:00Z"),
            ("2026-12-29T22:00:00Z", "2026-12-30T02:00:00Z"),
        ],
    );
    let gate = maintenance.gate(Some(Work::Upgrade), at("2026-12-28T22:40:00Z"));
    let Gate::Open(opening) = &gate else {
        panic!("{gate:?}")
    };
    assert!(
        !opening.allows_start(at("2026-12-28T22:40:00Z"), SignedDuration::ZERO),
        "cut off"
    );
    assert_eq!(
        gate.changes(at("2026-12-28T22:40:00Z")),
        Some(at("2026-12-28T23:00:00Z"))
    );
    let gate = maintenance.gate(Some(Work::Upgrade), at("2026-12-28T22:00:00Z"));
    assert_eq!(
        gate.changes(at("2026-12-28T22:00:00Z")),
        Some(at("2026-12-28T22:30:00Z"))
    );
    assert_eq!(
        maintenance.gate(Some(Work::Merge), at("2026-12-28T22:40:00Z")),
        Gate::Closed(None)
    );
}

#[test]
fn an_exclusion_of_many_years_is_passed_over() {
    let windows = vec![window("always", "* * * * *", "1m", "UTC", "0s").unwrap()];
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2099-01-01T00:00:00Z"));
    let maintenance = Maintenance::new(windows, vec![Exclusion { from, to }]).unwrap();
    let gate = maintenance.gate(None, at("2026-06-01T00:00:00Z"));
    let Gate::Closed(Some(next)) = &gate else {
        panic!("{gate:?}")
    };
    assert_eq!(
        (next.opens, next.closes, next.starts_until),
        (Some(to), None, None)
    );
}

#[test]
fn what_is_always_open_has_neither_beginning_nor_end() {
    let day = one("0 0 * * *", "24h", "UTC");
    for now in ["2026-06-01T00:00:00Z", "2026-06-01T13:07:00Z"] {
        let gate = day.gate(Some(Work::Upgrade), at(now));
        let Gate::Open(opening) = &gate else {
            panic!("{gate:?}")
        };
        assert_eq!(
            (opening.opens, opening.closes, opening.starts_until),
            (None, None, None)
        );
        assert!(opening.allows_start(at(now), SignedDuration::from_hours(1000)));
        assert_eq!(gate.changes(at(now)), None);
    }
}

#[test]
fn work_that_does_not_fit_waits_and_what_never_fits_is_told() {
    let windows = vec![
        window("short", "0 1 * * *", "1h", "UTC", "0s").unwrap(),
        window("long", "0 1 * * SUN", "4h", "UTC", "1h").unwrap(),
    ];
    let maintenance = Maintenance::new(windows, Vec::new()).unwrap();
    let hours = SignedDuration::from_hours;
    let now = at("2026-11-28T00:00:00Z");
    let week = hours(7 * 24);
    assert!(!maintenance.is_too_short(Work::Upgrade, hours(4), now, week));
    assert!(maintenance.is_too_short(Work::Upgrade, hours(5), now, week));
    assert!(
        maintenance.is_too_short(Work::Upgrade, hours(2), now, hours(24)),
        "Saturday"
    );
    assert!(maintenance.is_too_short(Work::Split, hours(0), now, week));
    let Gate::Open(saturday) = maintenance.gate(None, at("2026-11-28T01:00:00Z")) else {
        panic!()
    };
    assert!(saturday.allows_start(at("2026-11-28T01:00:00Z"), hours(1)));
    assert!(!saturday.allows_start(at("2026-11-28T01:01:00Z"), hours(1)));
    assert!(!saturday.allows_start(at("2026-11-28T00:59:00Z"), hours(0)));
    assert!(!saturday.allows_start(at("2026-11-28T02:00:00Z"), hours(0)));
}

#[test]
fn what_is_wrong_is_said() {
    for (start, word) in [
        ("0 2 * *", "4 fields"),
        ("0 0 2 * * SAT", "6 fields"),
        ("@daily", "1 fields"),
        ("60 2 * * *", "60 2 * * *"),
        ("0 2 * * SATURN", "SATURN"),
        ("0 0 30 2 *", "no year"),
        ("", "0 fields"),
    ] {
        let error = window("w", start, "1h", "UTC", "0s").unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("five fields"), "{error}");
    }
    for duration in ["0s", "30s", "90s", "169h"] {
        let error = window("w", "0 2 * * *", duration, "UTC", "0s")
            .unwrap_err()
            .to_string();
        assert!(error.contains("from 1 minute up to 7 days"), "{error}");
    }
    for zone in ["Berlin", "CET+1", "", "Europe/Atlantis"] {
        let error = window("w", "0 2 * * *", "1h", zone, "0s")
            .unwrap_err()
            .to_string();
        assert!(error.contains("IANA") && error.contains(zone), "{error}");
    }
    for cutoff in ["1h", "2h", "-1m", "30s"] {
        let error = window("w", "0 2 * * *", "1h", "UTC", cutoff)
            .unwrap_err()
            .to_string();
        assert!(error.contains("less than the duration (1h)"), "{error}");
    }
    let hour = SignedDuration::from_hours(1);
    let nothing = Window::new("w", "0 2 * * *", hour, "UTC", SignedDuration::ZERO, []);
    assert_eq!(nothing.unwrap_err(), WindowError::AllowsNothing);
    let twice = ["w", "w"].map(|name| window(name, "0 2 * * *", "1h", "UTC", "0s").unwrap());
    assert_eq!(
        Maintenance::new(twice.to_vec(), Vec::new()).unwrap_err(),
        MaintenanceError::SameName("w".to_owned())
    );
    let moment = at("2026-01-01T00:00:00Z");
    let empty = vec![Exclusion {
        from: moment,
        to: moment,
    }];
    assert!(Maintenance::new(Vec::new(), empty).is_err());
    assert_eq!("Upgrade".parse(), Ok(Work::Upgrade));
    assert!(
        "upgrade"
            .parse::<Work>()
            .unwrap_err()
            .contains("CertificateRotation")
    );
}
