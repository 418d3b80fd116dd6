//! Trying again what a view that is being built has kept from being done.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use pliantdb_core::{DatabaseName, Error, Rejection};

use crate::engine::Engine;
use crate::progress::{Progress, Watch};
use crate::store::OrderedStore;

/// How long to wait at most for a view to be built before looking again.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// When to try again what failed for what is no fault of it: once, if the schema was changed after the entries of a write
/// were made; and as long as a view is being built.
pub(crate) struct Retry<'p> {
    progress: &'p Arc<Progress>,
    name: &'p DatabaseName,
    has_moved: bool,
    watch: Option<Watch>,
}

impl<'p> Retry<'p> {
    pub(crate) fn new(progress: &'p Arc<Progress>, name: &'p DatabaseName) -> Self {
        Self {
            progress,
            name,
            has_moved: false,
            watch: None,
        }
    }

    /// What to do after an attempt: stop; or try again, when the database has changed if there is something to wait with.
    pub(crate) fn after<T>(
        &mut self,
        outcome: Result<T, Error>,
    ) -> ControlFlow<Result<T, Error>, Option<&mut Watch>> {
        match &outcome {
            Err(Error::Rejected(Rejection::SchemaMoved { .. })) if !self.has_moved => {
                self.has_moved = true;
                ControlFlow::Continue(None)
            }
            Err(Error::Rejected(Rejection::ViewBuilding { .. })) if self.progress.is_closed() => {
                ControlFlow::Break(Err(Error::Closed))
            }
            Err(Error::Rejected(Rejection::ViewBuilding { .. })) => match self.watch.is_some() {
                true => ControlFlow::Continue(self.watch.as_mut()),
                // It may have been built before the watch began.
                false => {
                    self.watch = Some(self.progress.watch(self.name));
                    ControlFlow::Continue(None)
                }
            },
            _ => ControlFlow::Break(outcome),
        }
    }
}

impl<S: OrderedStore> Engine<S> {
    /// Makes an attempt, again and again while a view is being built.
    pub(crate) fn when_built<T>(
        &self,
        name: &DatabaseName,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut retry = Retry::new(&self.progress, name);
        loop {
            match retry.after(attempt()) {
                ControlFlow::Break(done) => return done,
                ControlFlow::Continue(None) => {}
                ControlFlow::Continue(Some(watch)) => {
                    watch.wait(LOOK_AGAIN);
                }
            }
        }
    }
}
