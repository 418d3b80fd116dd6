//! Carries out the plan.

use std::sync::Arc;
use std::time::{Duration, Instant};

use load::Failure;
use tokio::sync::watch;

use crate::clients::{Shared, probe};
use crate::cluster::Cluster;
use crate::history::Period;
use crate::plan::{Fault, Round};
use crate::verify::serving::Promises;

/// Between two looks whether all is well again.
const LOOK: Duration = Duration::from_millis(50);

/// After a process that had ended by itself was started again, and of how many in a round it is told.
const RAISING: Duration = Duration::from_secs(1);
const TOLD: usize = 3;

/// So many times as long as was promised is waited all the same, so that there is something to see.
const PATIENCE: u32 = 3;

/// Somebody wanted it to end.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it was interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// What breaks things.
pub struct Nemesis<'n> {
    /// What is broken.
    pub cluster: &'n mut Cluster,
    /// The clients.
    pub shared: Arc<Shared>,
    /// What they are promised.
    pub promises: Promises,
    /// Whether somebody wants it to end.
    pub interrupted: watch::Receiver<bool>,
    /// When the plan began.
    pub began: Instant,
    /// How long it may last.
    pub lasts: Duration,
}

impl Nemesis<'_> {
    /// Waits, until somebody wants it to end.
    async fn sleep_until(&mut self, after: Duration) -> Result<(), Failure> {
        let left = after.saturating_sub(self.began.elapsed());
        tokio::select! {
            () = tokio::time::sleep(left) => Ok(()),
            _ = self.interrupted.wait_for(|is| *is) => Err(Interrupted.into()),
        }
    }

    /// Waits until all is well for the first time.
    ///
    /// # Errors
    /// When it does not come to that.
    pub async fn begin(&mut self) -> Result<(), Failure> {
        let period = Period {
            what: "the start".to_owned(),
            faults: 0,
            begin: 0,
            end: self.shared.recorder.now(),
            served: None,
            heard: None,
            spares_a_majority: false,
        };
        self.recover(period).await.map(drop)
    }

    /// Carries out one round after the other, as long as there is time. Gives how many faults there were.
    ///
    /// # Errors
    /// When something cannot be done, the nodes do not come back, or it was interrupted.
    pub async fn run(&mut self, rounds: &[Round]) -> Result<usize, Failure> {
        let mut faults = 0;
        for round in rounds {
            self.sleep_until(round.at).await?;
            if self.began.elapsed() + round.lasts() > self.lasts {
                break;
            }
            let what: Vec<_> = round.steps.iter().map(|step| step.fault.to_string()).collect();
            let begin = self.shared.recorder.now();
            self.strike(round).await?;
            faults += round.steps.len();
            let period = Period {
                what: what.join("; "),
                faults: round.steps.len(),
                begin,
                end: self.shared.recorder.now(),
                served: None,
                heard: None,
                spares_a_majority: round.spares_a_majority(self.cluster.len()),
            };
            let period = self.recover(period).await?;
            self.tell(&period);
            self.shared.state.send_modify(|state| state.rounds += 1);
        }
        self.sleep_until(self.lasts).await?;
        Ok(faults)
    }

    fn tell(&self, period: &Period) {
        let seconds = |from: u64, to: u64| Duration::from_nanos(to.saturating_sub(from)).as_secs_f64();
        let after = |well: Option<u64>| match well {
            Some(well) => format!("{:.2} s", seconds(period.end, well)),
            None => "never".to_owned(),
        };
        say(&format!(
            "[{:6.1} s] {}: {:.1} s, served after {}, heard after {}; {} operations so far",
            seconds(0, period.begin),
            period.what,
            seconds(period.begin, period.end),
            after(period.served),
            after(period.heard),
            self.shared.recorder.count()
        ));
    }

    fn fail(&self, said: &str) {
        self.shared.recorder.failure(said);
        say(said);
    }

    /// Begins and ends the faults of a round, each at its time.
    async fn strike(&mut self, round: &Round) -> Result<(), Failure> {
        let mut events: Vec<(Duration, bool, &Fault)> = Vec::new();
        for step in &round.steps {
            events.push((step.after, true, &step.fault));
            events.push((step.after + step.lasts, false, &step.fault));
        }
        events.sort_by_key(|(at, begins, _)| (*at, *begins));
        let start = self.began.elapsed();
        for (at, begins, fault) in events {
            self.sleep_until(start + at).await?;
            let done = match begins {
                true => self.cluster.begin(fault),
                false => self.cluster.end(fault),
            };
            if let Err(error) = done {
                self.fail(&format!("{fault}: {error}"));
            }
        }
        for said in self.cluster.raise()? {
            self.fail(&said);
        }
        Ok(())
    }

    /// Waits until every node serves, nothing is under way any more, and everybody has heard from its node.
    async fn recover(&mut self, mut period: Period) -> Result<Period, Failure> {
        let came = self.come_back(&mut period).await;
        self.shared.recorder.period(&period);
        came.map(|()| period)
    }

    async fn come_back(&mut self, period: &mut Period) -> Result<(), Failure> {
        let (began, mut raised) = (Instant::now(), 0);
        for node in 0..self.cluster.len() {
            loop {
                let shared = Arc::clone(&self.shared);
                // On a thread that is on the clients' host, as this one is not.
                let Err(reason) = tokio::spawn(async move { probe::serves(&shared, node).await }).await?
                else {
                    break;
                };
                let reason = format!("a node does not serve: {reason}");
                self.wait(began, self.promises.recovery, &reason).await?;
                for said in self.cluster.raise()? {
                    raised += 1;
                    if raised <= TOLD {
                        self.fail(&said);
                    }
                    self.sleep_until(self.began.elapsed() + RAISING).await?;
                }
            }
        }
        period.served = Some(self.shared.recorder.now());
        while !self.cluster.is_settled() {
            self.wait(
                began,
                self.promises.hearing,
                "something is under way in the cluster",
            )
            .await?;
        }
        loop {
            let deaf = self.shared.heard.deaf_since(period.end);
            if deaf.is_empty() {
                break;
            }
            let reason = format!("nothing was heard by {}", deaf.join(", "));
            self.wait(began, self.promises.hearing, &reason).await?;
        }
        period.heard = Some(self.shared.recorder.now());
        self.cluster.is_well();
        Ok(())
    }

    async fn wait(&mut self, began: Instant, promised: Duration, reason: &str) -> Result<(), Failure> {
        if began.elapsed() > promised * PATIENCE {
            return Err(format!(
                "{} s after the faults had ended, {reason}",
                began.elapsed().as_secs()
            )
            .into());
        }
        self.sleep_until(self.began.elapsed() + LOOK).await
    }
}

/// Tells how it goes.
#[allow(clippy::print_stderr, reason = "it is a command")]
pub fn say(text: &str) {
    eprintln!("{text}");
}
