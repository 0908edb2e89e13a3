//! The end of a connection whose client is still sending a request that was refused.
//!
//! If a socket is closed while bytes are unread, the system resets the connection, and the client's system
//! then discards the refusal that it has received but its program has not read yet. So the server closes its
//! own direction first, discards what still arrives, and closes the socket when the client does, or when a
//! limit is reached.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// Limit on the discarded bytes of one request: clients that send more than this have a wrong program.
pub const LINGER_BYTES_MAX: usize = 16 * 1_024 * 1_024;
/// Limit on the time for it.
pub const LINGER_TIME_MAX: Duration = Duration::from_secs(5);
/// Buffer for discarded bytes.
const BUFFER_BYTES: usize = 16 * 1_024;

/// Discards what arrives on one connection.
#[derive(Debug, Default)]
pub struct Linger {
    timer: Option<Pin<Box<Sleep>>>,
    discarded_bytes: usize,
}

impl Linger {
    /// Whether discarding has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.timer.is_some()
    }

    /// Ready when the client has closed its direction, or a limit is reached.
    pub fn poll_over(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER_TIME_MAX)));
        if timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut bytes = [0; BUFFER_BYTES];
        while self.discarded_bytes < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut bytes);
            let outcome = std::task::ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer));
            let length = buffer.filled().len();
            if outcome.is_err() || length == 0 {
                return Poll::Ready(());
            }
            self.discarded_bytes += length;
        }
        Poll::Ready(())
    }
}

/// Reads a body to its end without keeping it; `false` if it is longer than the limit or breaks off.
pub async fn discard(mut body: Body, bytes_max: usize) -> bool {
    let mut left = bytes_max;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, bytes::Bytes::len)) else { return false };
        left = rest;
    }
    true
}
