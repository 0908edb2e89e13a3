//! Who asks: what of a request is the key that its limit counts by.

mod address;

use http::{Extensions, HeaderMap, HeaderName, Method, Uri};

pub use address::{Cidr, CidrError, ClientAddress, TrustedProxies, client_address};

/// What is known of a request before it is let through.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its target.
    pub uri: &'a Uri,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// What the services above have attached.
    pub extensions: &'a Extensions,
}

/// Finds the key of a request.
pub trait Extract: Send + Sync + 'static {
    /// Writes the key's bytes. Writes nothing where the request has none: all such requests share
    /// one key, so that nobody escapes a limit by leaving something out.
    fn extract(&self, asked: &Asked<'_>, key: &mut Vec<u8>);
}

impl<F: Fn(&Asked<'_>, &mut Vec<u8>) + Send + Sync + 'static> Extract for F {
    fn extract(&self, asked: &Asked<'_>, key: &mut Vec<u8>) {
        self(asked, key);
    }
}

/// One key for everybody.
#[must_use]
pub fn fixed() -> impl Extract {
    |_: &Asked<'_>, _: &mut Vec<u8>| {}
}

/// The value of a header; of several, all of them.
///
/// Whoever can choose the value can have as many keys as they like: use it for what has been
/// verified, or beside a limit per client address.
///
/// # Panics
/// If the name is no header's name in lower case.
#[must_use]
pub fn header(name: &'static str) -> impl Extract {
    let name = HeaderName::from_static(name);
    move |asked: &Asked<'_>, key: &mut Vec<u8>| {
        for value in asked.headers.get_all(&name) {
            key.push(0);
            key.extend_from_slice(value.as_bytes());
        }
    }
}

/// The credential in `Authorization`, whatever its scheme. Only its keyed hash is remembered.
///
/// It is not verified here: see [`header`].
#[must_use]
pub fn api_key() -> impl Extract {
    |asked: &Asked<'_>, key: &mut Vec<u8>| {
        let value = asked.headers.get(http::header::AUTHORIZATION).map_or(&b""[..], http::HeaderValue::as_bytes);
        let credential = value.iter().position(|byte| *byte == b' ').and_then(|space| value.get(space..)).unwrap_or(value);
        key.extend_from_slice(credential.trim_ascii());
    }
}

/// What a service above has found out and attached to the request, as the subject of a verified
/// token: `of` picks it.
///
/// ```
/// #[derive(Clone)]
/// struct Subject(String);
/// let by_subject = rate_limit_layer::key::extension(|subject: &Subject| subject.0.as_bytes());
/// # let _ = by_subject;
/// ```
#[must_use]
pub fn extension<T: Send + Sync + 'static>(of: impl Fn(&T) -> &[u8] + Send + Sync + 'static) -> impl Extract {
    move |asked: &Asked<'_>, key: &mut Vec<u8>| {
        if let Some(attached) = asked.extensions.get::<T>() {
            key.push(0);
            key.extend_from_slice(of(attached));
        }
    }
}
