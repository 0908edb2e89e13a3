//! The rules of coupons, told as what must be true of each record after the ones before it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use domain::claims::ClaimStatus;
use domain::coupon::queue::Mode;
use domain::coupon::{Event as CouponEvent, Settings};
use domain::state::{Event, Record};
use domain::types::{Serial, Timestamp};

use super::findings::Report;
use super::keys::RequestKeys;
use super::names::Names;
use super::policies::Policies;

/// What the records so far add up to.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) time: Timestamp,
    pub(super) subjects: Names,
    /// In the order of creation.
    pub(super) campaigns: Vec<Campaign>,
    keys: RequestKeys,
    policies: Policies,
}

/// A campaign, as its records tell.
#[derive(Debug)]
pub(super) struct Campaign {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) version: u64,
    pub(super) code_key: u32,
    pub(super) created_at: Timestamp,
    /// By rising serial; the last ones may be pending.
    claims: Vec<Claim>,
    decided_count: usize,
    /// Claims that hold a unit, redeemed ones included.
    holding_count: u32,
    /// The same by subject.
    holding_by_subject: HashMap<u32, u32, BuildHasherDefault<Scatter>>,
}

/// A claim, as its records tell. There may be millions.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) claimed_at: Timestamp,
    pub(super) subject: u32,
    pub(super) serial: u32,
    ended: Ended,
    ended_at_high: u16,
    ended_at_low: u32,
}

/// How a claim ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Ended {
    /// Accepted, and not decided yet.
    Pending,
    Not,
    Redeemed,
    Cancelled,
}

impl Rules {
    pub(super) fn new() -> Self {
        Self {
            time: Timestamp::ZERO,
            subjects: Names::default(),
            campaigns: Vec::new(),
            keys: RequestKeys::new(),
            policies: Policies::default(),
        }
    }

    /// Checks a record against the ones before it, and takes it in.
    pub(super) fn check(&mut self, record: &Record<'_>, report: &mut Report<'_>) {
        if record.at < self.time {
            let (at, before) = (record.at.millis(), self.time.millis());
            report.broken("time", &format!("the time goes back from {before} to {at} ms"));
        }
        self.time = self.time.max(record.at);
        match &record.event {
            Event::Coupon(event) => {
                self.check_key(record, event, report);
                self.check_coupon(event, record.at, report);
            }
            Event::Policy(event) => self.policies.check(event, report),
            Event::RequestsForgotten { count } => {
                if !self.keys.forget(*count, record.at) {
                    report.broken("request_key", &format!("{count} request keys are forgotten, not all of them 24 hours old"));
                }
            }
        }
    }

    fn check_key(&mut self, record: &Record<'_>, event: &CouponEvent<'_>, report: &mut Report<'_>) {
        let Some(request) = &record.request else { return };
        let (number, actor, key) = (event.campaign().0, record.actor.as_str(), request.key.as_str());
        if let Some(before) = self.keys.take(number, actor, key, record.at) {
            let campaign = self.campaigns.get(number as usize).map_or("(unknown)", |campaign| &campaign.name);
            let before = before.millis();
            report.broken(
                "request_key",
                &format!("campaign {campaign}: the request key {key:?} of {actor} took effect at {before} ms already"),
            );
        }
    }

    fn check_coupon(&mut self, event: &CouponEvent<'_>, at: Timestamp, report: &mut Report<'_>) {
        if let CouponEvent::CampaignCreated { campaign, name, settings, code_key } = event {
            return self.create(campaign.0, name.as_str(), Campaign::new(name.as_str(), *settings, *code_key, at), report);
        }
        let Some(campaign) = self.campaigns.get_mut(event.campaign().0 as usize) else {
            return report.broken("unknown_campaign", &format!("there is no campaign number {}", event.campaign().0));
        };
        match event {
            CouponEvent::CampaignCreated { .. } => {}
            CouponEvent::CampaignChanged { settings, .. } => campaign.change(*settings, report),
            CouponEvent::Accepted { serial, subject, .. } => {
                let subject_number = self.subjects.number(subject.as_str());
                campaign.accept(*serial, subject_number, subject.as_str(), at, report);
            }
            CouponEvent::Claimed { serial, subject, .. } => {
                let subject_number = self.subjects.number(subject.as_str());
                campaign.claim(*serial, subject_number, subject.as_str(), at, report);
            }
            CouponEvent::Redeemed { serial, .. } => campaign.redeem(*serial, at, report),
            CouponEvent::Cancelled { serial, .. } => campaign.cancel(*serial, at, report),
        }
    }

    fn create(&mut self, number: u32, name: &str, campaign: Campaign, report: &mut Report<'_>) {
        let expected = self.campaigns.len();
        if number as usize != expected {
            report.broken("campaign_number", &format!("campaign {name} has number {number}, not {expected}"));
        }
        if self.campaigns.iter().any(|existing| existing.name == name) {
            report.broken("campaign_name", &format!("there is a campaign {name} already"));
        }
        self.campaigns.push(campaign);
    }
}

impl Campaign {
    fn new(name: &str, settings: Settings, code_key: u32, created_at: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            settings,
            version: 1,
            code_key,
            created_at,
            claims: Vec::new(),
            decided_count: 0,
            holding_count: 0,
            holding_by_subject: HashMap::default(),
        }
    }

    fn change(&mut self, settings: Settings, report: &mut Report<'_>) {
        let (name, holding) = (&self.name, self.holding_count);
        if settings.stock.get() < holding {
            let stock = settings.stock.get();
            report.broken("stock_below_claimed", &format!("campaign {name}: the stock is set to {stock}, but {holding} are claimed"));
        }
        if settings.per_subject_max < self.settings.per_subject_max {
            let most = self.holding_by_subject.values().max().copied().unwrap_or(0);
            if settings.per_subject_max < most {
                report.broken("subject_limit", &format!("campaign {name}: the limit is lowered below the {most} claims of a subject"));
            }
        }
        self.settings = settings;
        self.version += 1;
    }

    /// Claims that were decided, by rising serial.
    pub(super) fn decided(&self) -> &[Claim] {
        self.claims.get(..self.decided_count).unwrap_or_default()
    }

    /// Every claim, those that are pending last.
    pub(super) fn claims(&self) -> &[Claim] {
        &self.claims
    }

    fn accept(&mut self, serial: Serial, subject: u32, subject_text: &str, at: Timestamp, report: &mut Report<'_>) {
        let (pending, most) = (self.claims.len() - self.decided_count, self.settings.queue.queue_max as usize);
        if most <= pending {
            report.broken(
                "queue_full",
                &format!("campaign {}: claim {} is accepted behind {pending}, and {most} may be", self.name, serial.get()),
            );
        }
        self.take(serial, subject, subject_text, at, report);
        if let Some(claim) = self.claims.get_mut(self.decided_count..).and_then(<[Claim]>::last_mut) {
            claim.ended = Ended::Pending;
        }
    }

    fn claim(&mut self, serial: Serial, subject: u32, subject_text: &str, at: Timestamp, report: &mut Report<'_>) {
        self.check_pace(serial, at, report);
        let Some(next) = self.claims.get_mut(self.decided_count) else {
            self.take(serial, subject, subject_text, at, report);
            self.decided_count = self.claims.len();
            return;
        };
        if (next.serial, next.subject) != (serial.get(), subject) {
            let what = format!("campaign {}: claim {} of {subject_text} is decided before claim {}", self.name, serial.get(), next.serial);
            return report.broken("queue_order", &what);
        }
        next.set_decided(at);
        self.decided_count += 1;
    }

    /// Of so many decisions in a row as the pace allows in a second, the first is a second old.
    fn check_pace(&self, serial: Serial, at: Timestamp, report: &mut Report<'_>) {
        let queue = self.settings.queue;
        let Some(pace) = queue.decisions_per_second_max.filter(|_| queue.mode == Mode::Queued) else { return };
        let earlier = self.decided_count.checked_sub(pace as usize).and_then(|place| self.claims.get(place));
        if let Some(earlier) = earlier.filter(|earlier| at < earlier.claimed_at.plus_millis(1_000)) {
            let since = at.millis().saturating_sub(earlier.claimed_at.millis());
            let what = format!("campaign {}: claim {} is decided {since} ms after the one {pace} before it", self.name, serial.get());
            report.broken("pace", &what);
        }
    }

    /// A unit is taken, by a claim that is decided or pending.
    fn take(&mut self, serial: Serial, subject: u32, subject_text: &str, at: Timestamp, report: &mut Report<'_>) {
        let last = self.claims.last().map_or(0, |claim| claim.serial);
        let (name, serial, settings) = (&self.name, serial.get(), &self.settings);
        if let Some(why) = outside_window(settings, at) {
            report.broken("window", &format!("campaign {name}: claim {serial} at {} ms, {why}", at.millis()));
        }
        if Some(serial) != last.checked_add(1) {
            report.broken("serial_gap", &format!("campaign {name}: claim {serial} follows claim {last}"));
        }
        self.holding_count += 1;
        if settings.stock.get() < self.holding_count {
            let (stock, holding) = (settings.stock.get(), self.holding_count);
            report.broken("over_issued", &format!("campaign {name}: claim {serial} is live claim {holding} of a stock of {stock}"));
        }
        let held = self.holding_by_subject.entry(subject).or_default();
        *held += 1;
        if settings.per_subject_max < *held {
            let limit = settings.per_subject_max;
            report.broken(
                "subject_limit",
                &format!("campaign {name}: {subject_text} holds {held} with claim {serial}, and may hold {limit}"),
            );
        }
        if last < serial {
            self.claims.push(Claim::new(at, subject, serial));
        }
    }

    fn redeem(&mut self, serial: Serial, at: Timestamp, report: &mut Report<'_>) {
        let until = self.settings.redeem_until;
        if self.end_claim(serial, Ended::Redeemed, at, report).is_none() {
            return;
        }
        if let Some(until) = until.filter(|until| *until <= at) {
            let (name, serial, until, at) = (&self.name, serial.get(), until.millis(), at.millis());
            report.broken("redeemed_late", &format!("campaign {name}: claim {serial} is redeemed at {at} ms, later than until {until} ms"));
        }
    }

    fn cancel(&mut self, serial: Serial, at: Timestamp, report: &mut Report<'_>) {
        let Some(subject) = self.end_claim(serial, Ended::Cancelled, at, report) else { return };
        self.holding_count = self.holding_count.saturating_sub(1);
        if let Some(held) = self.holding_by_subject.get_mut(&subject) {
            *held = held.saturating_sub(1);
        }
    }

    /// Marks a live claim, and returns its subject; `None` if it is not live.
    fn end_claim(&mut self, serial: Serial, how: Ended, at: Timestamp, report: &mut Report<'_>) -> Option<u32> {
        let (serial, verb) = (serial.get(), if how == Ended::Redeemed { "redeemed" } else { "cancelled" });
        let name = &self.name;
        let Some(claim) = find(&mut self.claims, serial) else {
            report.broken("unknown_claim", &format!("campaign {name}: claim {serial} is {verb}, and was never made"));
            return None;
        };
        match claim.status() {
            ClaimStatus::Live => {
                claim.set_ended(how, at);
                Some(claim.subject)
            }
            ClaimStatus::Pending => {
                report.broken("claim_pending", &format!("campaign {name}: claim {serial} is {verb} before it was decided"));
                None
            }
            ClaimStatus::Redeemed { .. } => {
                report.broken("claim_ended", &format!("campaign {name}: claim {serial} is {verb} after it was redeemed"));
                None
            }
            ClaimStatus::Cancelled { .. } => {
                report.broken("claim_ended", &format!("campaign {name}: claim {serial} is {verb} after it was cancelled"));
                None
            }
        }
    }
}

impl Claim {
    pub(super) fn new(claimed_at: Timestamp, subject: u32, serial: u32) -> Self {
        Self { claimed_at, subject, serial, ended: Ended::Not, ended_at_high: 0, ended_at_low: 0 }
    }

    pub(super) fn pending(accepted_at: Timestamp, subject: u32, serial: u32) -> Self {
        Self { ended: Ended::Pending, ..Self::new(accepted_at, subject, serial) }
    }

    pub(super) fn set_decided(&mut self, claimed_at: Timestamp) {
        (self.ended, self.claimed_at) = (Ended::Not, claimed_at);
    }

    pub(super) fn status(&self) -> ClaimStatus {
        let millis = u64::from(self.ended_at_high) << 32 | u64::from(self.ended_at_low);
        let at = Timestamp::from_millis(millis).unwrap_or(Timestamp::MAX);
        match self.ended {
            Ended::Pending => ClaimStatus::Pending,
            Ended::Not => ClaimStatus::Live,
            Ended::Redeemed => ClaimStatus::Redeemed { redeemed_at: at },
            Ended::Cancelled => ClaimStatus::Cancelled { cancelled_at: at },
        }
    }

    pub(super) fn set_ended(&mut self, how: Ended, at: Timestamp) {
        self.ended = how;
        self.ended_at_high = u16::try_from(at.millis() >> 32).unwrap_or(u16::MAX);
        self.ended_at_low = u32::try_from(at.millis() & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    }
}

/// Without a gap, a serial is a place; with one, the place is searched.
fn find(claims: &mut [Claim], serial: u32) -> Option<&mut Claim> {
    let guess = (serial as usize).checked_sub(1)?;
    let place = match claims.get(guess) {
        Some(claim) if claim.serial == serial => guess,
        _ => claims.binary_search_by_key(&serial, |claim| claim.serial).ok()?,
    };
    claims.get_mut(place)
}

fn outside_window(settings: &Settings, at: Timestamp) -> Option<String> {
    if let Some(opens_at) = settings.opens_at.filter(|opens_at| at < *opens_at) {
        return Some(format!("before it opens at {} ms", opens_at.millis()));
    }
    if let Some(closes_at) = settings.closes_at.filter(|closes_at| *closes_at <= at) {
        return Some(format!("after it closed at {} ms", closes_at.millis()));
    }
    settings.paused.then(|| "while it is paused".to_owned())
}

/// Spreads numbers that we give out ourselves, and that nobody can choose.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scatter(u64);

impl Hasher for Scatter {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // The odd number next to 2^64 divided by the golden ratio (Knuth, volume 3, 6.4); the
        // table looks at the lowest and the highest bits.
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }
}
