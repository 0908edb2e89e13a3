//! The target of the requests: the base URL, resolved once, and the headers of every request.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue, Uri};
use http_body_util::Full;
use tokio::net::TcpStream;

use crate::Error;

pub(crate) type Outgoing = http::Request<Full<Bytes>>;

pub(crate) struct Target {
    /// `host:port`, for display.
    pub(crate) server: String,
    addresses: Vec<SocketAddr>,
    /// The path of the base URL without a final slash.
    prefix: String,
    pub(crate) headers: HeaderMap,
}

impl Target {
    pub(crate) async fn resolve(url: &str, token: Option<&str>) -> Result<Target, Error> {
        let refuse = |detail: &str| Error::Url { url: url.to_owned(), detail: detail.to_owned() };
        let uri: Uri = url.parse().map_err(|_| refuse("it cannot be read"))?;
        check_scheme(&uri).map_err(refuse)?;
        let host = uri.host().ok_or_else(|| refuse("it has no host"))?;
        let server = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let headers = headers(&server, token).map_err(refuse)?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let addresses = lookup(&server).await?;
        Ok(Target { server, addresses, prefix, headers })
    }

    pub(crate) async fn dial(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.addresses[..]).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(crate) fn uri(&self, path: &str) -> Result<Uri, Error> {
        let full = format!("{}{path}", self.prefix);
        full.parse().map_err(|_| Error::Url { url: full, detail: "the path cannot be read".to_owned() })
    }
}

fn check_scheme(uri: &Uri) -> Result<(), &'static str> {
    match uri.scheme_str() {
        Some("http") => Ok(()),
        Some("https") => Err("TLS is not spoken here; give the http address of the server behind the TLS endpoint"),
        Some(_) | None => Err("it must begin with http://"),
    }
}

fn headers(server: &str, token: Option<&str>) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    let host = HeaderValue::from_str(server).map_err(|_| "the host cannot be sent as a header")?;
    headers.insert(HOST, host);
    if let Some(token) = token {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| "the token cannot be sent as a header")?;
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    Ok(headers)
}

async fn lookup(server: &str) -> Result<Vec<SocketAddr>, Error> {
    let found = tokio::net::lookup_host(server).await;
    found.map(Iterator::collect).map_err(|source| Error::Connect { server: server.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(url: &str) -> String {
        match Target::resolve(url, None).await {
            Ok(_) => panic!("{url} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn https_and_other_schemes_are_refused_with_a_reason() {
        assert!(refusal("https://127.0.0.1:1").await.contains("TLS is not spoken"));
        assert!(refusal("ftp://127.0.0.1:1").await.contains("must begin with http://"));
        assert!(refusal("127.0.0.1:7070").await.contains("must begin with http://"));
    }

    #[tokio::test]
    async fn a_path_in_the_base_url_is_kept() {
        let target = Target::resolve("http://127.0.0.1:7070/behind/", Some("t")).await;
        let target = target.unwrap();
        assert_eq!(target.server, "127.0.0.1:7070");
        assert_eq!(target.uri("/v1/campaigns").unwrap().path(), "/behind/v1/campaigns");
        assert_eq!(target.headers[AUTHORIZATION], "Bearer t");
    }
}
