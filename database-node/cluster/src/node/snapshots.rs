//! How a replica that is far behind gets the state: it is told of a snapshot, and fetches it chunk by chunk.

use std::collections::BTreeMap;
use std::time::Duration;

use pliantdb_core::GroupId;
use pliantdb_storage::group::{Chunk, Position, Staged};
use pliantdb_storage::store::OrderedStore;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use super::replicas::Unmatched;
use super::{Checkpoint, Event, Node};
use crate::applier::Task;
use crate::group::Halt;
use crate::ids::{LogPoint, NodeId, ReplicaId};
use crate::log;
use crate::meta::META;
use crate::timing::{Instant, Now};
use crate::wire::raft::{Body, RaftMessage};
use crate::wire::{Fetch, FetchedChunk, Message, Peer, SentChunk};

/// A chunk that does not come is asked for again after this.
const CHUNK_PATIENCE: Duration = Duration::from_millis(1_000);
/// A snapshot of which nothing comes for so long is given up.
const FETCH_PATIENCE: Duration = Duration::from_secs(10);
/// A snapshot is offered to new replicas for so long.
const OFFER_LIFE: Duration = Duration::from_secs(60);

/// The snapshots on their way.
#[derive(Default)]
pub(super) struct Snapshots {
    /// Those that are fetched.
    fetching: BTreeMap<GroupId, Fetching>,
    /// Those that are offered.
    offers: BTreeMap<GroupId, Offer>,
    /// Those of the meta group, as bytes.
    meta: BTreeMap<u128, Vec<u8>>,
    made: u64,
}

struct Fetching {
    from: NodeId,
    /// What consensus gets when all is there.
    message: RaftMessage,
    snapshot: u128,
    /// Of the meta group: what has come.
    bytes: Vec<u8>,
    number: u32,
    after: Vec<u8>,
    asked: Instant,
    heard: Instant,
}

struct Offer {
    snapshot: u128,
    is_taken: bool,
    /// Up to which entry it goes.
    index: u64,
    since: Instant,
    /// When each replica asked last.
    fetched: BTreeMap<ReplicaId, Instant>,
}

impl Snapshots {
    pub(super) fn is_fetching(&self, id: GroupId) -> bool {
        self.fetching.contains_key(&id)
    }
}

impl<L: OrderedStore> Node<L> {
    /// Takes a snapshot when consensus has asked for one that is not there.
    pub(super) fn look_at_snapshot(&mut self, id: GroupId) {
        let Some(group) = self.groups.get(&id) else {
            return;
        };
        if !group.log().take_wanted() || group.is_installing() {
            return;
        }
        if self
            .snapshots
            .offers
            .get(&id)
            .is_some_and(|offer| !offer.is_taken)
        {
            return;
        }
        self.snapshots.made += 1;
        let seed = self.settings.seed ^ self.snapshots.made;
        let snapshot = xxh3_128_with_seed(&id.get().to_be_bytes(), seed);
        self.snapshots.offers.insert(
            id,
            Offer {
                snapshot,
                is_taken: false,
                index: 0,
                since: self.last_tick,
                fetched: BTreeMap::new(),
            },
        );
        match id {
            META => self.take_meta_snapshot(snapshot),
            _ => self.run(Task::TakeSnapshot { group: id, snapshot }),
        }
    }

    fn take_meta_snapshot(&mut self, snapshot: u128) {
        let Some(checkpoint) = &self.meta else {
            return;
        };
        let Ok(bytes) = postcard::to_stdvec(checkpoint) else {
            return;
        };
        let bytes = seal(bytes);
        let (at, members) = (checkpoint.at, checkpoint.config.members.clone());
        self.snapshots.meta.clear();
        self.snapshots.meta.insert(snapshot, bytes);
        if let Some(offer) = self.snapshots.offers.get_mut(&META) {
            (offer.is_taken, offer.index) = (true, at.index);
        }
        if let Some(group) = self.groups.get_mut(&META) {
            group.offer_snapshot(snapshot, at, &members);
        }
    }

    pub(super) fn snapshot_taken(&mut self, now: Now, id: GroupId, snapshot: u128, position: &Position) {
        let Some(offer) = self
            .snapshots
            .offers
            .get_mut(&id)
            .filter(|offer| offer.snapshot == snapshot)
        else {
            return;
        };
        (offer.is_taken, offer.index, offer.since) = (true, position.index, now.steady);
        let at = LogPoint {
            index: position.index,
            term: position.term,
        };
        if let (Ok(config), Some(group)) = (Self::position_config(position), self.groups.get_mut(&id)) {
            group.offer_snapshot(snapshot, at, &config.members);
        }
    }

    pub(super) fn forget_snapshots(&mut self, id: GroupId) {
        self.snapshots.fetching.remove(&id);
        self.withdraw(id);
    }

    /// Offers a group's snapshot no longer, and lets go of it.
    fn withdraw(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.withdraw_snapshot();
        }
        match self.snapshots.offers.remove(&id) {
            Some(_) if id == META => self.snapshots.meta.clear(),
            Some(Offer { snapshot, .. }) => self.run(Task::DropSnapshot { group: id, snapshot }),
            None => {}
        }
    }

    /// The entry behind which those are needed that a replica will ask for when it has the snapshot that it fetches.
    pub(super) fn fetched_up_to(&self, id: GroupId) -> Option<u64> {
        let offer = self.snapshots.offers.get(&id)?;
        (offer.is_taken && !offer.fetched.is_empty()).then_some(offer.index)
    }

    /// A leader's offer of a snapshot is kept back until it is fetched; any other message is given back.
    pub(super) fn take_snapshot_offer(&mut self, now: Now, message: RaftMessage) -> Option<RaftMessage> {
        let Body::Snapshot { snapshot, at, .. } = &message.body else {
            return Some(message);
        };
        let (id, snapshot) = (message.group, *snapshot);
        let group = self.groups.get(&id)?;
        // One that brings nothing new only tells where this replica stands.
        if group.is_installing() {
            return None;
        }
        if at.index <= group.committed() {
            return Some(message);
        }
        if let Some(fetching) = self.snapshots.fetching.get_mut(&id)
            && fetching.snapshot == snapshot
        {
            fetching.message = message;
            return None;
        }
        let staged = self
            .found
            .staged
            .remove(&id)
            .filter(|staged| staged.snapshot == snapshot);
        let (number, after) = match staged {
            Some(staged) => (staged.chunks, staged.next.unwrap_or_default()),
            None => (0, Vec::new()),
        };
        let fetching = Fetching {
            from: message.from.node(),
            message,
            snapshot,
            bytes: Vec::new(),
            number,
            after,
            asked: now.steady,
            heard: now.steady,
        };
        self.snapshots.fetching.insert(id, fetching);
        self.ask_for_chunk(now, id);
        None
    }

    fn ask_for_chunk(&mut self, now: Now, id: GroupId) {
        let Some(fetching) = self.snapshots.fetching.get_mut(&id) else {
            return;
        };
        fetching.asked = now.steady;
        let fetch = Fetch {
            group: id,
            to: fetching.message.to,
            snapshot: fetching.snapshot,
            number: fetching.number,
            after: fetching.after.clone(),
        };
        let to = Peer::Node(fetching.from);
        self.tell(to, Message::Fetch(fetch));
    }

    pub(super) fn fetch_asked(&mut self, now: Now, from: NodeId, fetch: Fetch) {
        let Fetch {
            group,
            to,
            snapshot,
            number,
            after,
        } = fetch;
        if let Some(offer) = self.snapshots.offers.get_mut(&group) {
            offer.fetched.insert(to, now.steady);
        }
        let limit = self.settings.limits.chunk_bytes;
        if group != META {
            return self.run(Task::ReadChunk {
                group,
                snapshot,
                number,
                after,
                limit,
                to: from,
            });
        }
        // Of the meta group the cursor is how many bytes have come.
        let start = <[u8; 8]>::try_from(after.as_slice()).map_or(0, u64::from_be_bytes);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let chunk = self.snapshots.meta.get(&snapshot).and_then(|bytes| {
            let end = bytes.len().min(start.saturating_add(limit));
            let next = (end < bytes.len()).then(|| (end as u64).to_be_bytes().to_vec());
            let bytes = bytes.get(start..end)?.to_vec();
            Some(SentChunk { bytes, next })
        });
        self.send_chunk(group, snapshot, number, chunk, from);
    }

    pub(super) fn chunk_read(
        &mut self,
        group: GroupId,
        snapshot: u128,
        number: u32,
        chunk: Option<Chunk>,
        to: NodeId,
    ) {
        let offer = self.snapshots.offers.get(&group);
        if chunk.is_none() && offer.is_some_and(|offer| offer.snapshot == snapshot) {
            // It is not there any more: another is to be taken.
            self.withdraw(group);
        }
        let chunk = chunk.map(|chunk| SentChunk {
            bytes: chunk.bytes,
            next: chunk.next,
        });
        self.send_chunk(group, snapshot, number, chunk, to);
    }

    fn send_chunk(
        &mut self,
        group: GroupId,
        snapshot: u128,
        number: u32,
        chunk: Option<SentChunk>,
        to: NodeId,
    ) {
        let message = FetchedChunk {
            group,
            snapshot,
            number,
            chunk,
        };
        self.tell(Peer::Node(to), Message::Chunk(message));
    }

    pub(super) fn chunk_came(&mut self, now: Now, from: NodeId, fetched: FetchedChunk) {
        let FetchedChunk {
            group: id,
            snapshot,
            number,
            chunk,
        } = fetched;
        let Some(fetching) = self.snapshots.fetching.get_mut(&id) else {
            return;
        };
        if fetching.from != from || fetching.snapshot != snapshot || fetching.number != number {
            return;
        }
        let Some(chunk) = chunk else {
            // The sender does not have it any more, and will offer another.
            self.give_up(id);
            return;
        };
        fetching.heard = now.steady;
        if id != META {
            let chunk = Chunk {
                bytes: chunk.bytes,
                next: chunk.next,
            };
            return self.run(Task::Stage {
                group: id,
                snapshot,
                number,
                chunk,
            });
        }
        fetching.bytes.extend(chunk.bytes);
        match chunk.next {
            Some(next) => {
                (fetching.number, fetching.after) = (number + 1, next);
                self.ask_for_chunk(now, id);
            }
            None if is_sealed(&fetching.bytes) => self.fetched(now, id),
            // Damaged on its way: another is offered.
            None => self.give_up(id),
        }
    }

    pub(super) fn chunk_staged(&mut self, now: Now, id: GroupId, staged: Option<Staged>) {
        let Some(fetching) = self.snapshots.fetching.get_mut(&id) else {
            return;
        };
        match staged.filter(|staged| staged.snapshot == fetching.snapshot) {
            Some(staged) if staged.is_complete => self.fetched(now, id),
            Some(staged) => {
                (fetching.number, fetching.after) = (staged.chunks, staged.next.unwrap_or_default());
                self.ask_for_chunk(now, id);
            }
            // It could not be kept. From the beginning, when some time has passed.
            None => (fetching.number, fetching.after) = (0, Vec::new()),
        }
    }

    /// Everything is there: now consensus may decide whether it wants it.
    fn fetched(&mut self, now: Now, id: GroupId) {
        let Some(fetching) = self.snapshots.fetching.get_mut(&id) else {
            return;
        };
        let message = fetching.message.clone();
        let timing = &self.settings.timing;
        if let Some(group) = self.groups.get_mut(&id) {
            // It confirms nobody.
            group.receive(now, timing, message, false);
            self.touched.insert(id);
            if group.begin_install().is_some() {
                return self.install(id);
            }
        }
        self.give_up(id);
    }

    fn give_up(&mut self, id: GroupId) {
        self.snapshots.fetching.remove(&id);
        if id != META {
            self.run(Task::Discard { group: id });
        }
    }

    /// Consensus has accepted the snapshot that is here.
    pub(super) fn install(&mut self, id: GroupId) {
        if id != META {
            return self.run(Task::Install { group: id });
        }
        let bytes = self.snapshots.fetching.remove(&id).map(|fetching| fetching.bytes);
        // The checksum behind it is left over.
        let checkpoint = postcard::from_bytes::<Checkpoint>(&bytes.unwrap_or_default());
        let Some(group) = self.groups.get_mut(&META) else {
            return;
        };
        let mut checkpoint = match checkpoint {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                let reason = format!("the snapshot of the meta group cannot be read: {error}");
                return group.stop(Halt::State(reason));
            }
        };
        checkpoint.config.incarnation = checkpoint.config.incarnation.max(group.incarnation());
        group.installed(checkpoint.config.clone());
        self.work.must_sync = true;
        let put = log::put_checkpoint(&mut self.work.batch, &checkpoint);
        if let Err(error) = put {
            return self.log_failed(&error);
        }
        self.note_installed(META, checkpoint.at.index);
        // What waited may be in it.
        self.refuse_all(META, &super::Refusal::Unknown);
        self.meta = Some(checkpoint);
        self.unmatched = Unmatched::All;
        self.touched.insert(META);
    }

    pub(super) fn installed(&mut self, id: GroupId, position: &Position) {
        self.snapshots.fetching.remove(&id);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        let at = LogPoint {
            index: position.index,
            term: position.term,
        };
        match Self::position_config(position) {
            Ok(config) => group.installed(config),
            Err(halt) => group.stop(halt),
        }
        self.note_installed(id, position.index);
        // What waited may be in the snapshot.
        self.refuse_all(id, &super::Refusal::Unknown);
        self.event(Event::Installed {
            group: id,
            at,
            timestamp: position.timestamp,
        });
        self.touched.insert(id);
    }

    /// Asks again for what did not come, and forgets what nobody fetches.
    pub(super) fn tick_snapshots(&mut self, now: Now) {
        let is_late = |moment: Instant, patience| now.steady.since(moment) > patience;
        let fetching = &self.snapshots.fetching;
        let given_up = fetching
            .iter()
            .filter(|(_, fetching)| is_late(fetching.heard, FETCH_PATIENCE));
        let given_up: Vec<GroupId> = given_up.map(|(id, _)| *id).collect();
        for id in given_up {
            let is_installing = self
                .groups
                .get(&id)
                .is_some_and(crate::group::Group::is_installing);
            if !is_installing {
                self.give_up(id);
            }
        }
        let asked = self.snapshots.fetching.iter();
        let asked = asked.filter(|(_, fetching)| is_late(fetching.asked, CHUNK_PATIENCE));
        let asked: Vec<GroupId> = asked.map(|(id, _)| *id).collect();
        for id in asked {
            self.ask_for_chunk(now, id);
        }
        self.tick_offers(now);
    }

    fn tick_offers(&mut self, now: Now) {
        let ids: Vec<GroupId> = self.snapshots.offers.keys().copied().collect();
        for id in ids {
            let (Some(offer), Some(group)) = (self.snapshots.offers.get_mut(&id), self.groups.get_mut(&id))
            else {
                continue;
            };
            // Whoever was told of it and does not fetch it may not have been told: consensus is to try again.
            for replica in group.waiting_for_snapshot() {
                let asked = *offer.fetched.entry(replica).or_insert(now.steady);
                if now.steady.since(asked) > 3 * CHUNK_PATIENCE {
                    offer.fetched.remove(&replica);
                    group.snapshot_failed(replica);
                    self.touched.insert(id);
                }
            }
            let last = offer.fetched.values().copied().max().unwrap_or(offer.since);
            if now.steady.since(last.max(offer.since)) > OFFER_LIFE {
                self.withdraw(id);
            }
        }
    }
}

/// Bytes with a checksum behind them.
fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&bytes);
    bytes.extend(checksum.to_be_bytes());
    bytes
}

/// Whether bytes are as they were sealed.
fn is_sealed(bytes: &[u8]) -> bool {
    let parts = bytes.split_last_chunk::<8>();
    parts.is_some_and(|(sealed, checksum)| xxh3_64(sealed).to_be_bytes() == *checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_the_meta_group_that_was_damaged_on_its_way_is_noticed() {
        let whole = seal(vec![7; 100]);
        assert!(is_sealed(&whole));
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(!is_sealed(&damaged) && !is_sealed(&whole[..at]), "{at}");
        }
    }
}
