//! The certificate that a node has made for itself.

use std::fs;
use std::path::PathBuf;

use clap::Subcommand;
use pliantdb_server::certificate;
use serde::Serialize;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::time::ASN1Time;

use super::failure::{Failure, Kind};
use super::output::Output;

/// What to do with the certificate.
#[derive(Debug, Subcommand)]
pub(crate) enum CertificateCommand {
    /// Show the certificate that the node has made: the fingerprint that clients can know it by, its names, its validity
    Show(CertificateArgs),
    /// Make a new one, with a new key. A running node takes it within seconds; clients that know it by its fingerprint
    /// need the new one, and users must log in again
    Renew(CertificateArgs),
}

/// Whose certificate.
#[derive(Debug, clap::Args)]
pub(crate) struct CertificateArgs {
    /// The data directory of the node
    #[arg(
        long,
        env = "PLIANT_DATA",
        value_name = "DIR",
        default_value = "pliantdb-data"
    )]
    data: PathBuf,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    file: PathBuf,
    fingerprint: String,
    names: Vec<String>,
    not_before: String,
    not_after: String,
}

/// Shows or renews a certificate.
///
/// # Errors
/// Which file cannot be used, and why.
pub(crate) fn run(command: &CertificateCommand, out: Output) -> Result<(), Failure> {
    let args = match command {
        CertificateCommand::Show(args) => args,
        CertificateCommand::Renew(args) => {
            certificate::renew(&args.data).map_err(|error| Failure::new(Kind::Failed, error))?;
            args
        }
    };
    let shown = read(args)?;
    let text = format!(
        "file         {}\nfingerprint  {}\nnames        {}\nvalid from   {}\nvalid until  {}",
        shown.file.display(),
        shown.fingerprint,
        shown.names.join(", "),
        shown.not_before,
        shown.not_after
    );
    out.result(&text, &shown)
}

fn read(args: &CertificateArgs) -> Result<Shown, Failure> {
    let file = certificate::own_files(&args.data).certificate;
    let failed = |reason: String| {
        Failure::new(
            Kind::Failed,
            format!(
                "cannot read the certificate {}: {reason}; a node makes one when it starts without certificateFile, and so \
                 does pliant-node certificate renew",
                file.display()
            ),
        )
    };
    let bytes = fs::read(&file).map_err(|error| failed(error.to_string()))?;
    let (_, pem) = parse_x509_pem(&bytes).map_err(|error| failed(error.to_string()))?;
    let certificate = pem.parse_x509().map_err(|error| failed(error.to_string()))?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| failed(error.to_string()))?;
    let names = names.map(|names| names.value.general_names.iter().map(name).collect());
    Ok(Shown {
        fingerprint: certificate::fingerprint_of(&file).map_err(|error| failed(error.to_string()))?,
        names: names.unwrap_or_default(),
        not_before: date(certificate.validity().not_before),
        not_after: date(certificate.validity().not_after),
        file,
    })
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => std::net::Ipv4Addr::from(v4).to_string(),
            (_, Ok(v6)) => std::net::Ipv6Addr::from(v6).to_string(),
            _ => format!("{name}"),
        },
        other => format!("{other}"),
    }
}

fn date(time: ASN1Time) -> String {
    match jiff::Timestamp::from_second(time.timestamp()) {
        Ok(time) => time.to_string(),
        Err(_) => time.to_string(),
    }
}
