//! Load for comparing routes of one server: each connection sends its next request as soon as the previous
//! one is answered, so that the server is never idle. (Latency is measured by `firstcome rush`, whose
//! arrivals do not depend on responses.) The client is as lean as possible, because it shares the processors
//! with the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Outcome, clock};

/// The results of a load.
pub(crate) struct Found {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) unexpected: u64,
}

/// The request, and how many are in flight.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Asked,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
    /// The number of the first subject; every request uses the next one.
    pub(crate) first_subject: u64,
}

pub(crate) fn run(load: &Load) -> Outcome<Found> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_all(load))
}

async fn run_all(load: &Load) -> Outcome<Found> {
    let (stop, subjects) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(load.first_subject)));
    let mut streams = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let stream = TcpStream::connect(load.address).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let started = clock::now();
    let connect = |stream| tokio::spawn(connection(stream, load.asked.clone(), Arc::clone(&stop), Arc::clone(&subjects)));
    let tasks: Vec<_> = streams.into_iter().map(connect).collect();
    tokio::time::sleep(load.time).await;
    stop.store(true, Ordering::Relaxed);
    let (mut all, mut unexpected) = (Histogram::<u64>::new(3)?, 0);
    for task in tasks {
        let (histogram, wrong) = task.await??;
        all.add(&histogram)?;
        unexpected += wrong;
    }
    let seconds = started.elapsed().as_secs_f64();
    let ms = |micros: u64| micros as f64 / 1_000.0;
    Ok(Found {
        per_second: all.len() as f64 / seconds,
        p50_ms: ms(all.value_at_quantile(0.5)),
        p99_ms: ms(all.value_at_quantile(0.99)),
        max_ms: ms(all.max()),
        unexpected,
    })
}

async fn connection(
    mut stream: TcpStream,
    asked: Asked,
    stop: Arc<AtomicBool>,
    subjects: Arc<AtomicU64>,
) -> Outcome<(Histogram<u64>, u64)> {
    let mut histogram = Histogram::new(3)?;
    let mut unexpected = 0;
    let mut buffer = vec![0; 4_096];
    let mut request = Vec::with_capacity(256);
    while !stop.load(Ordering::Relaxed) {
        asked.write(&mut request, subjects.fetch_add(1, Ordering::Relaxed));
        let sent = clock::now();
        stream.write_all(&request).await?;
        unexpected += u64::from(read_status(&mut stream, &mut buffer).await? != asked.expected);
        histogram.record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX))?;
    }
    Ok((histogram, unexpected))
}

/// Requests that differ only in the subject or key.
#[derive(Clone)]
pub(crate) struct Asked {
    /// Everything before the length of the body.
    head: String,
    /// The name of the body's member.
    member: &'static str,
    /// The number of different subjects or keys; they are reused in turn.
    names_count: u64,
    /// The expected status.
    expected: u16,
}

impl Asked {
    pub(crate) fn at(path: &str) -> Self {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ");
        Self { head, member: "subject", names_count: u64::MAX, expected: 201 }
    }

    /// Rate-limit checks over this many keys.
    pub(crate) fn check_at(path: &str, keys_count: u64) -> Self {
        Self { member: "key", names_count: keys_count, expected: 200, ..Self::at(path) }
    }

    /// The same, authenticated by a key.
    pub(crate) fn with_key(path: &str, key: &str) -> Self {
        let asked = Self::at(path);
        Self { head: asked.head.replace("content-length", &format!("authorization: Bearer {key}\r\ncontent-length")), ..asked }
    }

    /// Writes the request for this subject.
    pub(crate) fn write(&self, request: &mut Vec<u8>, subject: u64) {
        let (member, name) = (self.member, subject % self.names_count);
        let body = format!("{{\"{member}\":\"u{name:012}\"}}");
        request.clear();
        request.extend_from_slice(self.head.as_bytes());
        request.extend_from_slice(body.len().to_string().as_bytes());
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(body.as_bytes());
    }
}

/// Reads one response; returns its status.
pub(crate) async fn read_status(stream: &mut TcpStream, buffer: &mut [u8]) -> Outcome<u16> {
    Ok(read_answer(stream, buffer).await?.0)
}

/// Reads one response; returns its status, and the seconds of its `Retry-After`.
pub(crate) async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Outcome<(u16, u64)> {
    let mut filled = 0;
    loop {
        let count = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
        if count == 0 {
            return Err("the server closed a connection".into());
        }
        filled += count;
        let answer = buffer.get(..filled).unwrap_or_default();
        if total_bytes(answer).is_some_and(|total| total <= filled) {
            let digits = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or("no status")?;
            let status: u16 = digits.parse()?;
            return Ok((status, if status == 503 { retry_after_s(answer) } else { 0 }));
        }
    }
}

fn retry_after_s(answer: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(answer);
    let seconds = text.split("retry-after: ").nth(1).and_then(|rest| rest.split('\r').next());
    seconds.and_then(|seconds| seconds.parse().ok()).unwrap_or(1)
}

/// The size of a response's head and body, once the head is complete.
fn total_bytes(answer: &[u8]) -> Option<usize> {
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(answer.get(..head_end)?).ok()?;
    let length = head.split("content-length: ").nth(1)?.split('\r').next()?.parse::<usize>().ok()?;
    Some(head_end + length)
}
