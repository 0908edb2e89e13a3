//! A few HTTP calls before, during and after a crash: one connection, reopened when it is lost.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Time limit of a response: longer than any server of the lab takes.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A connection to a server, if one is open.
pub(crate) struct Web {
    port: u16,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// A response with any status.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

impl Reply {
    /// Null if the body is not JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Web {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, sender: None }
    }

    /// `None` if there is no connection, or it was lost: the outcome is then unknown.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, accept: &str, body: String) -> Option<Reply> {
        let reply = tokio::time::timeout(ANSWER_MAX, self.exchange(method, path, accept, body)).await.ok().flatten();
        if reply.is_none() {
            self.sender = None;
        }
        reply
    }

    async fn exchange(&mut self, method: Method, path: &str, accept: &str, body: String) -> Option<Reply> {
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.connect().await?,
        };
        let request = Request::builder().method(method).uri(path).header(HOST, "127.0.0.1").header(ACCEPT, accept);
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body))).ok()?;
        sender.ready().await.ok()?;
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        self.sender = Some(sender);
        Some(Reply { status, body })
    }

    async fn connect(&self) -> Option<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        // The driver ends with the connection; the caller sees any error.
        tokio::spawn(async move { connection.await.ok() });
        Some(sender)
    }
}
