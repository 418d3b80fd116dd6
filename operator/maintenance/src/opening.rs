//! When windows are open.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use crate::maintenance::Maintenance;
use crate::window::{Window, Work};

/// How far is looked for where an opening begins and ends.
const HORIZON: SignedDuration = SignedDuration::from_hours(8 * 24);

/// A time in which work is allowed without a break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// From then on; `None` for longer than 8 days.
    pub opens: Option<Timestamp>,
    /// Until then; `None` for longer than 8 days, from when it was asked for.
    pub closes: Option<Timestamp>,
    /// Work may begin before that moment; at `opens` or before it: not at all.
    pub starts_until: Option<Timestamp>,
    /// The names of the windows that it is made of, in order.
    pub windows: Vec<String>,
}

impl Opening {
    fn is_open(&self, now: Timestamp) -> bool {
        self.opens.is_none_or(|opens| opens <= now) && self.closes.is_none_or(|closes| now < closes)
    }

    /// Whether work may begin that takes so long.
    #[must_use]
    pub fn allows_start(&self, now: Timestamp, expected: SignedDuration) -> bool {
        self.is_open(now)
            && self.starts_until.is_none_or(|until| now < until)
            && self.closes.is_none_or(|closes| later(now, expected) <= closes)
    }

    /// Whether work of that length fits in, if it begins as soon as it may from now on.
    #[must_use]
    pub fn has_room_for(&self, now: Timestamp, expected: SignedDuration) -> bool {
        self.allows_start(self.opens.unwrap_or(now).max(now), expected)
    }
}

/// How things are at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// Work is allowed.
    Open(Opening),
    /// It is not, until that; `None`: never again.
    Closed(Option<Opening>),
}

impl Gate {
    /// When that will be otherwise: it opens, nothing may begin any more, or it closes. `None`: not within 8 days, or never.
    #[must_use]
    pub fn changes(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Open(opening) => opening
                .starts_until
                .filter(|until| now < *until)
                .or(opening.closes),
            Self::Closed(next) => next.as_ref()?.opens,
        }
    }
}

impl Maintenance {
    /// How things are for that kind of work, or for any.
    #[must_use]
    pub fn gate(&self, work: Option<Work>, now: Timestamp) -> Gate {
        match self.openings(work, now).next() {
            Some(opening) if opening.is_open(now) => Gate::Open(opening),
            next => Gate::Closed(next),
        }
    }

    /// The openings for that kind of work, or for any, that close later than `from`, in order.
    #[must_use]
    pub fn openings(&self, work: Option<Work>, from: Timestamp) -> Openings<'_> {
        let allows = |window: &&Window| work.is_none_or(|work| window.allows(work));
        let windows = || self.windows().iter().filter(allows);
        // What is open then may have been for long: it is looked further back until it was not.
        let mut back = SignedDuration::from_hours(24);
        loop {
            let begin = earlier(from, back);
            let is_open = |window: &Window| {
                Stream::from(window, begin)
                    .next
                    .is_some_and(|next| next.opens <= begin)
            };
            if back >= HORIZON || !windows().any(is_open) {
                return Openings {
                    maintenance: self,
                    streams: windows().map(|window| Stream::from(window, begin)).collect(),
                    ready: VecDeque::new(),
                    from,
                    begin,
                };
            }
            back = (2 * back).min(HORIZON);
        }
    }

    /// Whether there is work of that kind and length that no opening has room for that opens within `within`.
    #[must_use]
    pub fn is_too_short(
        &self,
        work: Work,
        expected: SignedDuration,
        now: Timestamp,
        within: SignedDuration,
    ) -> bool {
        let end = later(now, within);
        let openings = self.openings(Some(work), now);
        let mut soon = openings.take_while(|opening| opening.opens.is_none_or(|opens| opens <= end));
        !soon.any(|opening| opening.has_room_for(now, expected))
    }
}

/// From when to when one window is open.
#[derive(Clone, Copy)]
struct Interval<'a> {
    opens: Timestamp,
    closes: Timestamp,
    window: &'a Window,
}

/// When one window is open, in order.
struct Stream<'a> {
    window: &'a Window,
    next: Option<Interval<'a>>,
}

impl<'a> Stream<'a> {
    /// Those that close later than `moment`.
    fn from(window: &'a Window, moment: Timestamp) -> Self {
        let mut stream = Self { window, next: None };
        // One that opened just so long before has just closed.
        stream.follow(earlier(moment, window.duration()));
        stream
    }

    fn follow(&mut self, moment: Timestamp) {
        let window = self.window;
        self.next = window.start_after(moment).map(|opens| Interval {
            opens,
            closes: later(opens, window.duration()),
            window,
        });
    }
}

/// See [`Maintenance::openings`].
pub struct Openings<'a> {
    maintenance: &'a Maintenance,
    streams: Vec<Stream<'a>>,
    /// What was found and is yet to be given.
    ready: VecDeque<Opening>,
    from: Timestamp,
    /// What was open then may have been so for longer than is known.
    begin: Timestamp,
}

impl<'a> Openings<'a> {
    /// The next time that a window opens, if that is not later than `until`.
    fn pop(&mut self, until: Timestamp) -> Option<Interval<'a>> {
        let upcoming = self.streams.iter_mut();
        let upcoming = upcoming.filter_map(|stream| Some((stream.next?, stream)));
        let (next, stream) = upcoming.min_by_key(|(next, _)| next.opens)?;
        if next.opens > until {
            return None;
        }
        stream.follow(next.opens);
        Some(next)
    }

    /// Goes on with what closes later than a moment, at which nothing is open.
    fn seek(&mut self, moment: Timestamp) {
        for stream in &mut self.streams {
            if stream.next.is_some_and(|next| next.closes <= moment) {
                *stream = Stream::from(stream.window, moment);
            }
        }
    }

    /// Windows that overlap or touch, and when the last of them closes, if it is not too far away.
    fn group(&mut self) -> Option<(Vec<Interval<'a>>, Option<Timestamp>)> {
        let first = self.pop(Timestamp::MAX)?;
        let horizon = later(first.opens.max(self.from), HORIZON);
        let (mut closes, mut group) = (first.closes, vec![first]);
        while let Some(next) = self.pop(closes) {
            closes = closes.max(next.closes);
            group.push(next);
            if closes > horizon {
                return Some((group, None));
            }
        }
        Some((group, Some(closes)))
    }

    /// What exclusions leave of it.
    fn cut(&self, group: &[Interval<'_>], closes: Option<Timestamp>) -> Vec<Opening> {
        let Some(first) = group.first() else {
            return Vec::new();
        };
        let (mut left, mut begin) = (Vec::new(), Some(first.opens).filter(|opens| *opens > self.begin));
        // What is behind that is not known.
        let end = closes
            .or_else(|| group.iter().map(|one| one.closes).max())
            .unwrap_or(first.closes);
        for exclusion in self.maintenance.exclusions() {
            if exclusion.to <= first.opens || exclusion.from >= end {
                continue;
            }
            left.push((begin, Some(exclusion.from)));
            begin = Some(exclusion.to);
        }
        left.push((begin, closes));
        let is_wanted = |(opens, closes): &(Option<Timestamp>, Option<Timestamp>)| {
            let is_real = closes.is_none_or(|closes| opens.unwrap_or(first.opens) < closes);
            is_real && closes.is_none_or(|closes| closes > self.from)
        };
        let left = left.into_iter().filter(is_wanted);
        left.map(|(opens, closes)| opening(group, opens, closes))
            .collect()
    }
}

fn opening(group: &[Interval<'_>], opens: Option<Timestamp>, closes: Option<Timestamp>) -> Opening {
    let begins = |one: &Interval<'_>| closes.is_none_or(|closes| one.opens < closes);
    let ends = |one: &Interval<'_>| opens.is_none_or(|opens| one.closes > opens);
    let within = group.iter().filter(|one| begins(one) && ends(one));
    let mut windows: Vec<_> = within.map(|one| one.window.name().to_owned()).collect();
    windows.sort();
    windows.dedup();
    let starts_until = closes.map(|closes| {
        let open_then = group
            .iter()
            .filter(|one| one.opens < closes && closes <= one.closes);
        let cutoff = open_then.map(|one| one.window.cutoff()).max();
        earlier(closes, cutoff.unwrap_or_default())
    });
    Opening {
        opens,
        closes,
        starts_until,
        windows,
    }
}

impl Iterator for Openings<'_> {
    type Item = Opening;

    fn next(&mut self) -> Option<Opening> {
        loop {
            if let Some(opening) = self.ready.pop_front() {
                return Some(opening);
            }
            let (group, closes) = self.group()?;
            let opens = group.first()?.opens;
            self.ready.extend(self.cut(&group, closes));
            if self.ready.is_empty() {
                // It lies in an exclusion, and so may many after it.
                let exclusions = self.maintenance.exclusions().iter();
                let mut covering =
                    exclusions.filter(|exclusion| exclusion.from <= opens && opens < exclusion.to);
                if let Some(exclusion) = covering.next() {
                    self.seek(exclusion.to);
                }
            }
        }
    }
}

fn later(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(moment: Timestamp, by: SignedDuration) -> Timestamp {
    moment.checked_sub(by).unwrap_or(Timestamp::MIN)
}
