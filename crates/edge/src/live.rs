//! LIVE STREAMS. One task for each resource that has subscribers looks at it a few times a second, and
//! encodes what has changed once for all of them. The work does not grow with the rate of changes, and
//! hardly with the number of subscribers.
//!
//! - [`frame`]: what is shown, and the events about it, as bytes;
//! - [`ring`]: the newest events, for subscribers that reconnect and subscribers that are slow;
//! - [`channel`]: the task and its subscribers;
//! - [`subscription`]: one subscriber;
//! - [`transport`]: Server-Sent Events and WebSocket.
//!
//! The program reads what is shown in the same way as a response: only after it is durable (W2). A
//! subscriber has no queue but a position in the ring; one that falls behind gets the newest snapshot (W3).

mod channel;
mod frame;
mod ring;
mod subscription;
mod transport;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use self::channel::Channel;
pub use self::frame::{Audience, Frame, Picture};
pub use self::ring::ResumeAt;
pub use self::subscription::{LiveItem, Subscription};
pub use self::transport::{event_stream, events_limit, respond, upgrade};
use crate::auth::caller::Caller;
use crate::clock;
use crate::shared::Edge;

/// Limit on channels: each has a task and a ring.
const CHANNELS_MAX: usize = 256;
/// Limit on answers that are followed live; the server reads each every two seconds.
const FOLLOWERS_MAX: u32 = 10_000;
/// After this time, in milliseconds, an end user must reconnect with a token: the server is not told when
/// the issuer revokes one.
const TOKEN_MS: u64 = 600_000;

/// Whether a caller that connected at `joined_ms`, in milliseconds of the process, may still be sent
/// anything: its key was not revoked, and its token was checked recently.
#[must_use]
pub fn may_stay(edge: &Edge, caller: &Caller, joined_ms: u64) -> bool {
    let is_old = caller.only_subject().is_some() && joined_ms + TOKEN_MS <= clock::elapsed_ms();
    !is_old && edge.auth.recheck(caller, edge.clock.now()).is_ok()
}

/// Where a channel reads what it shows.
pub trait Source: Send + Sync + 'static {
    /// The resource as it is now; `None` if it cannot be read.
    fn look(&self) -> impl Future<Output = Option<Picture>> + Send;
}

/// Limits on subscribers.
#[derive(Clone, Copy, Debug)]
pub struct LiveLimits {
    /// All subscribers.
    pub clients_max: u32,
    /// Subscribers from one address; with IPv6, from one network of 64 bits.
    pub clients_per_address_max: u32,
}

impl LiveLimits {
    /// The defaults.
    pub const STANDARD: Self = Self { clients_max: 4_096, clients_per_address_max: 64 };
}

/// Why a subscriber is not admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiveFull {
    /// The limit on subscribers is reached.
    Clients,
    /// The limit on subscribers from this address is reached.
    Address,
    /// The limit on channels is reached.
    Channels,
    /// The server is about to stop.
    Stopping,
}

/// Why a channel ended a subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The subscriber took nothing for too long.
    Overdue,
    /// The key was revoked, or the token is too old to be trusted.
    Revoked,
}

/// All channels and their subscribers.
#[derive(Debug)]
pub struct Live {
    limits: LiveLimits,
    channels: Mutex<HashMap<String, Arc<Channel>>>,
    subscribers: Arc<AddressCounts>,
    /// Callers that follow an answer.
    followers: Arc<AddressCounts>,
    stopping: watch::Sender<bool>,
    next_number: AtomicU64,
}

/// Counts streams, of all addresses and of each.
#[derive(Debug, Default)]
struct AddressCounts {
    all: AtomicU32,
    each: Mutex<HashMap<IpAddr, u32>>,
}

/// The right to have one stream, until it is dropped.
#[derive(Debug)]
pub struct SubscriberPermit {
    counts: Arc<AddressCounts>,
    address: IpAddr,
}

/// A subscriber that has not been admitted yet.
#[derive(Debug)]
pub struct Subscriber {
    /// The client's address.
    pub address: IpAddr,
    /// The caller.
    pub caller: Caller,
    /// Which fields the caller may see.
    pub audience: Audience,
    /// The last event that the client received, if it reconnects.
    pub resume_at: Option<ResumeAt>,
}

impl Live {
    /// No channels.
    #[must_use]
    pub fn new(limits: LiveLimits) -> Self {
        let stopping = watch::Sender::new(false);
        let (channels, next_number) = (Mutex::default(), AtomicU64::new(1));
        Self { limits, channels, subscribers: Arc::default(), followers: Arc::default(), stopping, next_number }
    }

    /// The number of subscribers.
    #[must_use]
    pub fn clients_count(&self) -> u32 {
        self.subscribers.all.load(Ordering::Relaxed)
    }

    /// The number of channels.
    #[must_use]
    pub fn channels_count(&self) -> usize {
        self.channels().len()
    }

    /// Ends all streams and admits no more.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Subscribes to the channel `name`. If there is none yet, `first` gives its source and the first
    /// picture.
    ///
    /// # Errors
    /// [`LiveFull`].
    pub fn join<S: Source>(
        self: &Arc<Self>,
        edge: &Arc<Edge>,
        name: &str,
        first: impl FnOnce() -> (S, Picture),
        subscriber: Subscriber,
    ) -> Result<Subscription, LiveFull> {
        if *self.stopping.borrow() {
            return Err(LiveFull::Stopping);
        }
        let permit = self.subscribers.acquire(subscriber.address, self.limits)?;
        let mut channels = self.channels();
        let channel = match channels.get(name) {
            Some(channel) => Arc::clone(channel),
            None if CHANNELS_MAX <= channels.len() => return Err(LiveFull::Channels),
            None => {
                let (source, picture) = first();
                let channel = Arc::new(Channel::new(edge, name, picture));
                channels.insert(name.to_owned(), Arc::clone(&channel));
                tokio::spawn(channel::run(Arc::clone(edge), Arc::clone(self), Arc::clone(&channel), source));
                channel
            }
        };
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        // While the channels are locked, so that the channel cannot be removed before it has the subscriber.
        Ok(Subscription::new(number, channel, permit, subscriber, self.stopping.subscribe()))
    }

    /// Admits a caller that follows an answer.
    ///
    /// # Errors
    /// [`LiveFull`].
    pub fn follow(&self, address: IpAddr) -> Result<SubscriberPermit, LiveFull> {
        if *self.stopping.borrow() {
            return Err(LiveFull::Stopping);
        }
        self.followers.acquire(address, LiveLimits { clients_max: FOLLOWERS_MAX, ..self.limits })
    }

    /// Becomes true when all streams are to end.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Removes a channel if it has no subscribers; returns whether it did.
    fn retire(&self, channel: &Channel) -> bool {
        let mut channels = self.channels();
        let is_unused = channel.subscribers_count() == 0;
        if is_unused {
            channels.remove(channel.name());
        }
        is_unused
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Arc<Channel>>> {
        self.channels.lock()
    }
}

impl AddressCounts {
    fn acquire(self: &Arc<Self>, address: IpAddr, limits: LiveLimits) -> Result<SubscriberPermit, LiveFull> {
        let address = network_of(address);
        let mut each = self.each();
        let count = each.get(&address).copied().unwrap_or(0);
        if limits.clients_per_address_max <= count {
            return Err(LiveFull::Address);
        }
        // `all` changes only while `each` is locked.
        if limits.clients_max <= self.all.load(Ordering::Relaxed) {
            return Err(LiveFull::Clients);
        }
        each.insert(address, count + 1);
        self.all.fetch_add(1, Ordering::Relaxed);
        drop(each);
        Ok(SubscriberPermit { counts: Arc::clone(self), address })
    }

    fn each(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.each.lock()
    }
}

impl Drop for SubscriberPermit {
    fn drop(&mut self) {
        let mut each = self.counts.each();
        self.counts.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = each.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                each.remove(&self.address);
            }
        }
    }
}

/// A client with one address of IPv6 usually has its whole network of 64 bits.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_limited_in_all_and_for_each_network_and_returned() {
        let live = Live::new(LiveLimits { clients_max: 3, clients_per_address_max: 2 });
        let at = |text: &str| live.subscribers.acquire(text.parse().unwrap(), live.limits);
        let first = at("2001:db8::1").unwrap();
        let _second = at("2001:db8::2").unwrap();
        assert_eq!(at("2001:db8::3").unwrap_err(), LiveFull::Address);
        let _third = at("10.0.0.1").unwrap();
        assert_eq!(at("10.0.0.2").unwrap_err(), LiveFull::Clients);
        drop(first);
        assert_eq!(live.clients_count(), 2);
        let _fourth = at("::ffff:10.0.0.1").unwrap();
        assert_eq!(live.clients_count(), 3);
    }
}
