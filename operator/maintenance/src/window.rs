//! One maintenance window.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// A kind of work that waits for windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Work {
    /// Replicas and leaders move to other nodes.
    Rebalance,
    /// A shard is split.
    Split,
    /// Shards are merged.
    Merge,
    /// The mode of the cluster changes.
    ModeSwitch,
    /// The nodes run another version or image.
    Upgrade,
    /// Certificates are replaced.
    CertificateRotation,
}

impl Work {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Rebalance,
        Self::Split,
        Self::Merge,
        Self::ModeSwitch,
        Self::Upgrade,
        Self::CertificateRotation,
    ];
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebalance => "Rebalance",
            Self::Split => "Split",
            Self::Merge => "Merge",
            Self::ModeSwitch => "ModeSwitch",
            Self::Upgrade => "Upgrade",
            Self::CertificateRotation => "CertificateRotation",
        })
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|work| work.to_string() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.map(|work| work.to_string()).join(", ");
            format!("{text:?} is no kind of work: these are {all}")
        })
    }
}

/// What is wrong with a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Of its start.
    #[error(
        "{start:?} is no time that comes: {problem}; five fields are right, as in \"0 2 * * SAT\" (minute, hour, day of the month, month, day of the week)"
    )]
    Start {
        /// What it is.
        start: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Of its duration.
    #[error("{0:#} must be from 1 minute up to 7 days, in whole minutes")]
    Duration(SignedDuration),
    /// Of its time zone.
    #[error("{0:?} is no time zone of the IANA database, as Europe/Berlin is, and UTC")]
    TimeZone(String),
    /// Of its cut-off.
    #[error(
        "{cutoff:#} must be less than the duration ({duration:#}), in whole minutes, or nothing could begin"
    )]
    StartCutoff {
        /// What it is.
        cutoff: SignedDuration,
        /// How long the window is open.
        duration: SignedDuration,
    },
    /// Of what it allows.
    #[error("it must allow some kind of work")]
    AllowsNothing,
}

/// A window: it opens when the clock of its time zone shows its start, for its duration.
#[derive(Debug, Clone)]
pub struct Window {
    name: String,
    start: Cron,
    duration: SignedDuration,
    zone: TimeZone,
    cutoff: SignedDuration,
    allowed: BTreeSet<Work>,
}

impl Window {
    /// How long one may be open.
    pub const LONGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

    /// A window of that name. `start` has the five fields of cron; `zone` is a name of the IANA database; nothing begins in the
    /// last `cutoff` of an opening.
    ///
    /// # Errors
    /// [`WindowError`].
    pub fn new(
        name: &str,
        start: &str,
        duration: SignedDuration,
        zone: &str,
        cutoff: SignedDuration,
        allowed: impl IntoIterator<Item = Work>,
    ) -> Result<Self, WindowError> {
        let wrong = |problem: String| WindowError::Start {
            start: start.to_owned(),
            problem,
        };
        let fields = start.split_whitespace().count();
        if fields != 5 {
            return Err(wrong(format!("it has {fields} fields")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(start).map_err(|error| wrong(error.to_string()))?;
        let minute = SignedDuration::from_mins(1);
        let is_whole = |duration: SignedDuration| duration.as_nanos() % minute.as_nanos() == 0;
        if duration < minute || duration > Self::LONGEST || !is_whole(duration) {
            return Err(WindowError::Duration(duration));
        }
        let zone = TimeZone::get(zone).map_err(|_| WindowError::TimeZone(zone.to_owned()))?;
        if cutoff.is_negative() || cutoff >= duration || !is_whole(cutoff) {
            return Err(WindowError::StartCutoff { cutoff, duration });
        }
        let window = Self {
            name: name.to_owned(),
            start: cron,
            duration,
            zone,
            cutoff,
            allowed: allowed.into_iter().collect(),
        };
        if window.allowed.is_empty() {
            return Err(WindowError::AllowsNothing);
        }
        match window.start_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(window),
            None => Err(wrong("no year has such a day".to_owned())),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its time zone.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether it allows that kind of work.
    #[must_use]
    pub fn allows(&self, work: Work) -> bool {
        self.allowed.contains(&work)
    }

    /// The kinds of work that it allows.
    pub fn allowed(&self) -> impl Iterator<Item = Work> {
        self.allowed.iter().copied()
    }

    pub(crate) fn duration(&self) -> SignedDuration {
        self.duration
    }

    pub(crate) fn cutoff(&self) -> SignedDuration {
        self.cutoff
    }

    /// When it opens next, later than that; `None` when it does not any more.
    pub(crate) fn start_after(&self, moment: Timestamp) -> Option<Timestamp> {
        let moment = Zoned::new(moment, self.zone.clone());
        let next = self.start.find_next_occurrence(&moment, false);
        next.ok().map(|next| next.timestamp())
    }
}
