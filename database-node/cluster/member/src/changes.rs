//! Changes of the cluster, asked of any node: the one that leads the meta group decides.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pliantdb_cluster::meta::{Consent, MetaCommand, MetaOutcome, MetaRejection};
use pliantdb_cluster::node::Ask;
use pliantdb_cluster::{META, Meta, NodeId};
use pliantdb_cluster_driver::{Handle, Stopped};
use pliantdb_cluster_transport::{Network, RequestError};
use pliantdb_storage::StateStore;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::giving::Giving;
use crate::questions::{Hidden, Question, Reply, Seen, decode, decode_reply, encode, encode_reply};
use crate::renewing::is_keeper;

/// How long somebody who leads the meta group is looked for, and waited for.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same, for how everybody is: whoever asks wants to know also that nobody leads.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);
/// How long one node has to answer that, for it may be gone.
const ATTEMPT: Duration = Duration::from_secs(1);
/// How long nobody is asked after one that does not lead.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The meta group has refused it.
    #[error(transparent)]
    Refused(Box<MetaRejection>),
    /// It cannot be made as things are.
    #[error("{0}")]
    Rejected(String),
    /// Nobody leads the meta group, or nobody who does can be reached: most of its voters have to be there.
    #[error("no node decides about the cluster at the moment: {0}")]
    Unavailable(String),
    /// It was asked for, and no answer came.
    #[error("whether it was done is not known: look at the status, and ask again if it was not")]
    Unknown,
}

/// What is needed to ask.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) handle: Handle<StateStore>,
    pub(crate) network: Arc<Network>,
}

impl Asker {
    pub(crate) async fn change(&self, command: MetaCommand) -> Result<MetaOutcome, ChangeError> {
        self.done(Question::Change(command))
            .await
            .map(|(outcome, _)| outcome)
    }

    /// The same, with how much of the meta group's log has to be applied to know it.
    pub(crate) async fn change_at(&self, command: MetaCommand) -> Result<(MetaOutcome, u64), ChangeError> {
        self.done(Question::Change(command)).await
    }

    pub(crate) async fn force(
        &self,
        leader: Option<NodeId>,
        consent: Consent,
    ) -> Result<MetaOutcome, ChangeError> {
        let done = self.done(Question::Force { leader, consent }).await;
        done.map(|(outcome, _)| outcome)
    }

    /// Asks this node alone.
    pub(crate) async fn force_alone(&self, consent: Consent) -> Result<MetaOutcome, ChangeError> {
        let asking = self.handle.ask_async(Ask::ForceMeta { consent });
        let Ok(answered) = timeout(PATIENCE, asking).await else {
            return Err(ChangeError::Unknown);
        };
        match answered.map(Reply::from).map_err(stopped)? {
            Reply::Done(outcome) => Ok(outcome),
            Reply::Refused(rejection) => Err(ChangeError::Refused(Box::new(rejection))),
            Reply::Rejected(reason) => Err(ChangeError::Rejected(reason)),
            Reply::Busy(reason) => Err(ChangeError::Unavailable(reason)),
            _ => Err(ChangeError::Unknown),
        }
    }

    pub(crate) async fn overview(&self) -> Result<Vec<Seen>, ChangeError> {
        match self.ask(Question::Overview).await? {
            Reply::Overview(seen) => Ok(seen),
            _ => Err(ChangeError::Rejected(
                "the node answered something else".to_owned(),
            )),
        }
    }

    async fn done(&self, question: Question) -> Result<(MetaOutcome, u64), ChangeError> {
        match self.ask(question).await? {
            Reply::Changed(outcome, at) => Ok((outcome, at)),
            // Of a node of a version before: whatever is known there by now is asked for besides.
            Reply::Done(outcome) => Ok((outcome, 0)),
            _ => Err(ChangeError::Rejected(
                "the node answered something else".to_owned(),
            )),
        }
    }

    /// Asks whoever leads the meta group, until somebody has decided.
    async fn ask(&self, question: Question) -> Result<Reply, ChangeError> {
        let is_read = matches!(question, Question::Overview);
        let until = Instant::now() + if is_read { SHORT_PATIENCE } else { PATIENCE };
        let (mut hint, mut reason) = (None, "no node is known to lead the meta group".to_owned());
        let mut asked = 0;
        while Instant::now() < until {
            let (own, known, others) = self.leader().await.map_err(stopped)?;
            // One that others cannot reach hears of no leader: any of them knows who it is.
            asked += 1;
            let any = others.get(asked % others.len().max(1)).copied();
            let leader: Option<NodeId> = Option::take(&mut hint).or(known).or(any);
            let attempt = match is_read {
                true => until.min(Instant::now() + ATTEMPT),
                false => until,
            };
            let reply = match leader {
                Some(leader) if Some(leader) == own => {
                    let answering = answer(&self.handle, question.clone());
                    match timeout_at(until, answering).await {
                        Ok(reply) => reply.map_err(stopped)?,
                        Err(_) => return Err(ChangeError::Unknown),
                    }
                }
                Some(leader) => match self.request(leader, &question, attempt).await {
                    Ok(reply) => reply,
                    Err(RequestError::Unknown { .. }) if !is_read => return Err(ChangeError::Unknown),
                    Err(error) => {
                        reason = format!("node {leader}: {error}");
                        sleep(PAUSE).await;
                        continue;
                    }
                },
                None => {
                    sleep(PAUSE).await;
                    continue;
                }
            };
            match reply {
                Reply::Done(_)
                | Reply::Changed(..)
                | Reply::Overview(_)
                | Reply::Certificate { .. }
                | Reply::Token(_)
                | Reply::Authority { .. } => return Ok(reply),
                Reply::Refused(rejection) => return Err(ChangeError::Refused(Box::new(rejection))),
                Reply::Rejected(reason) | Reply::NotHere(reason) => {
                    return Err(ChangeError::Rejected(reason));
                }
                Reply::Unknown => return Err(ChangeError::Unknown),
                Reply::NotLeader(other) => hint = other.filter(|other| Some(*other) != leader),
                Reply::Busy(why) => reason = why,
            }
            sleep(PAUSE).await;
        }
        Err(ChangeError::Unavailable(reason))
    }

    /// Who this node is, who leads the meta group as far as it knows, and who else is there.
    async fn leader(&self) -> Result<(Option<NodeId>, Option<NodeId>, Vec<NodeId>), Stopped> {
        look(&self.handle, |node| {
            let own = node.id();
            let nodes = node
                .meta()
                .into_iter()
                .flat_map(|meta| meta.nodes().keys().copied());
            (
                own,
                node.leader(META),
                nodes.filter(|other| Some(*other) != own).collect(),
            )
        })
        .await
    }

    async fn request(
        &self,
        node: NodeId,
        question: &Question,
        until: Instant,
    ) -> Result<Reply, RequestError> {
        let left = until.saturating_duration_since(Instant::now());
        let bytes = match question {
            Question::Overview => self.network.inquire(node, encode(question), left).await?,
            // They wait for a majority.
            _ => self.network.request(node, encode(question), left).await?,
        };
        // Of another version, say: it may have done what it was asked.
        decode_reply(&bytes).map_err(|reason| RequestError::Unknown { node, reason })
    }
}

/// Answers what another node asks.
pub(crate) async fn answer_bytes(
    handle: Handle<StateStore>,
    giving: Option<Arc<Giving>>,
    from: NodeId,
    bytes: Bytes,
) -> Bytes {
    let reply = match decode::<Question>(&bytes) {
        Ok(question @ (Question::Certify { .. } | Question::MakeToken { .. } | Question::Authority)) => {
            let meta = handle.known().borrow().meta.clone();
            give(giving, meta, from, question).await
        }
        Ok(question) => {
            let changes = matches!(question, Question::Change(_) | Question::Force { .. });
            match answer(&handle, question).await {
                Ok(reply) => reply,
                // It may have been proposed.
                Err(_) if changes => Reply::Unknown,
                Err(stopped) => Reply::Busy(stopped.to_string()),
            }
        }
        Err(reason) => Reply::Rejected(format!("the question cannot be read: {reason}")),
    };
    encode_reply(reply)
}

/// Gives a node what only one with the authority can give.
async fn give(
    giving: Option<Arc<Giving>>,
    meta: Option<Arc<Meta>>,
    from: NodeId,
    question: Question,
) -> Reply {
    let nothing = || Reply::NotHere("it has not the authority of the cluster".to_owned());
    let (Some(giving), Some(meta)) = (giving, meta) else {
        return nothing();
    };
    // One that was removed has a certificate still.
    if !meta.nodes().contains_key(&from) {
        return Reply::Rejected(format!("node {from} is not of the cluster"));
    }
    let given = tokio::task::spawn_blocking(move || match question {
        Question::Certify { request } => {
            let authority = giving.authority()?.certificate_pem().to_owned();
            Some(match giving.issue(&request)? {
                Ok(certificate) => Reply::Certificate {
                    certificate,
                    authority,
                },
                Err(error) => Reply::Rejected(error.to_string()),
            })
        }
        Question::MakeToken { lifetime } => Some(match giving.make_token(lifetime)? {
            Ok(token) => Reply::Token(Hidden::new(token.reveal())),
            Err(error) => Reply::Rejected(error.to_string()),
        }),
        Question::Authority if !is_keeper(&meta, from) => Some(Reply::Rejected(format!(
            "node {from} is not to have the authority"
        ))),
        Question::Authority => giving.authority().map(|authority| Reply::Authority {
            certificate: authority.certificate_pem().to_owned(),
            key: Hidden::new(authority.key_pem().to_owned()),
        }),
        _ => None,
    });
    given.await.ok().flatten().unwrap_or_else(nothing)
}

async fn answer(handle: &Handle<StateStore>, question: Question) -> Result<Reply, Stopped> {
    match question.ask() {
        Some(ask) => handle
            .ask_async(ask)
            .await
            .map(|answer| match Reply::from(answer) {
                // Whoever is answered finds what it was answered.
                Reply::Done(outcome) => Reply::Changed(outcome, handle.known().borrow().applied),
                reply => reply,
            }),
        None => {
            let overview = look(handle, |node| (node.overview(), node.leader(META))).await?;
            Ok(match overview {
                (Some(overview), _) => {
                    let seen = overview.into_iter().map(|(node, (silent, replicas))| Seen {
                        node,
                        silent,
                        replicas,
                    });
                    Reply::Overview(seen.collect())
                }
                (None, leader) => Reply::NotLeader(leader),
            })
        }
    }
}

/// Looks at the node, without keeping a thread of the runtime waiting.
pub(crate) async fn look<T: Send + 'static>(
    handle: &Handle<StateStore>,
    look: impl FnOnce(&pliantdb_cluster::Node<StateStore>) -> T + Send + 'static,
) -> Result<T, Stopped> {
    let looking = handle.clone();
    let looked = tokio::task::spawn_blocking(move || looking.look(look)).await;
    looked.unwrap_or(Err(Stopped::ByOwner))
}

fn stopped(stopped: Stopped) -> ChangeError {
    ChangeError::Unavailable(stopped.to_string())
}
