//! Whoever has logged in on one node is known on all.

use std::sync::Arc;

use super::Clustered;
use super::between::{Question, Told};
use crate::access::SharedSession;

impl Clustered {
    /// A session that has begun on another node, by what it is known.
    pub(crate) async fn session(&self, hash: [u8; 32]) -> Option<SharedSession> {
        let told = self.ask_others(&Question::Session { hash }).await;
        if told.iter().any(|told| matches!(told, Told::SessionEnded)) {
            return None;
        }
        told.into_iter().find_map(|told| match told {
            Told::Session(session) => session,
            _ => None,
        })
    }

    /// Tells other nodes of a session, without waiting for them: it goes on when this node is gone. One that hears of it later
    /// than its client asks, asks this one.
    pub(crate) fn share_session(self: &Arc<Self>, hash: [u8; 32], session: SharedSession) {
        let cluster = Arc::clone(self);
        self.runtime.spawn(async move {
            cluster.ask_others(&Question::KeepSession { hash, session }).await;
        });
    }

    /// Ends a session on the other nodes that are there.
    pub(crate) async fn end_session(&self, hash: [u8; 32]) {
        self.ask_others(&Question::EndSession { hash }).await;
    }
}
