//! Open-loop load on many connections: requests arrive at their time, whatever the server does with earlier
//! ones. An arrival that finds no free connection is not sent, as with a load balancer that has a fixed
//! number of connections to a server; these arrivals are counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::load::{Asked, read_answer};
use crate::{Outcome, clock};

/// The load.
#[derive(Clone)]
pub(crate) struct Arrivals {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Asked,
    pub(crate) connections: usize,
    pub(crate) per_second: f64,
    /// Before measuring starts.
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
    pub(crate) first_subject: u64,
    /// Whether a connection pauses after a 503 for the time given in `Retry-After`.
    pub(crate) heeds_retry_after: bool,
}

/// The results.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) served: u64,
    pub(crate) refused: u64,
    pub(crate) unsent: u64,
    pub(crate) unexpected: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    pub(crate) refused_p99_ms: f64,
}

struct World {
    idle: RefCell<VecDeque<usize>>,
    slots: Vec<Slot>,
    served: RefCell<Histogram<u64>>,
    refused: RefCell<Histogram<u64>>,
    unexpected: Cell<u64>,
    next_subject: Cell<u64>,
    counts_from: Instant,
    arrivals: Arrivals,
}

/// A connection's next request: since when it is due.
#[derive(Default)]
struct Slot {
    due: Cell<Option<Instant>>,
    notify: Notify,
}

/// Runs the load on a new thread that is pinned to this core.
pub(crate) fn run_on_core(core: usize, arrivals: Arrivals) -> Outcome<Seen> {
    let thread = std::thread::spawn(move || {
        crate::pin(core)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, run(arrivals))
    });
    thread.join().map_err(|_| "the load panicked")?
}

async fn run(arrivals: Arrivals) -> Outcome<Seen> {
    let mut streams = Vec::with_capacity(arrivals.connections);
    for _ in 0..arrivals.connections {
        let stream = TcpStream::connect(arrivals.address).await?;
        stream.set_nodelay(true)?;
        streams.push(stream);
    }
    let started = clock::now();
    let world = Rc::new(World {
        idle: RefCell::new((0..streams.len()).collect()),
        slots: streams.iter().map(|_| Slot::default()).collect(),
        served: RefCell::new(Histogram::new(3)?),
        refused: RefCell::new(Histogram::new(3)?),
        unexpected: Cell::new(0),
        next_subject: Cell::new(arrivals.first_subject),
        counts_from: started + arrivals.warm_up,
        arrivals,
    });
    for (place, stream) in streams.into_iter().enumerate() {
        tokio::task::spawn_local(connection(stream, place, Rc::clone(&world)));
    }
    let unsent = send_all(&world, started).await;
    settle(&world).await;
    Ok(world.seen(unsent))
}

/// Hands every due arrival to a connection; returns how many of the measured ones found none free.
async fn send_all(world: &World, started: Instant) -> u64 {
    let arrivals = &world.arrivals;
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let (mut next, mut unsent) = (0_u32, 0);
    loop {
        ticks.tick().await;
        let elapsed = started.elapsed();
        loop {
            let due = Duration::from_secs_f64(f64::from(next) / arrivals.per_second);
            if elapsed < due || arrivals.warm_up + arrivals.time <= due {
                break;
            }
            next += 1;
            let idle = world.idle.borrow_mut().pop_front();
            match idle.and_then(|place| world.slots.get(place)) {
                Some(slot) => {
                    slot.due.set(Some(started + due));
                    slot.notify.notify_one();
                }
                None => unsent += u64::from(arrivals.warm_up <= due),
            }
        }
        if arrivals.warm_up + arrivals.time <= elapsed {
            return unsent;
        }
    }
}

/// Waits until every sent request is answered.
async fn settle(world: &World) {
    for _ in 0..1_000 {
        if world.idle.borrow().len() == world.slots.len() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn connection(mut stream: TcpStream, place: usize, world: Rc<World>) {
    let Some(slot) = world.slots.get(place) else { return };
    let (mut buffer, mut request) = (vec![0; 2_048], Vec::with_capacity(256));
    loop {
        slot.notify.notified().await;
        let Some(due) = slot.due.take() else { continue };
        let subject = world.next_subject.replace(world.next_subject.get() + 1);
        world.arrivals.asked.write(&mut request, subject);
        if stream.write_all(&request).await.is_err() {
            return world.unexpected.set(world.unexpected.get() + 1);
        }
        match read_answer(&mut stream, &mut buffer).await {
            Ok((201, _)) => world.count(&world.served, due),
            Ok((503, seconds)) => {
                world.count(&world.refused, due);
                if world.arrivals.heeds_retry_after {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                }
            }
            _ => return world.unexpected.set(world.unexpected.get() + 1),
        }
        world.idle.borrow_mut().push_back(place);
    }
}

impl World {
    fn count(&self, histogram: &RefCell<Histogram<u64>>, due: Instant) {
        if self.counts_from <= due {
            let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
            // Only values out of range are refused: an hour and more.
            let _ = histogram.borrow_mut().record(micros);
        }
    }

    fn seen(&self, unsent: u64) -> Seen {
        let (served, refused) = (self.served.borrow(), self.refused.borrow());
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Seen {
            served: served.len(),
            refused: refused.len(),
            unsent,
            unexpected: self.unexpected.get(),
            p50_ms: ms(served.value_at_quantile(0.5)),
            p99_ms: ms(served.value_at_quantile(0.99)),
            p999_ms: ms(served.value_at_quantile(0.999)),
            max_ms: ms(served.max()),
            refused_p99_ms: ms(refused.value_at_quantile(0.99)),
        }
    }
}
