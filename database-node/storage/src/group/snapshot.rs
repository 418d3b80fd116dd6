//! A shard as it was, to be sent to another replica.

use std::sync::Arc;

use pliantdb_core::{GroupId, Order};

use super::chunk::{self, Chunk, Header};
use super::records::Head;
use super::{Position, Shard};
use crate::error::StorageError;
use crate::extent::Extent;
use crate::keys;
use crate::store::{Cursor, Holds, OrderedStore, Snapshot};

/// An unchanging copy of a shard, read in chunks. As long as it is there, its store stays open, and what was written over
/// or deleted since stays on the disk.
///
/// It has what every replica has. What a node makes of that for itself alone is left out and made anew elsewhere.
pub struct GroupSnapshot<S: OrderedStore> {
    group: GroupId,
    head: Head,
    extent: Extent,
    kept: S::Kept,
}

impl<S: OrderedStore> GroupSnapshot<S> {
    pub(super) fn take(store: &Arc<S>, group: GroupId, head: Head, extent: Extent) -> Self {
        let holder: Arc<dyn Holds<S>> = Arc::clone(store) as _;
        Self {
            group,
            head,
            extent,
            kept: S::keep(holder),
        }
    }

    /// How far the group had applied its log.
    pub fn position(&self) -> &Position {
        &self.head.position
    }

    /// The slots that it has.
    pub fn shard(&self) -> &Shard {
        &self.head.shard
    }

    /// The chunk behind `after`: nothing for the first, then the `next` of the one before. It has about `limit` bytes of
    /// keys and values, and never more than that and one key and value; the first has what the group knows of itself,
    /// besides.
    ///
    /// # Errors
    /// [`StorageError::InvalidChunk`] when `after` is no such cursor, and [`StorageError::Store`].
    pub fn chunk(&self, after: &[u8], limit: usize) -> Result<Chunk, StorageError> {
        let mut range = self.extent.keys();
        if !after.is_empty() {
            let behind = [after, &[0]].concat();
            let is_within = range.start <= behind && range.end.as_ref().is_some_and(|end| behind <= *end);
            if !is_within {
                return Err(StorageError::InvalidChunk {
                    group: self.group,
                    reason: format!(
                        "it was asked for behind \"{}\", which is no cursor",
                        after.escape_ascii()
                    ),
                });
            }
            range.start = behind;
        }
        let mut cursor = self.kept.scan(range, Order::Ascending)?;
        let (mut entries, mut size, mut last, mut next) = (Vec::new(), 0, None, None);
        while let Some((key, value)) = cursor.entry() {
            if keys::is_replicated(key) {
                if size >= limit && last.is_some() {
                    next = last;
                    break;
                }
                size += key.len() + value.len();
                chunk::push_entry(&mut entries, key, value)?;
                last = Some(key.to_vec());
            }
            cursor.advance()?;
        }
        let header = Header {
            group: self.group,
            index: self.head.position.index,
            term: self.head.position.term,
            after: after.to_vec(),
            next: next.clone(),
            head: after.is_empty().then(|| self.head.clone()),
        };
        let bytes = chunk::encode(&header, &entries)?;
        Ok(Chunk { bytes, next })
    }
}
