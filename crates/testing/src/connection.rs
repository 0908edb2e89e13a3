//! HTTP/1.1 on one connection, simple enough that a test knows which bytes were sent and received when the
//! other side was killed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No response takes longer, even while the server is suspended for two seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

/// The bytes of a request.
#[derive(Clone, Debug)]
pub struct Request(pub String);

impl Request {
    /// A request without a body.
    pub fn new(method: &str, path: &str) -> Self {
        Self::with_headers(method, path, "")
    }

    /// A request without a body, with header lines that each end in CRLF.
    pub fn with_headers(method: &str, path: &str, headers: &str) -> Self {
        Self(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: 0\r\n\r\n"))
    }

    /// A request with a JSON body, with header lines that each end in CRLF.
    pub fn json(method: &str, path: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self(format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
    }

    /// A claim, with an optional request key.
    pub fn claim(campaign: &str, subject: &str, key: Option<&str>) -> Self {
        let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        Self::json("POST", &format!("/v1/campaigns/{campaign}/claims"), &key, &format!("{{\"subject\":\"{subject}\"}}"))
    }
}

impl Response {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
    }
}

impl Connection {
    /// Connects to a server.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    /// Uses an open connection.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Sends a request. On `Ok` the operating system has all of it, and on loopback so has the server's socket.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.stream.write_all(request.0.as_bytes()).await
    }

    /// Reads one response.
    pub async fn receive(&mut self) -> io::Result<Response> {
        tokio::time::timeout(PATIENCE, self.receive_patiently()).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Sends a request and reads its response.
    pub async fn ask(&mut self, request: &Request) -> io::Result<Response> {
        self.send(request).await?;
        self.receive().await
    }

    async fn receive_patiently(&mut self) -> io::Result<Response> {
        let head_end = loop {
            if let Some(place) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break place + 4;
            }
            self.read_more().await?;
        };
        let head: Vec<u8> = self.buffer.drain(..head_end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let mut answer = Response { status, head, body: Vec::new() };
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
            answer.body = self.take(length).await?;
        } else if answer.header("transfer-encoding").is_some() {
            answer.body = self.take_chunks().await?;
        }
        Ok(answer)
    }

    async fn take_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                if let Some(place) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                    break place + 2;
                }
                self.read_more().await?;
            };
            let line = self.take(line_end).await?;
            let length = String::from_utf8_lossy(&line);
            let length = usize::from_str_radix(length.trim(), 16).map_err(|_| io::ErrorKind::InvalidData)?;
            let chunk = self.take(length + 2).await?;
            body.extend_from_slice(&chunk[..length]);
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.read_more().await?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    async fn read_more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}
