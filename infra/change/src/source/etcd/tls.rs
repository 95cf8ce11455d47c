//! TLS to etcd: the authority that its certificate must have, and our own certificate.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::source::error::SourceError;
use crate::source::settings::PlanSettings;

/// The configuration of all connections. Reads files: call it before the runtime starts.
pub(super) fn config(settings: &PlanSettings) -> Result<ClientConfig, SourceError> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &settings.ca {
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| wrong(ca, &error.to_string()))?;
        }
    }
    let provider = rustls::crypto::ring::default_provider().into();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for them")
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.private_key) else {
        return Ok(config.with_no_client_auth());
    };
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| unread(key, error))?;
    config
        .with_client_auth_cert(certificates(certificate)?, private_key)
        .map_err(|error| wrong(certificate, &error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = certificates.map_err(|error| unread(path, error))?;
    if certificates.is_empty() {
        return Err(wrong(path, "has no certificate in PEM"));
    }
    Ok(certificates)
}

fn unread(path: &Path, error: PemError) -> SourceError {
    match error {
        PemError::Io(source) => SourceError::File { path: path.to_owned(), source },
        error => wrong(path, &error.to_string()),
    }
}

fn wrong(path: &Path, why: &str) -> SourceError {
    SourceError::Settings(format!("{}: {why}", path.display()))
}
