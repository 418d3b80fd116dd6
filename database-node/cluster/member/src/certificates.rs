//! How a member gets its certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pliantdb_cluster_transport::{
    Authority, CertificateFiles, Credentials, Giver, JoinError, JoinTokens, obtain,
};

use crate::directory::Directory;
use crate::options::{Certificates, Formation};
use crate::start::StartError;

/// How long after an address has not answered the next attempt begins.
const PAUSE: Duration = Duration::from_secs(1);

/// A member's certificate, and with what it gives others theirs.
pub(crate) struct Certified {
    pub(crate) credentials: Credentials,
    pub(crate) giving: Option<Giving>,
}

/// With what a node gives certificates to others.
#[derive(Clone)]
pub(crate) struct Giving {
    pub(crate) authority: Arc<Authority>,
    pub(crate) tokens: Arc<JoinTokens>,
    lifetime: Duration,
}

impl Giving {
    fn open(directory: &Directory, authority: Authority, lifetime: Duration) -> Result<Self, StartError> {
        Ok(Self {
            authority: Arc::new(authority),
            tokens: Arc::new(JoinTokens::open(&directory.tokens())?),
            lifetime,
        })
    }

    pub(crate) fn giver(&self) -> Giver {
        Giver::new(
            Arc::clone(&self.authority),
            Arc::clone(&self.tokens),
            self.lifetime,
        )
    }
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
    let files = CertificateFiles::within(&directory.certificates());
    let (is_certified, now) = (files.certificate.exists(), SystemTime::now());
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
        let giving = Some(Giving::open(directory, authority, lifetime)?);
        return Ok(Certified { credentials, giving });
    }
    let credentials = match formation {
        Formation::Join {
            seeds,
            token: Some(token),
        } if !is_certified => loop {
            match obtain(seeds, token, files.clone()).await {
                Ok(credentials) => break credentials,
                Err(JoinError::Unreachable(reason)) => {
                    tracing::info!(reason, "no node gives a certificate yet");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        },
        Formation::Join { token: None, .. } if !is_certified => return Err(StartError::NoToken),
        _ => Credentials::open(files)?,
    };
    Ok(Certified {
        credentials,
        giving: None,
    })
}
