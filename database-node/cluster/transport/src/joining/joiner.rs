//! The side that has a token: it asks for its certificate.

use std::net::SocketAddr;
use std::time::Duration;

use quinn::{ClientConfig, Endpoint};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::protocol::{Answer, MAX_BYTES, Question};
use super::token::JoinToken;
use crate::address;
use crate::certificates::trust::ByFingerprint;
use crate::certificates::{CertificateError, CertificateFiles, Credentials, Fingerprint, NodeKey};
use crate::codes::Code;
use crate::{framing, tls};

/// How long an address has to answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// Why a node got no certificate.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The token is not good, or no node that was asked gives certificates.
    #[error("no certificate is given for the token: {0}")]
    Refused(String),
    /// Some address did not answer as it should, but may yet.
    #[error("no node gives a certificate: {0}")]
    Unreachable(String),
    /// A file or a key of this node.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The socket.
    #[error("no socket can be opened to ask for a certificate: {0}")]
    Socket(#[from] std::io::Error),
}

/// Gets the certificate of a node for a token, from one of these addresses (`host:port`), and keeps it in files. The key is
/// made there before and stays: whoever asks again after a crash asks for the same.
///
/// A node is believed when the authority of the token has issued its certificate, and is told the secret only then.
///
/// # Errors
/// [`JoinError`]. After [`JoinError::Unreachable`] it is to be tried again.
pub async fn obtain(
    addresses: &[String],
    token: &JoinToken,
    into: CertificateFiles,
) -> Result<Credentials, JoinError> {
    let at = into.clone();
    let key = tokio::task::spawn_blocking(move || NodeKey::open_or_make(&at.key)).await;
    let request = key.map_err(std::io::Error::other)??.signing_request()?;
    let tls = tls::joiner(ByFingerprint(token.authority))?;
    let (mut not_here, mut failures) = (Vec::new(), Vec::new());
    for address in addresses {
        let asked = tokio::time::timeout(PATIENCE, ask(address, token, &request, &tls)).await;
        match asked.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
            Ok(Answer::Given {
                certificate,
                authority,
            }) => return keep(certificate, authority, token, into).await,
            // Whoever says so knows the token.
            Ok(Answer::Refused(reason)) => return Err(JoinError::Refused(format!("{address}: {reason}"))),
            Ok(Answer::NotHere(reason)) => not_here.push(format!("{address}: {reason}")),
            Err(reason) => failures.push(format!("{address}: {reason}")),
        }
    }
    let is_refused = failures.is_empty() && !not_here.is_empty();
    not_here.append(&mut failures);
    let reasons = not_here.join("; ");
    Err(match is_refused {
        true => JoinError::Refused(reasons),
        false => JoinError::Unreachable(reasons),
    })
}

async fn ask(address: &str, token: &JoinToken, request: &[u8], tls: &ClientConfig) -> Result<Answer, String> {
    let found = address::resolve(address).await?;
    let mut last = "its name has no address".to_owned();
    for to in found {
        match ask_at(to, token, request, tls).await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask_at(
    to: SocketAddr,
    token: &JoinToken,
    request: &[u8],
    tls: &ClientConfig,
) -> Result<Answer, String> {
    let endpoint = Endpoint::client(address::any_like(to)).map_err(|error| error.to_string())?;
    let connecting = endpoint.connect_with(tls.clone(), to, tls::SERVER_NAME);
    let connection = connecting.map_err(|error| error.to_string())?.await;
    let connection = connection.map_err(|error| error.to_string())?;
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    let question = Question {
        secret: token.secret,
        request: request.to_vec(),
    };
    framing::write_one(&mut send, &question).await?;
    let answer = framing::read_one(&mut receive, MAX_BYTES).await?;
    connection.close(Code::Done.into(), b"");
    endpoint.wait_idle().await;
    Ok(answer)
}

async fn keep(
    certificate: String,
    authority: String,
    token: &JoinToken,
    into: CertificateFiles,
) -> Result<Credentials, JoinError> {
    let unusable =
        |reason: &str| CertificateError::Making(format!("what was given cannot be used: {reason}"));
    let shown = CertificateDer::from_pem_slice(authority.as_bytes());
    let shown = shown.map_err(|error| unusable(&error.to_string()))?;
    if Fingerprint::of(&shown) != token.authority {
        return Err(unusable("the authority is not that of the token").into());
    }
    let kept = tokio::task::spawn_blocking(move || {
        into.keep(&certificate, &authority)?;
        Credentials::open(into)
    });
    Ok(kept.await.map_err(std::io::Error::other)??)
}
