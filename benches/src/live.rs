//! Many subscribers watch one campaign during a rush: how long durable claims take to reach them, and how
//! much throughput the rush loses. Server, load and subscribers share the machine's cores.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use firstcome::serve::raise_files_max;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::ServerProcess;
use crate::load::{Asked, Load, run};
use crate::report::median;
use crate::server::CAMPAIGN;
use crate::{Outcome, clock};

/// Connections of the rush.
const CONNECTIONS: usize = 512;
/// Interval of the claims whose delay is measured.
const PROBE_EVERY: Duration = Duration::from_millis(150);

/// The observations of one subscriber: the number of claims, and when it was received.
#[derive(Default)]
struct Seen {
    issued: Vec<(u64, Instant)>,
    snapshots: u64,
}

/// A durable claim: its serial, and when its response arrived.
type Probe = (u64, Instant);

/// The rush without and with this many subscribers, alternating; each run with subscribers is between two
/// without, because claims get more expensive as their number grows, and a machine's speed drifts.
pub(crate) fn compare(clients: usize, seconds: u64, rounds: usize) -> Outcome<Value> {
    raise_files_max();
    let folder = tempfile::tempdir()?;
    let server = ServerProcess::start(folder.path())?;
    let mut next_subject = 0;
    let mut rush = |time| {
        next_subject += 100_000_000;
        let asked = Asked::at(&format!("/v1/campaigns/{CAMPAIGN}/claims"));
        run(&Load { address: server.address, asked, connections: CONNECTIONS, time, first_subject: next_subject })
    };
    rush(Duration::from_secs(1))?;
    let (mut alone, mut watched, mut delays) = (Vec::new(), Vec::new(), Histogram::<u64>::new(3)?);
    let (mut events, mut snapshots, mut waits) = (0, 0, [Vec::new(), Vec::new()]);
    for round in 0..rounds {
        let found = rush(Duration::from_secs(seconds))?;
        alone.push(found.per_second);
        waits[0].push(found.p99_ms);
        let watching = Watching::start(server.address, clients)?;
        let probing = Probing::start(server.address, round)?;
        let found = rush(Duration::from_secs(seconds))?;
        watched.push(found.per_second);
        waits[1].push(found.p99_ms);
        let probes = probing.end()?;
        // The last event is still on its way.
        std::thread::sleep(Duration::from_secs(2));
        for seen in watching.end()? {
            events += seen.issued.len() as u64;
            snapshots += seen.snapshots;
            record_delays(&seen, &probes, &mut delays)?;
        }
    }
    alone.push(rush(Duration::from_secs(seconds))?.per_second);
    let around = alone.windows(2).map(|pair| pair.iter().sum::<f64>() / 2.0);
    let ratios: Vec<f64> = watched.iter().zip(around).map(|(watched, alone)| watched / alone).collect();
    let ms = |quantile| delays.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(json!({
        "clients": clients,
        "connections": CONNECTIONS,
        "alone_per_second": median(&alone),
        "watched_per_second": median(&watched),
        "ratio": median(&ratios),
        "alone_p99_ms": median(&waits[0]),
        "watched_p99_ms": median(&waits[1]),
        "delay_p50_ms": ms(0.5),
        "delay_p99_ms": ms(0.99),
        "delay_max_ms": ms(1.0),
        "delays_count": delays.len(),
        "events_a_client": events as f64 / (clients * rounds) as f64,
        "snapshots_in_the_place_of_deltas": snapshots,
        "runs_alone": alone,
        "runs_watched": watched,
        "runs_ratio": ratios,
    }))
}

/// Records the time from each claim's response to the event that shows it.
fn record_delays(seen: &Seen, probes: &[Probe], delays: &mut Histogram<u64>) -> Outcome<()> {
    for (serial, durable_at) in probes {
        let place = seen.issued.partition_point(|(issued, _)| issued < serial);
        let (_, heard_at) = seen.issued.get(place).ok_or("a client has not heard of a claim that is durable")?;
        delays.record(u64::try_from(heard_at.saturating_duration_since(*durable_at).as_micros())?)?;
    }
    Ok(())
}

/// Subscribers on a thread of their own.
struct Watching {
    stop: tokio::sync::watch::Sender<bool>,
    thread: std::thread::JoinHandle<Outcome<Vec<Seen>>>,
}

impl Watching {
    /// Returns when every subscriber has received its first event.
    fn start(address: SocketAddr, clients: usize) -> Outcome<Self> {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let begun = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&begun);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(watch_all(address, clients, &stopped, &counted))
        });
        while begun.load(Ordering::Relaxed) < clients as u64 {
            if thread.is_finished() {
                return Err(thread.join().map_or("a client panicked".into(), |seen| seen.err().unwrap_or("clients ended".into())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { stop, thread })
    }

    fn end(self) -> Outcome<Vec<Seen>> {
        self.stop.send_replace(true);
        self.thread.join().map_err(|_| "a client panicked")?
    }
}

async fn watch_all(
    address: SocketAddr,
    clients: usize,
    stopped: &tokio::sync::watch::Receiver<bool>,
    begun: &Arc<AtomicU64>,
) -> Outcome<Vec<Seen>> {
    let tasks: Vec<_> = (0..clients).map(|_| tokio::spawn(watch(address, stopped.clone(), Arc::clone(begun)))).collect();
    let mut all = Vec::with_capacity(clients);
    for task in tasks {
        all.push(task.await??);
    }
    Ok(all)
}

async fn watch(address: SocketAddr, mut stopped: tokio::sync::watch::Receiver<bool>, begun: Arc<AtomicU64>) -> Outcome<Seen> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(format!("GET /v1/campaigns/{CAMPAIGN}/live HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    let (mut seen, mut text, mut buffer) = (Seen::default(), Vec::new(), vec![0; 8_192]);
    let mut is_first = true;
    loop {
        let count = tokio::select! {
            count = stream.read(&mut buffer) => count?,
            _ = stopped.wait_for(|is_stopped| *is_stopped) => return Ok(seen),
        };
        if count == 0 {
            return Err(format!("a stream has ended: {}", String::from_utf8_lossy(&text)).into());
        }
        let heard_at = clock::now();
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
        // Events are shorter than the read buffer, but may be split.
        while let Some(end) = find(&text, b"\n\n") {
            take(text.get(..end).unwrap_or_default(), heard_at, &mut seen, is_first);
            text.drain(..end + 2);
            if std::mem::take(&mut is_first) {
                begun.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn take(event: &[u8], heard_at: Instant, seen: &mut Seen, is_first: bool) {
    seen.snapshots += u64::from(!is_first && find(event, b"event: snapshot").is_some());
    let Some(place) = find(event, b"\"issued\":") else { return };
    let digits = event.get(place + 9..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit());
    seen.issued.push((digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')), heard_at));
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// Periodic claims, on a thread of their own.
struct Probing {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Outcome<Vec<Probe>>>,
}

impl Probing {
    fn start(address: SocketAddr, round: usize) -> Outcome<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, mut stream) = (Arc::clone(&is_over), TcpStream::connect(address)?);
        stream.set_nodelay(true)?;
        let thread = std::thread::spawn(move || {
            let mut probes = Vec::new();
            while !over.load(Ordering::Relaxed) {
                probes.push(probe(&mut stream, &format!("probe-{round}-{}", probes.len()))?);
                std::thread::sleep(PROBE_EVERY);
            }
            Ok(probes)
        });
        Ok(Self { is_over, thread })
    }

    fn end(self) -> Outcome<Vec<Probe>> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "a probe panicked")?
    }
}

fn probe(stream: &mut TcpStream, subject: &str) -> Outcome<Probe> {
    let body = format!("{{\"subject\":\"{subject}\"}}");
    let head = format!("POST /v1/campaigns/{CAMPAIGN}/claims HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json");
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    let mut buffer = [0; 4_096];
    let count = stream.read(&mut buffer)?;
    let durable_at = clock::now();
    // The response to a claim arrives in one piece.
    let answer = String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
    let serial = answer.split("\"serial\":").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok());
    Ok((serial.ok_or(answer)?, durable_at))
}
