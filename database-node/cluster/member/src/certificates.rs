//! How a member gets its certificate at the start.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pliantdb_cluster_transport::{
    Authority, CertificateError, CertificateFiles, Credentials, JoinError, obtain,
};

use crate::directory::Directory;
use crate::giving::Giving;
use crate::options::{Certificates, Formation};
use crate::start::StartError;

/// How long after an address has not answered the next attempt begins.
const PAUSE: Duration = Duration::from_secs(1);

/// A member's certificate, and with what it gives others theirs.
pub(crate) struct Certified {
    pub(crate) credentials: Credentials,
    /// `None` when certificates come from somewhere else.
    pub(crate) giving: Option<Arc<Giving>>,
}

/// Whether the member in a directory has a certificate that is good now, so that it needs no token for one.
#[must_use]
pub fn has_certificate(path: &Path) -> bool {
    Credentials::open(files(&Directory::at(path))).is_ok()
}

fn files(directory: &Directory) -> CertificateFiles {
    CertificateFiles::within(&directory.certificates())
}

/// Opens the certificate that is there, or gets one: from the authority that is made here, or for a token, waiting until a
/// node gives it.
pub(crate) async fn certify(
    directory: &Directory,
    certificates: &Certificates,
    formation: &Formation,
) -> Result<Certified, StartError> {
    let lifetime = match certificates {
        Certificates::Files(files) => {
            return Ok(Certified {
                credentials: Credentials::open(files.clone())?,
                giving: None,
            });
        }
        Certificates::Own { lifetime } => *lifetime,
    };
    let (files, now) = (files(directory), SystemTime::now());
    let is_certified = files.certificate.exists();
    let has_authority = directory.authority().join("authority.pem").exists();
    let authority = match formation {
        _ if has_authority => Some(Authority::open(&directory.authority())?),
        Formation::Found { cluster } if !is_certified => {
            Some(Authority::create(&directory.authority(), cluster, now)?)
        }
        Formation::Found { .. } | Formation::Join { .. } => None,
    };
    if let Some(authority) = authority {
        // It is here, so the certificate may as well be new.
        let credentials = authority.certify(files, lifetime, now)?;
        let giving = Giving::new(directory, Some(authority), lifetime)?;
        return Ok(Certified {
            credentials,
            giving: Some(Arc::new(giving)),
        });
    }
    let credentials = match (Credentials::open(files.clone()), formation) {
        (Ok(credentials), _) => credentials,
        (
            Err(error),
            Formation::Join {
                seeds,
                token: Some(token),
            },
        ) => {
            if is_certified {
                tracing::warn!(%error, "the node's certificate is of no use; it gets another for its token");
            }
            get(seeds, token, files).await?
        }
        (Err(_), Formation::Join { token: None, .. }) if !is_certified => return Err(StartError::NoToken),
        (Err(error), _) => return Err(error.into()),
    };
    let giving = Giving::new(directory, None, lifetime)?;
    Ok(Certified {
        credentials,
        giving: Some(Arc::new(giving)),
    })
}

/// Asks until a node gives a certificate.
async fn get(
    seeds: &[String],
    token: &pliantdb_cluster_transport::JoinToken,
    files: CertificateFiles,
) -> Result<Credentials, StartError> {
    loop {
        match obtain(seeds, token, files.clone()).await {
            Ok(credentials) => return Ok(credentials),
            Err(JoinError::Unreachable(reason)) => {
                tracing::info!(reason, "no node gives a certificate yet");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Gets another certificate for the key that is there, from the authority here.
pub(crate) fn certify_here(
    giving: &Giving,
    files: &CertificateFiles,
) -> Result<Option<()>, CertificateError> {
    let Some(authority) = giving.authority() else {
        return Ok(None);
    };
    authority.certify(files.clone(), giving.lifetime(), SystemTime::now())?;
    Ok(Some(()))
}
