//! A small HTTP/1.1 client on a blocking keep-alive connection, which checks every response against the rules
//! that the API guarantees for all of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use firstcome::http::problem::CODES;
use serde_json::Value;

/// How long a test waits for a response before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// One response as received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON; `Null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The code of a problem; empty for other responses.
    pub fn code(&self) -> String {
        if self.header("content-type") == Some("application/problem+json") {
            return self.json()["code"].as_str().unwrap_or_default().to_owned();
        }
        String::new()
    }

    pub fn is_replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// Checks the rules for all responses of the API.
    pub fn check(&self) {
        let request_id = self.header("x-request-id").unwrap_or_else(|| panic!("no x-request-id: {self:?}"));
        assert!(!request_id.is_empty() && request_id.len() <= 64, "{self:?}");
        assert!(self.status != 500, "{self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{self:?}");
        // Only files with a digest in their name may be cached.
        let is_asset =
            self.header("cache-control") == Some("public, max-age=31536000, immutable") && self.header("vary") == Some("accept-encoding");
        assert!(is_asset || self.header("cache-control") == Some("no-store"), "{self:?}");
        assert!(self.header("content-security-policy").unwrap_or_default().contains("default-src 'none'"), "{self:?}");
        assert_eq!(
            self.status == 401,
            self.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Bearer")) && self.status != 403,
            "{self:?}"
        );
        let content_type = self.header("content-type").unwrap_or_default();
        if self.status < 400 {
            assert_ne!(content_type, "application/problem+json", "{self:?}");
            return;
        }
        assert_eq!(content_type, "application/problem+json", "{self:?}");
        let problem = self.json();
        let code = problem["code"].as_str().unwrap();
        let info = CODES.iter().find(|info| info.code == code).unwrap_or_else(|| panic!("{code} is no code"));
        assert_eq!((info.status, problem["status"].as_u64()), (self.status, Some(u64::from(self.status))), "{self:?}");
        assert_eq!(problem["type"], format!("/docs#{code}"));
        assert_eq!(problem["title"], info.title);
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{self:?}");
        assert_eq!(problem["request_id"], request_id);
        let outcome = if code == "outcome_unknown" { "unknown" } else { "rejected" };
        assert_eq!(problem["outcome"], outcome);
        assert_eq!(problem["retry_after_ms"].is_u64(), self.header("retry-after").is_some(), "{self:?}");
    }
}

/// One connection, reopened when the server has closed it.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.send("GET", target, &[], "")
    }

    pub fn put(&mut self, target: &str, body: &str) -> Response {
        self.send("PUT", target, &[], body)
    }

    pub fn post(&mut self, target: &str, body: &str) -> Response {
        self.send("POST", target, &[], body)
    }

    pub fn claim(&mut self, campaign: &str, subject: &str) -> Response {
        self.post(&format!("/v1/campaigns/{campaign}/claims"), &format!(r#"{{"subject":"{subject}"}}"#))
    }

    /// Sends a request with a JSON body (none if it is empty) and checks the response with [`Answer::check`].
    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let answer = self.try_send(method, target, headers, body).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        answer.check();
        answer
    }

    /// As [`Client::send`], but the connection may break; the response is not checked.
    pub fn try_send(&mut self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Response> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n");
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            head.push_str("content-type: application/json\r\n");
        }
        if !body.is_empty() {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let bytes = [head.as_bytes(), b"\r\n", body.as_bytes()].concat();
        self.exchange(&bytes, method == "HEAD")
    }

    /// Sends raw bytes and reads one response.
    pub fn exchange(&mut self, bytes: &[u8], is_head: bool) -> io::Result<Response> {
        let outcome = self.try_exchange(bytes, is_head);
        if !matches!(&outcome, Ok(answer) if answer.header("connection") != Some("close")) {
            self.stream = None;
        }
        outcome
    }

    fn try_exchange(&mut self, bytes: &[u8], is_head: bool) -> io::Result<Response> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => self.stream.insert(BufReader::new(connect(self.address)?)),
        };
        // The server may respond and close before it has read all of a request that it refuses.
        let written = stream.get_mut().write_all(bytes);
        match read_answer(stream, is_head) {
            Err(error) => Err(written.err().unwrap_or(error)),
            read => read,
        }
    }
}

pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads one response, skipping `100 Continue`.
pub fn read_answer(stream: &mut impl BufRead, is_head: bool) -> io::Result<Response> {
    loop {
        let (status, headers) = read_head(stream)?;
        let mut answer = Response { status, headers, body: Vec::new() };
        if status == 100 {
            continue;
        }
        if !is_head {
            answer.body = read_body(stream, &answer)?;
        }
        return Ok(answer);
    }
}

fn read_head(stream: &mut impl BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let status_line = read_line(stream)?;
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else { return Ok((status, headers)) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn read_body(stream: &mut impl BufRead, answer: &Response) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(&read_line(stream)?, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            let start = body.len();
            body.resize(start + size, 0);
            stream.read_exact(&mut body[start..])?;
            read_line(stream)?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    stream.take(length).read_to_end(&mut body)?;
    if (body.len() as u64) < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(body) }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    String::from_utf8(line).map(|line| line.trim_end().to_owned()).map_err(|_| io::ErrorKind::InvalidData.into())
}
