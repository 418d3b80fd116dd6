//! Directories, and the members that are started in them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pliantdb_cluster::meta::{MetaCommand, MetaOutcome};
use pliantdb_cluster::node::Limits;
use pliantdb_cluster::{NodeId, Timing};
use pliantdb_cluster_member::{Certificates, Formation, Member, Options, StartError, Status};
use pliantdb_cluster_transport::JoinToken;
use pliantdb_core::GroupId;
use pliantdb_storage::encryption::{KeyVault, MasterKey};
use pliantdb_storage::memory::MemoryPlan;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where members have their directories.
pub struct Machines(TempDir);

impl Machines {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn directory(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn options(&self, name: &str, formation: Formation) -> Options {
        Options {
            directory: self.directory(name),
            name: name.to_owned(),
            attributes: BTreeMap::new(),
            listen: "127.0.0.1:0".parse().unwrap(),
            advertise: None,
            formation,
            certificates: Certificates::Own {
                lifetime: Duration::from_secs(3600),
            },
            memory: MemoryPlan::for_limit(64 << 20),
            min_free_space: None,
            encryption: None,
            watch: Box::new(()),
            services: None,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }

    pub async fn found(&self, name: &str) -> Member {
        Member::start(self.options(name, founding())).await.unwrap()
    }

    pub async fn try_join(
        &self,
        name: &str,
        by: &Member,
        token: Option<JoinToken>,
    ) -> Result<Member, StartError> {
        let seeds = vec![by.network().local_address().to_string()];
        Member::start(self.options(name, Formation::Join { seeds, token })).await
    }

    /// Joins with a token of the founder.
    pub async fn join(&self, name: &str, founder: &Member) -> Member {
        let (token, _) = founder.make_join_token(Duration::from_secs(60)).await.unwrap();
        let member = self.try_join(name, founder, Some(token)).await.unwrap();
        member.joined().await.unwrap();
        member
    }
}

pub fn founding() -> Formation {
    Formation::Found {
        cluster: "test".to_owned(),
    }
}

pub fn node(number: u32) -> NodeId {
    NodeId::new(number)
}

/// Waits until the status is so.
pub async fn until(member: &Member, is_so: impl Fn(&Status) -> bool) -> Status {
    let began = Instant::now();
    loop {
        let status = member.status().await;
        match status {
            Ok(status) if is_so(&status) => return status,
            status if began.elapsed() > PATIENCE => panic!("it is not so: {status:?}"),
            _ => sleep(Duration::from_millis(50)).await,
        }
    }
}

pub async fn create_database(member: &Member, name: &str) -> GroupId {
    let (name, slots) = (name.parse().unwrap(), 4.try_into().unwrap());
    match member.change(MetaCommand::CreateDatabase { name, slots }).await {
        Ok(MetaOutcome::Group(group)) => group,
        outcome => panic!("{outcome:?}"),
    }
}

/// A master key of one digit.
pub fn key(machines: &Machines, digit: char) -> Arc<dyn KeyVault> {
    let path = machines.directory(&format!("key-{digit}"));
    std::fs::write(&path, digit.to_string().repeat(64)).unwrap();
    let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, only_owner).unwrap();
    Arc::new(MasterKey::from_file(&path).unwrap())
}
