//! Waiting for the cluster, and showing how it goes.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use pliantdb_core::admin::ClusterStatus;

use super::connection::Admin;
use super::status::missing;
use crate::cli::failure::{Failure, Kind};
use crate::cli::output::Output;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_millis(250);

/// For how long the node that is asked may be away meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for the cluster.
pub(super) struct Waiting<'a> {
    admin: &'a Admin,
    deadline: Option<Instant>,
    out: Output,
    /// What is shown on a terminal.
    bar: Option<ProgressBar>,
    /// What was said last.
    said: String,
}

impl<'a> Waiting<'a> {
    /// For so long at most.
    pub(super) fn new(admin: &'a Admin, timeout: Option<Duration>, out: Output) -> Self {
        let bar = out.shows_progress().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self {
            admin,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
            out,
            bar,
            said: String::new(),
        }
    }

    /// Looks at the cluster until there is a result.
    ///
    /// # Errors
    /// [`Kind::Failed`] when it takes too long, and what looking comes to.
    pub(super) fn until<T>(
        &mut self,
        mut look: impl FnMut(&ClusterStatus) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let mut heard = Instant::now();
        loop {
            match self.admin.status() {
                Ok(status) => {
                    heard = Instant::now();
                    if let Some(done) = look(&status)? {
                        return Ok(done);
                    }
                    self.say(missing(&status));
                }
                // It may be started anew.
                Err(failure) if failure.kind == Kind::Unreachable && heard.elapsed() < PATIENCE => {
                    self.say(failure.message);
                }
                Err(failure) => return Err(failure),
            }
            self.pause()?;
        }
    }

    /// Waits a moment.
    ///
    /// # Errors
    /// [`Kind::Failed`] when it takes too long.
    pub(super) fn pause(&mut self) -> Result<(), Failure> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let message = format!("it is not done in that time, and goes on: {}", self.said);
            return Err(Failure::new(Kind::Failed, message));
        }
        std::thread::sleep(INTERVAL);
        if let Some(bar) = &self.bar {
            bar.tick();
        }
        Ok(())
    }

    fn say(&mut self, text: String) {
        if text == self.said {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(text.clone()),
            None if !self.out.is_json() => self.out.note(&text),
            None => {}
        }
        self.said = text;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
