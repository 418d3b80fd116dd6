//! Only one replica of the operator acts at a time: the holder of a Lease.
//!
//! The holder renews its lease and stops, by itself and at once, when it has not been able to for
//! [`DEADLINE`]; the others take the lease over when they have seen it unchanged for [`DURATION`], which is
//! longer. Both measure with their own monotonic clock, so clocks that differ do no harm. Every change of the
//! lease carries the version it rests on, so that of two who try only one succeeds.
//! docs/decisions/0003-leader-election.md says why no library does this.
//!
//! A lease is still no fence (a process may be paused between two instructions), so every destructive request
//! also carries the identity of the object that it was decided for, as a precondition.

use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a lease must have been seen unchanged before another replica takes it.
const DURATION: Duration = Duration::from_secs(30);
/// How long a holder goes on acting after the last renewal that succeeded.
const DEADLINE: Duration = Duration::from_secs(15);
/// How often the holder renews.
const RENEWAL: Duration = Duration::from_secs(5);
/// How often the others look, and how soon a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(4);

/// Where a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// The lease has not been seen yet.
    Unknown,
    /// Another replica holds the lease, or it is about to be taken.
    Follower,
    /// This replica holds the lease.
    Leader,
}

/// The competition for the lease, going on in the background.
pub struct Leadership {
    standing: watch::Receiver<Standing>,
    resign: CancellationToken,
    task: JoinHandle<()>,
}

impl Leadership {
    /// Starts to compete for the Lease `name` in the operator's own namespace, as `identity`.
    pub fn compete(client: Client, name: &str, identity: &str) -> Self {
        let api = Api::default_namespaced(client);
        let (sender, standing) = watch::channel(Standing::Unknown);
        let resign = CancellationToken::new();
        let candidate = Candidate {
            api,
            name: name.into(),
            identity: identity.into(),
            watched: None,
        };
        let task = tokio::spawn(candidate.run(sender, resign.clone()));
        Self {
            standing,
            resign,
            task,
        }
    }

    /// Waits until the lease has been seen, whoever holds it.
    pub async fn seen(&mut self) {
        // The sender lives as long as the task, which ends only when the lease is lost or given back.
        let _ = self
            .standing
            .wait_for(|standing| *standing != Standing::Unknown)
            .await;
    }

    /// Waits until this replica holds the lease.
    ///
    /// # Errors
    /// When the competition has ended.
    pub async fn won(&mut self) -> anyhow::Result<()> {
        let won = self
            .standing
            .wait_for(|standing| *standing == Standing::Leader)
            .await;
        won.map(drop).context("the competition for the lease has ended")
    }

    /// Waits until this replica no longer holds the lease it has won, or can no longer be sure of it.
    pub async fn lost(&mut self) {
        let _ = self
            .standing
            .wait_for(|standing| *standing != Standing::Leader)
            .await;
    }

    /// Gives the lease back, so that another replica need not wait for its end.
    pub async fn resign(self) {
        self.resign.cancel();
        // The task bounds its requests; should it have failed, there is nothing left to give back.
        let _ = self.task.await;
    }
}

struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// Another's lease as last seen, and when it was first seen so.
    watched: Option<(LeaseSpec, Instant)>,
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// It is free, or its holder is gone, or it is ours: write our name into it.
    Hold,
    /// Another holds it.
    Wait,
    /// It was changed between reading and writing: look again.
    LookAgain,
}

impl Candidate {
    async fn run(mut self, standing: watch::Sender<Standing>, resign: CancellationToken) {
        let mut renewed: Option<Instant> = None;
        loop {
            let began = Instant::now();
            let pause = match timeout(REQUEST, self.step()).await {
                Ok(Ok(Decision::Hold)) => {
                    renewed = Some(began);
                    standing.send_replace(Standing::Leader);
                    RENEWAL
                }
                Ok(Ok(Decision::Wait)) if renewed.is_some() => {
                    tracing::error!("another replica has taken the lease");
                    break;
                }
                Ok(Ok(Decision::Wait)) => {
                    standing.send_replace(Standing::Follower);
                    RETRY
                }
                Ok(Ok(Decision::LookAgain)) => RETRY,
                Ok(Err(error)) => {
                    tracing::warn!("the lease {} cannot be read or renewed: {error}", self.name);
                    RETRY
                }
                Err(_) => {
                    tracing::warn!("the API server does not answer about the lease {}", self.name);
                    RETRY
                }
            };
            let deadline = renewed.map(|renewed| renewed + DEADLINE);
            if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = resign.cancelled() => {
                    if renewed.is_some() {
                        self.give_back().await;
                    }
                    break;
                }
            }
        }
        standing.send_replace(Standing::Follower);
    }

    /// Looks at the lease, and takes or renews it where that is due.
    async fn step(&mut self) -> Result<Decision, kube::Error> {
        let live = self.api.get_opt(&self.name).await?;
        let spec = live
            .as_ref()
            .and_then(|lease| lease.spec.clone())
            .unwrap_or_default();
        if self.decide(&spec, Instant::now()) == Decision::Wait {
            return Ok(Decision::Wait);
        }
        let now = MicroTime(Timestamp::now());
        let ours = spec.holder_identity.as_deref() == Some(&self.identity);
        let mut lease = live.unwrap_or_else(|| Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        });
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: if ours {
                spec.acquire_time
            } else {
                Some(now.clone())
            },
            renew_time: Some(now),
            lease_transitions: Some(spec.lease_transitions.unwrap_or(0) + i32::from(!ours)),
            ..LeaseSpec::default()
        });
        self.write(&lease).await
    }

    fn decide(&mut self, lease: &LeaseSpec, now: Instant) -> Decision {
        let holder = lease.holder_identity.as_deref().unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return Decision::Hold;
        }
        match &self.watched {
            Some((seen, since)) if seen == lease => {
                if now.duration_since(*since) >= DURATION {
                    Decision::Hold
                } else {
                    Decision::Wait
                }
            }
            _ => {
                self.watched = Some((lease.clone(), now));
                Decision::Wait
            }
        }
    }

    /// Creates the lease, or replaces the very version that was read.
    async fn write(&self, lease: &Lease) -> Result<Decision, kube::Error> {
        let params = PostParams::default();
        let written = match lease.metadata.resource_version {
            Some(_) => self.api.replace(&self.name, &params, lease).await,
            None => self.api.create(&params, lease).await,
        };
        match written {
            Ok(_) => Ok(Decision::Hold),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Decision::LookAgain),
            Err(error) => Err(error),
        }
    }

    async fn give_back(&self) {
        let given_back = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else {
                return Ok(());
            };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = None;
                self.write(&lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match timeout(REQUEST, given_back).await {
            Ok(Ok(())) => tracing::info!("the lease was given back"),
            Ok(Err(error)) => tracing::warn!("the lease was not given back: {error}"),
            Err(_) => tracing::warn!("the lease was not given back: no answer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const _: () = assert!(
        DEADLINE.as_secs() + REQUEST.as_secs() + RETRY.as_secs() < DURATION.as_secs(),
        "a holder stops before another may begin"
    );

    fn lease(holder: &str, renewed_at: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed_at).expect("a time"))),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn a_lease_is_taken_only_when_seen_unchanged_for_its_duration() {
        let config = kube::Config::new("http://127.0.0.1:9".parse().expect("a URL"));
        let client = Client::try_from(config).expect("a client");
        let mut candidate = Candidate {
            api: Api::default_namespaced(client),
            name: "lease".into(),
            identity: "me".into(),
            watched: None,
        };
        let start = Instant::now();
        let mut decide = |holder: &str, renewed_at: i64, seconds: u64| {
            candidate.decide(&lease(holder, renewed_at), start + Duration::from_secs(seconds))
        };
        assert_eq!(decide("", 0, 0), Decision::Hold, "free");
        assert_eq!(decide("me", 0, 0), Decision::Hold, "ours");
        assert_eq!(
            decide("you", 1, 0),
            Decision::Wait,
            "seen for the first time, however old it says it is"
        );
        assert_eq!(decide("you", 1, 29), Decision::Wait);
        assert_eq!(decide("you", 2, 31), Decision::Wait, "renewed");
        assert_eq!(decide("you", 2, 60), Decision::Wait);
        assert_eq!(
            decide("you", 2, 61),
            Decision::Hold,
            "not renewed for its duration"
        );
        assert_eq!(decide("they", 2, 62), Decision::Wait, "another was faster");
    }
}
