//! WHO WATCHES. One task for each campaign that somebody watches looks at it a few times a second,
//! and makes bytes of what has changed, once for all who watch: the work does not grow with what
//! happens in the campaign, and hardly with how many watch.
//!
//! - [`picture`]: a campaign as it is shown, and what has changed in it, as bytes;
//! - [`ring`]: the newest of these, for those who come back and those who are slow;
//! - [`channel`]: the task, and who watches;
//! - [`viewer`]: one who watches;
//! - [`tally`]: how claims were answered, and how fast.
//!
//! What is shown was read as an answer is: not before it is durable (W2). Nobody has a queue: each
//! has a place in the ring, and whoever falls behind gets the newest snapshot (W3).

mod channel;
mod picture;
mod ring;
mod tally;
mod viewer;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine::views::WatchedCampaign;
use tokio::sync::watch;

use self::channel::Channel;
pub use self::ring::ResumeAt;
pub use self::tally::{Tallies, Tally};
pub use self::viewer::{Audience, Shown, Viewer};
use crate::app::App;
use crate::clock;
use crate::doors::caller::Caller;

/// Claims that are shown, of the last ones.
pub const LAST_CLAIMS: u32 = 10;
/// Campaigns that are watched at once at most: each has a task and a ring.
const CAMPAIGNS_MAX: usize = 256;
/// Answers that are followed live at once at most; each is looked at every two seconds.
const ANSWERS_MAX: u32 = 10_000;
/// End users come again after this, in milliseconds, because nobody tells when a token is not honoured
/// any more.
const TOKEN_MS: u64 = 600_000;

/// Whether somebody who has come then, in milliseconds of the process, may still be told anything: their
/// key has not ended, and their token may still be honoured.
#[must_use]
pub fn may_stay(app: &App, caller: &Caller, joined_ms: u64) -> bool {
    let is_old = caller.only_subject().is_some() && joined_ms + TOKEN_MS <= clock::elapsed_ms();
    !is_old && app.doors.check_again(caller, app.clock.now()).is_ok()
}

/// How many may watch.
#[derive(Clone, Copy, Debug)]
pub struct LiveLimits {
    /// In all.
    pub clients_max: u32,
    /// From one address; of IPv6, from one network of 64 bits.
    pub clients_per_address_max: u32,
}

impl LiveLimits {
    /// What is used where the settings do not say.
    pub const STANDARD: Self = Self { clients_max: 4_096, clients_per_address_max: 64 };
}

/// Why nobody more may watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiveFull {
    /// As many watch as may.
    Clients,
    /// As many watch from this address as may.
    Address,
    /// As many campaigns are watched as may be.
    Campaigns,
    /// The server is about to stop.
    Stopping,
}

/// Why somebody may not go on watching.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// They took nothing for too long.
    Overdue,
    /// Their key has ended, or their token may have.
    Revoked,
}

/// Who watches what.
#[derive(Debug)]
pub struct Live {
    limits: LiveLimits,
    channels: Mutex<HashMap<String, Arc<Channel>>>,
    addresses: Arc<Addresses>,
    /// Of those who follow an answer.
    followers: Arc<Addresses>,
    stopping: watch::Sender<bool>,
    next_viewer: AtomicU64,
    /// How claims were answered.
    pub tallies: Tallies,
}

/// How many watch, in all and from each address.
#[derive(Debug, Default)]
struct Addresses {
    all: AtomicU32,
    each: Mutex<HashMap<IpAddr, u32>>,
}

/// A place among those who watch, given back once.
#[derive(Debug)]
pub struct Place {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

/// Somebody who would like to watch.
#[derive(Debug)]
pub struct Comer {
    /// From where.
    pub address: IpAddr,
    /// Who.
    pub caller: Caller,
    /// Whether the last claims are for them.
    pub audience: Audience,
    /// The last event that they have, if they have been here before.
    pub resume_at: Option<ResumeAt>,
}

impl Live {
    /// Nobody watches yet.
    #[must_use]
    pub fn new(limits: LiveLimits) -> Self {
        let stopping = watch::Sender::new(false);
        let (channels, next_viewer) = (Mutex::default(), AtomicU64::new(1));
        Self { limits, channels, addresses: Arc::default(), followers: Arc::default(), stopping, next_viewer, tallies: Tallies::default() }
    }

    /// How many watch.
    #[must_use]
    pub fn clients_count(&self) -> u32 {
        self.addresses.all.load(Ordering::Relaxed)
    }

    /// How many campaigns are watched.
    #[must_use]
    pub fn campaigns_count(&self) -> usize {
        self.channels().len()
    }

    /// Ends every stream, and begins none.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Lets somebody watch a campaign, which stood like this a moment ago.
    ///
    /// # Errors
    /// [`LiveFull`].
    pub fn join(&self, app: &Arc<App>, campaign: &WatchedCampaign, comer: Comer) -> Result<Viewer, LiveFull> {
        if *self.stopping.borrow() {
            return Err(LiveFull::Stopping);
        }
        let place = self.addresses.place(comer.address, self.limits)?;
        let mut channels = self.channels();
        let name = &campaign.campaign.name;
        let channel = match channels.get(name) {
            Some(channel) => Arc::clone(channel),
            None if CAMPAIGNS_MAX <= channels.len() => return Err(LiveFull::Campaigns),
            None => {
                let channel = Arc::new(Channel::new(app, campaign));
                channels.insert(name.clone(), Arc::clone(&channel));
                tokio::spawn(channel::run(Arc::clone(app), Arc::clone(&channel), self.stopping.subscribe()));
                channel
            }
        };
        let number = self.next_viewer.fetch_add(1, Ordering::Relaxed);
        // With the channels still locked: a channel that somebody has joined is not taken away.
        Ok(Viewer::new(number, channel, place, comer, self.stopping.subscribe()))
    }

    /// Lets somebody follow an answer.
    ///
    /// # Errors
    /// [`LiveFull`].
    pub fn follow(&self, address: IpAddr) -> Result<Place, LiveFull> {
        if *self.stopping.borrow() {
            return Err(LiveFull::Stopping);
        }
        self.followers.place(address, LiveLimits { clients_max: ANSWERS_MAX, ..self.limits })
    }

    /// Says when every stream is to end.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// Takes a channel away if nobody watches; says whether it did.
    fn retire(&self, channel: &Channel) -> bool {
        let mut channels = self.channels();
        let is_left = channel.viewers_count() == 0;
        if is_left {
            channels.remove(channel.name());
        }
        is_left
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Addresses {
    fn place(self: &Arc<Self>, address: IpAddr, limits: LiveLimits) -> Result<Place, LiveFull> {
        let address = network_of(address);
        let mut each = self.each();
        let count = each.get(&address).copied().unwrap_or(0);
        if limits.clients_per_address_max <= count {
            return Err(LiveFull::Address);
        }
        // Changed only under this lock.
        if limits.clients_max <= self.all.load(Ordering::Relaxed) {
            return Err(LiveFull::Clients);
        }
        each.insert(address, count + 1);
        self.all.fetch_add(1, Ordering::Relaxed);
        drop(each);
        Ok(Place { addresses: Arc::clone(self), address })
    }

    fn each(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.each.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut each = self.addresses.each();
        self.addresses.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = each.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                each.remove(&self.address);
            }
        }
    }
}

/// Who has one address of IPv6 has all of its network.
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
    fn places_are_counted_in_all_and_for_each_network_and_given_back() {
        let live = Live::new(LiveLimits { clients_max: 3, clients_per_address_max: 2 });
        let at = |text: &str| live.addresses.place(text.parse().unwrap(), live.limits);
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
