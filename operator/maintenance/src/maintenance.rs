//! All windows and exclusions of an owner.

use jiff::Timestamp;

use crate::window::Window;

/// A time in which nothing begins, whatever the windows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// From then on.
    pub from: Timestamp,
    /// Until then; work may begin at that moment.
    pub to: Timestamp,
}

/// What is wrong with several of them together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MaintenanceError {
    /// Two windows have one name.
    #[error("two windows are called {0:?}: give each a name of its own")]
    SameName(String),
    /// An exclusion ends before it begins.
    #[error("it is to end at {to}, and begins at {from}: it must end later")]
    Exclusion {
        /// When it begins.
        from: Timestamp,
        /// When it is to end.
        to: Timestamp,
    },
}

/// The windows of an owner, and when they do not count.
#[derive(Debug, Clone, Default)]
pub struct Maintenance {
    windows: Vec<Window>,
    /// Apart from each other, in order.
    exclusions: Vec<Exclusion>,
}

impl Maintenance {
    /// These windows and exclusions.
    ///
    /// # Errors
    /// [`MaintenanceError`].
    pub fn new(windows: Vec<Window>, mut exclusions: Vec<Exclusion>) -> Result<Self, MaintenanceError> {
        for (number, window) in windows.iter().enumerate() {
            let mut others = windows.iter().skip(number + 1);
            if others.any(|other| other.name() == window.name()) {
                return Err(MaintenanceError::SameName(window.name().to_owned()));
            }
        }
        if let Some(Exclusion { from, to }) = exclusions.iter().find(|one| one.to <= one.from) {
            return Err(MaintenanceError::Exclusion { from: *from, to: *to });
        }
        exclusions.sort_by_key(|exclusion| exclusion.from);
        let mut apart: Vec<Exclusion> = Vec::new();
        for exclusion in exclusions {
            match apart.last_mut() {
                Some(last) if exclusion.from <= last.to => last.to = last.to.max(exclusion.to),
                _ => apart.push(exclusion),
            }
        }
        Ok(Self {
            windows,
            exclusions: apart,
        })
    }

    /// The windows.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    pub(crate) fn exclusions(&self) -> &[Exclusion] {
        &self.exclusions
    }
}
