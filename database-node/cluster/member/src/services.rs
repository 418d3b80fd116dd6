//! What a server asks the servers of other nodes, over the network of its member.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use pliantdb_cluster::NodeId;

/// What a question of a server begins with, and none of a member.
const SERVICE: u8 = 0xff;

type Answering = Pin<Box<dyn Future<Output = Bytes> + Send>>;

/// What answers the questions that other servers ask by [`crate::Member::ask`].
#[derive(Clone)]
pub struct Services(Arc<dyn Fn(NodeId, Bytes) -> Answering + Send + Sync>);

impl Services {
    /// `answer` is asked with the node that asks, and the question. Its future is dropped when nobody waits for the answer any
    /// more.
    pub fn new<F: Future<Output = Bytes> + Send + 'static>(
        answer: impl Fn(NodeId, Bytes) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |from, question| Box::pin(answer(from, question))))
    }

    pub(crate) async fn answer(&self, from: NodeId, question: Bytes) -> Bytes {
        (self.0)(from, question).await
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Services")
    }
}

/// A question of a server, as it is sent.
pub(crate) fn sent(question: &[u8]) -> Bytes {
    [&[SERVICE], question].concat().into()
}

/// The question of a server, if it is one.
pub(crate) fn received(request: &Bytes) -> Option<Bytes> {
    request.starts_with(&[SERVICE]).then(|| request.slice(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_ask_is_told_from_what_members_ask() {
        assert_eq!(received(&sent(b"what")), Some(Bytes::from_static(b"what")));
        let of_member = crate::questions::encode(&crate::questions::Question::Overview);
        assert_eq!(received(&of_member), None);
        assert_eq!(received(&Bytes::new()), None);
    }
}
