//! What is to be in a node's log before it runs for the first time, when it founds a cluster that has databases from the
//! beginning: new ones, or those of a storage, whose directory it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use pliantdb_core::{DatabaseName, SlotCount, Timestamp};
use pliantdb_storage::group::Position;
use pliantdb_storage::node::{Founding, Heritage};
use pliantdb_storage::store::{Batch, StoreError};

use super::Checkpoint;
use super::replicas::{FOUNDATION, encode_config, founding_config, new_record};
use crate::group::config::{GroupConfig, Members};
use crate::ids::{Epoch, Incarnation, NodeId, ReplicaId};
use crate::log::{self, Identity};
use crate::meta::{META, Meta, MetaRejection, NodeRecord, NodeState};

/// The node that founds a cluster.
#[derive(Debug, Clone)]
pub struct Founder {
    /// The cluster, drawn at random.
    pub cluster: u128,
    /// Drawn at random too.
    pub token: u128,
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// The newest version of commands that it can apply.
    pub apply_version: u16,
}

impl Founder {
    /// Founds a cluster with databases that are empty: what the log has to begin with, in one batch. Their replicas are made
    /// when the node is opened.
    ///
    /// # Errors
    /// [`MetaRejection`] for databases that cannot be, and [`StoreError`].
    pub fn found(
        self,
        databases: &[(DatabaseName, SlotCount)],
    ) -> Result<Result<Batch, MetaRejection>, StoreError> {
        let identity = self.identity();
        let mut meta = self.meta();
        for (name, slots) in databases {
            if let Err(rejection) = meta.create_database(name, *slots) {
                return Ok(Err(rejection));
            }
        }
        write(identity, meta).map(Ok)
    }

    /// Founds a cluster with what a storage leaves to it. Each database becomes a group of its number, whose log begins
    /// behind what is there, as after a snapshot: whoever joins fetches one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn found_with(self, heritage: &Heritage) -> Result<Founding, StoreError> {
        let identity = self.identity();
        let mut meta = self.meta();
        meta.inherit(heritage);
        let mut groups = Vec::new();
        let mut records = Batch::default();
        for (id, group) in meta.groups() {
            let Some(shard) = &group.shard else {
                continue;
            };
            let Some(replica) = group.replicas.get(&identity.node) else {
                continue;
            };
            let members = Members::new(group.voting(), group.learning());
            let config = founding_config(members, group.incarnation);
            let record = new_record(*replica, group.incarnation, FOUNDATION, group.epoch);
            log::put_record(&mut records, *id, &record)?;
            groups.push((*id, shard.clone(), position(&config, heritage.timestamp)));
        }
        let mut batch = write(identity, meta)?;
        batch.append(&records);
        Ok(Founding { log: batch, groups })
    }

    fn identity(&self) -> Identity {
        Identity {
            cluster: self.cluster,
            node: NodeId::FIRST,
        }
    }

    fn meta(self) -> Meta {
        let record = NodeRecord {
            name: self.name,
            token: self.token,
            attributes: self.attributes,
            state: NodeState::Active,
            apply_version: self.apply_version,
        };
        Meta::found(self.cluster, record)
    }
}

/// Where the log of a group begins whose state is there.
fn position(config: &GroupConfig, timestamp: Timestamp) -> Position {
    Position {
        index: FOUNDATION.index,
        term: FOUNDATION.term,
        timestamp,
        config: encode_config(config),
    }
}

/// Who the node is, what it knows, and the log of its replica of the meta group.
fn write(identity: Identity, meta: Meta) -> Result<Batch, StoreError> {
    let mut batch = Batch::default();
    log::put_identity(&mut batch, identity)?;
    let founders = meta.group(META).map(|record| record.founders.clone());
    let founders = founders.unwrap_or_default();
    let replica = founders.voters.first().copied();
    let replica = replica.unwrap_or(ReplicaId::new(identity.node, 1));
    let record = new_record(replica, Incarnation::FIRST, FOUNDATION, Epoch::default());
    log::put_record(&mut batch, META, &record)?;
    let checkpoint = Checkpoint {
        at: FOUNDATION,
        config: founding_config(founders, Incarnation::FIRST),
        meta: Arc::new(meta),
    };
    log::put_checkpoint(&mut batch, &checkpoint)?;
    Ok(batch)
}
