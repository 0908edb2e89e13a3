//! The few calls before and after the load: one connection for each, with retries while the server is busy.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::Error;
use crate::clock;
use crate::connection::retry_after;
use crate::target::{Outgoing, Target};

/// How long a busy server is retried.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection may be silent.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);
const BODY_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) accept: &'static str,
    pub(crate) body: Option<String>,
}

impl Call {
    pub(crate) fn get(path: String) -> Call {
        Call { method: Method::GET, path, accept: "application/json", body: None }
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The response's status and whole body.
    pub(crate) async fn fetch(&self, target: &Target) -> Result<(StatusCode, Bytes), Error> {
        let response = self.open(target).await?;
        let status = response.status();
        Ok((status, self.whole(response.into_body()).await?))
    }

    /// The response's status, headers and whole body.
    pub(crate) async fn fetch_all(&self, target: &Target) -> Result<(StatusCode, HeaderMap, Bytes), Error> {
        let (head, body) = self.open(target).await?.into_parts();
        Ok((head.status, head.headers, self.whole(body).await?))
    }

    /// The response, with its body still to be read.
    pub(crate) async fn open(&self, target: &Target) -> Result<Response<Incoming>, Error> {
        let start = clock::now();
        loop {
            let response = self.send(target).await?;
            let Some(pause) = asked_to_wait(&response) else {
                return Ok(response);
            };
            let waited = start.elapsed();
            if PATIENCE < waited + pause {
                let call = self.name();
                return Err(Error::Busy { call, waited });
            }
            clock::sleep(pause).await;
        }
    }

    pub(crate) fn refused(&self, status: StatusCode, body: &[u8]) -> Error {
        Error::Answer { call: self.name(), status: status.as_u16(), body: String::from_utf8_lossy(body).chars().take(300).collect() }
    }

    pub(crate) fn broke_off(&self, detail: impl ToString) -> Error {
        Error::Call { call: self.name(), detail: detail.to_string() }
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, Error> {
        let whole = Limited::new(body, BODY_BYTES_MAX).collect();
        match tokio::time::timeout(SILENCE_MAX, whole).await {
            Ok(Ok(whole)) => Ok(whole.to_bytes()),
            Ok(Err(error)) => Err(self.broke_off(error)),
            Err(elapsed) => Err(self.broke_off(elapsed)),
        }
    }

    async fn send(&self, target: &Target) -> Result<Response<Incoming>, Error> {
        let request = self.request(target)?;
        let stream = target.dial().await.map_err(|source| Error::Connect { server: target.server.clone(), source })?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broke_off(error))?;
        // The driver ends when the response has been read; an error shows up in the body.
        tokio::spawn(async move { driver.await.ok() });
        match tokio::time::timeout(SILENCE_MAX, sender.send_request(request)).await {
            Ok(answer) => answer.map_err(|error| self.broke_off(error)),
            Err(elapsed) => Err(self.broke_off(elapsed)),
        }
    }

    fn request(&self, target: &Target) -> Result<Outgoing, Error> {
        let body = Full::from(self.body.clone().unwrap_or_default());
        let mut request = Outgoing::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = target.uri(&self.path)?;
        *request.headers_mut() = target.headers.clone();
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(self.accept));
        if self.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    }
}

fn asked_to_wait(response: &Response<Incoming>) -> Option<Duration> {
    match response.status() {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            // A zero delay would be a busy loop.
            retry_after(response.headers()).map(|pause| pause.max(Duration::from_millis(50)))
        }
        _ => None,
    }
}
