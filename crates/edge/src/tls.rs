//! TLS: a certificate and its key from two files, which are read again on SIGHUP. Both are checked before
//! they are used; if one is wrong, the previous certificate stays in use.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::types::Timestamp;
use parking_lot::RwLock;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{CertificateError, Error as RustlsError, InconsistentKeys, RootCertStore, ServerConfig};

use crate::times;

/// HTTP/2 in the TLS handshake's protocol negotiation (ALPN).
pub const HTTP2: &[u8] = b"h2";
/// HTTP/1.1 in the same negotiation.
const HTTP1: &[u8] = b"http/1.1";
/// The permission bit that lets every account read a file.
const OTHERS_READ: u32 = 0o004;

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the TLS {what} {path}: {source}")]
    Read {
        /// Certificate or key.
        what: &'static str,
        /// The file's path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not valid PEM.
    #[error("the TLS {what} {path} is malformed: {why}")]
    Malformed {
        /// Certificate or key.
        what: &'static str,
        /// The file's path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no certificate in the file.
    #[error("there is no certificate in {0}; it must hold the server's certificate and those that lead to its authority, as PEM")]
    NoCertificate(PathBuf),
    /// There is no key in the file.
    #[error("there is no private key in {0}; it must hold one without a password, as PEM (PKCS#8, PKCS#1 or SEC1)")]
    NoKey(PathBuf),
    /// The key does not belong to the certificate.
    #[error("the TLS key {key} does not belong to the first certificate in {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The TLS library cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Setup(RustlsError),
}

/// The files of the certificate and the key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The server's certificate and those that lead to its authority, as PEM.
    pub certificate: PathBuf,
    /// The private key, as PEM.
    pub key: PathBuf,
}

/// The certificate and key in use.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`], with the file.
    pub fn open(files: TlsFiles, now: Timestamp) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(read(&files, now)?));
        Ok(Self { files, current })
    }

    /// Reads the files again, for all later handshakes. Earlier sessions cannot be resumed, so that
    /// returning clients see the new certificate.
    ///
    /// # Errors
    /// [`TlsError`], with the file; the previous certificate stays in use.
    pub fn reload(&self, now: Timestamp) -> Result<(), TlsError> {
        let read = Arc::new(read(&self.files, now)?);
        *self.current.write() = read;
        Ok(())
    }

    /// The acceptor for the next handshake.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read()).into()
    }
}

fn read(files: &TlsFiles, now: Timestamp) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = read_chain(&files.certificate)?;
    let key = read_key(&files.key, &provider, chain)?;
    match key.keys_match() {
        Ok(()) | Err(RustlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(RustlsError::InconsistentKeys(_)) => {
            return Err(TlsError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() });
        }
        Err(error) => return Err(malformed("certificate", &files.certificate, &error)),
    }
    warn_of_times(&files.certificate, &key.cert, &provider, now)?;
    warn_of_readers(&files.key);
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(TlsError::Setup)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(config)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read_file("certificate", path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|error| malformed("certificate", path, &describe(error)))?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

fn read_key(path: &Path, provider: &CryptoProvider, chain: Vec<CertificateDer<'static>>) -> Result<CertifiedKey, TlsError> {
    let text = read_file("key", path)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        PemError::NoItemsFound => TlsError::NoKey(path.to_owned()),
        error => malformed("key", path, &describe(error)),
    })?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| malformed("key", path, &error))?;
    Ok(CertifiedKey::new(chain, key))
}

fn read_file(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source })
}

fn malformed(what: &'static str, path: &Path, why: &dyn fmt::Display) -> TlsError {
    TlsError::Malformed { what, path: path.to_owned(), why: why.to_string() }
}

/// Describes what is wrong with a file without showing any of its content, which may be the key.
fn describe(error: PemError) -> String {
    match error {
        PemError::MissingSectionEnd { .. } => "a section does not end".to_owned(),
        PemError::IllegalSectionStart { .. } => "a section's first line is wrong".to_owned(),
        PemError::Base64Decode(_) => "a section is not base64".to_owned(),
        error => error.to_string(),
    }
}

/// Only warns: clients check the times by their own clocks, which may differ.
fn warn_of_times(path: &Path, chain: &[CertificateDer<'_>], provider: &CryptoProvider, now: Timestamp) -> Result<(), TlsError> {
    let (file, now) = (path.display(), UnixTime::since_unix_epoch(Duration::from_millis(now.millis())));
    let show = |time: UnixTime| Timestamp::from_millis(time.as_secs().saturating_mul(1_000)).map_or_else(String::new, times::format);
    for (number, certificate) in (1_u32..).zip(chain) {
        let parsed = ParsedCertificate::try_from(certificate).map_err(|error| malformed("certificate", path, &error))?;
        // The verifier checks the times before the authority, which is unknown here.
        let algorithms = provider.signature_verification_algorithms.all;
        let verdict = verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], now, algorithms);
        match verdict {
            Err(RustlsError::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                tracing::warn!(%file, number, not_after = show(not_after), "the TLS certificate has expired");
            }
            Err(RustlsError::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                tracing::warn!(%file, number, not_before = show(not_before), "the TLS certificate is not valid yet");
            }
            _ => {}
        }
    }
    Ok(())
}

fn warn_of_readers(path: &Path) {
    let mode = std::fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & OTHERS_READ != 0) {
        tracing::warn!(file = %path.display(), "everybody on this machine can read the TLS key; take the right from others (chmod o-r)");
    }
}
