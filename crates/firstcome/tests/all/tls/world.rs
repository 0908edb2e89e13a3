//! An authority with certificates, a server that has one of them, and clients that trust the
//! authority.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::process::{Process, eventually, program, serve_args};

pub const NAME: &str = "localhost";
/// How long a test waits for what should come at once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A folder with an authority's certificates in it.
pub struct World {
    pub folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl World {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { folder: tempfile::tempdir().unwrap(), issuer: Issuer::new(params, key), root }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn certificate_path(&self) -> PathBuf {
        self.path("certificate.pem")
    }

    pub fn key_path(&self) -> PathBuf {
        self.path("key.pem")
    }

    /// Writes a new certificate and its key where the server reads them; gives the certificate.
    pub fn issue(&self) -> CertificateDer<'static> {
        self.issue_for_years(2020, 2120)
    }

    pub fn issue_for_years(&self, first: i32, last: i32) -> CertificateDer<'static> {
        let (certificate, key) = self.signed(first, last);
        fs::write(self.certificate_path(), certificate.pem()).unwrap();
        write_key(&self.key_path(), &key);
        certificate.der().clone()
    }

    fn signed(&self, first: i32, last: i32) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(first, 1, 1), date_time_ymd(last, 1, 1));
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Runs a server with TLS and these flags.
    pub fn serve(&self, flags: &[&str]) -> Process {
        let (certificate, key) = (self.certificate_path(), self.key_path());
        self.serve_plainly(&[&["--tls-cert", text(&certificate), "--tls-key", text(&key)], flags].concat())
    }

    /// Runs a server with these flags only.
    pub fn serve_plainly(&self, flags: &[&str]) -> Process {
        Process::start(program(&[&serve_args(&self.data())[..], &["--log", "debug"], flags].concat()))
    }

    /// A client that remembers sessions from one connection to the next.
    pub fn client(&self, protocols: &[&str]) -> TlsConnector {
        client_of(&self.root, protocols)
    }
}

pub fn client_of(root: &CertificateDer<'static>, protocols: &[&str]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

/// The first certificate in a file.
pub fn certificate_in(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a key as only its owner may read it.
fn write_key(path: &Path, key: &KeyPair) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, key.serialize_pem()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Has the server read its files again, and waits until the log says so.
pub fn hang_up(server: &Process, says: &str) {
    let before = server.stderr().matches(says).count();
    kill_process(Pid::from_raw(server.id().try_into().unwrap()).unwrap(), Signal::HUP).unwrap();
    eventually("the log tells of the signal", || before < server.stderr().matches(says).count());
}

/// Where the second address is.
pub fn admin_address(server: &Process) -> SocketAddr {
    let mut found = None;
    eventually("the server says where its second address is", || {
        let said = server.stderr();
        found = said.lines().find_map(|line| line.split_once("Admin address")?.1.split_once("://")?.1.trim().parse().ok());
        found.is_some()
    });
    found.unwrap()
}

pub type Stream = TlsStream<TcpStream>;

pub async fn connect(client: &TlsConnector, address: SocketAddr) -> io::Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    tokio::time::timeout(PATIENCE, client.connect(ServerName::try_from(NAME).unwrap(), stream)).await?
}

/// The certificate that the server has shown.
pub fn shown(stream: &Stream) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// HTTP over TLS, in the version that was agreed.
pub enum Http {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Http {
    pub async fn open(client: &TlsConnector, address: SocketAddr) -> Self {
        Self::over(connect(client, address).await.unwrap()).await
    }

    pub async fn over(stream: Stream) -> Self {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            return Self::Two(sender);
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::One(sender)
    }

    pub async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, Value), hyper::Error> {
        let request = Request::builder().method(method).header("content-type", "application/json");
        let body = Full::from(body.to_owned());
        let (response, version) = match self {
            Self::One(sender) => (sender.send_request(request.uri(path).header("host", NAME).body(body).unwrap()).await?, Version::HTTP_11),
            Self::Two(sender) => {
                let uri = format!("https://{NAME}{path}");
                (sender.send_request(request.uri(uri).body(body).unwrap()).await?, Version::HTTP_2)
            }
        };
        assert_eq!(response.version(), version);
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    pub async fn status(&mut self, path: &str) -> u16 {
        self.ask("GET", path, "").await.unwrap().0
    }

    pub async fn claim(&mut self, subject: &str) -> (u16, Value) {
        self.ask("POST", "/v1/campaigns/spring/claims", &format!(r#"{{"subject":"{subject}"}}"#)).await.unwrap()
    }
}

/// Reads until the server ends the connection.
pub async fn ended(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection is still open");
    bytes
}
