//! The naive model: what the API promises, written down as directly as possible.
#![expect(clippy::result_large_err, reason = "a model need not be fast")]

use conformance::{Ask, CampaignReply, Refusal, Reply, Request};
use domain::Novelty;
use domain::claims::ClaimStatus;
use domain::coupon::queue::Mode;
use domain::coupon::{CampaignState, Command, Patch, Precondition, Put, Settings, Target, TargetBy};
use domain::types::{ActorId, CampaignName, Quantity, RequestKey, Serial, SubjectId, Timestamp};

const DAY_MS: u64 = 86_400_000;

/// Everything that has happened.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub now: Timestamp,
    pub campaigns: Vec<Campaign>,
    /// Every request with a key that took effect, so that it can be asked again.
    pub requests: Vec<Request<'static>>,
    remembered: Vec<Remembered>,
}

#[derive(Clone, Debug)]
struct Remembered {
    actor: ActorId<'static>,
    campaign: CampaignName<'static>,
    key: RequestKey<'static>,
    ask: Ask<'static>,
    at: Timestamp,
    reply: Reply,
}

/// A campaign and all its claims, in the order of their serials.
#[derive(Clone, Debug)]
pub struct Campaign {
    name: CampaignName<'static>,
    settings: Settings,
    version: u64,
    pub claims: Vec<Claim>,
}

#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub subject: SubjectId<'static>,
    pub claimed_at: Timestamp,
    pub status: ClaimStatus,
}

impl Claim {
    fn is_cancelled(&self) -> bool {
        matches!(self.status, ClaimStatus::Cancelled { .. })
    }
}

fn no(code: &str) -> Refusal {
    Refusal { code: code.to_owned(), ..Refusal::default() }
}

fn serial_of(place: usize) -> Serial {
    Serial::new(u32::try_from(place + 1).unwrap()).unwrap()
}

impl Model {
    /// Answers, and remembers what took effect.
    pub fn ask(&mut self, request: &Request<'static>) -> Reply {
        let Ask::Command(command) = request.ask else { unreachable!("the model is only asked for changes") };
        if let Some(known) = self.known(request, command.campaign()) {
            let (is_same, reply) = (known.ask == request.ask, known.reply.clone());
            return if is_same { self.replayed(command.campaign(), reply) } else { Reply::Refused(no("request_key_reused")) };
        }
        match self.command(&command, request.key.is_some()) {
            Err(refusal) => Reply::Refused(refusal),
            Ok((reply, took_effect)) => {
                if took_effect {
                    self.remember(request, command.campaign(), &reply);
                }
                self.placed(command.campaign(), reply)
            }
        }
    }

    /// Instants at which some answer changes.
    pub fn sharp_instants(&self) -> Vec<u64> {
        let settings = self.campaigns.iter().map(|campaign| campaign.settings);
        let windows = settings.flat_map(|settings| [settings.opens_at, settings.closes_at, settings.redeem_until]).flatten();
        let keys = self.remembered.iter().map(|known| known.at.millis() + DAY_MS);
        let decided = self.campaigns.iter().flat_map(|campaign| campaign.claims.iter().map(|claim| claim.claimed_at.millis()));
        let by_pace = decided.flat_map(|at| [at + 1_000, at + 500, at + 333, at + 100]);
        windows.map(Timestamp::millis).chain(keys).chain(by_pace).collect()
    }

    /// What the pace lets be decided now.
    pub fn decide_due(&mut self) {
        let now = self.now;
        for campaign in &mut self.campaigns {
            while let Some(place) = campaign.claims.iter().position(|claim| claim.status == ClaimStatus::Pending) {
                if !campaign.has_room(now) {
                    break;
                }
                (campaign.claims[place].status, campaign.claims[place].claimed_at) = (ClaimStatus::Live, now);
            }
        }
    }

    /// The first answer once more.
    fn replayed(&self, campaign: CampaignName<'_>, reply: Reply) -> Reply {
        let novelty = Novelty::Replayed;
        let reply = match reply {
            Reply::Written { created, version, .. } => Reply::Written { created, version, novelty },
            Reply::Claimed { serial, .. } => Reply::Claimed { serial, novelty },
            Reply::Redeemed { serial, .. } => Reply::Redeemed { serial, novelty },
            Reply::Cancelled { serial, .. } => Reply::Cancelled { serial, novelty },
            Reply::Accepted { .. } | Reply::Campaign(_) | Reply::Claim(_) | Reply::Refused(_) | Reply::Unexpected(_) => reply,
        };
        self.placed(campaign, reply)
    }

    /// A claim that is pending is answered with its place.
    fn placed(&self, campaign: CampaignName<'_>, reply: Reply) -> Reply {
        let Reply::Claimed { serial, novelty } = reply else { return reply };
        let claims = &self.campaigns.iter().find(|known| known.name == campaign).unwrap().claims;
        let ahead = claims[..serial.get() as usize].iter().filter(|claim| claim.status == ClaimStatus::Pending).count();
        match claims[serial.get() as usize - 1].status {
            ClaimStatus::Pending => Reply::Accepted { place: u32::try_from(ahead).unwrap(), is_again: novelty != Novelty::Fresh },
            _ => reply,
        }
    }

    fn known(&self, request: &Request<'_>, campaign: CampaignName<'_>) -> Option<&Remembered> {
        let is_the_same = |known: &&Remembered| {
            Some(known.key) == request.key
                && known.actor == request.actor
                && known.campaign == campaign
                && self.now.millis() - known.at.millis() < DAY_MS
        };
        self.remembered.iter().find(is_the_same)
    }

    fn remember(&mut self, request: &Request<'static>, campaign: CampaignName<'static>, reply: &Reply) {
        let Some(key) = request.key else { return };
        let (actor, ask, at, reply) = (request.actor, request.ask, self.now, reply.clone());
        self.remembered.push(Remembered { actor, campaign, key, ask, at, reply });
        self.requests.push(*request);
    }

    /// The answer, and whether anything changed.
    fn command(&mut self, command: &Command<'static>, has_key: bool) -> Result<(Reply, bool), Refusal> {
        let now = self.now;
        let place = self.campaigns.iter().position(|campaign| campaign.name == command.campaign());
        let Some(campaign) = place.and_then(|place| self.campaigns.get_mut(place)) else {
            let Command::Put(put) = command else { return Err(no("campaign_not_found")) };
            return self.create(put);
        };
        match command {
            Command::Put(put) => campaign.write(put.settings, put.precondition),
            Command::Patch(patch) => campaign.write(patched(campaign.settings, patch), patch.precondition),
            Command::Claim(claim) => campaign.claim(claim.subject, has_key, now),
            Command::Redeem(target) => campaign.redeem(target, now),
            Command::Cancel(target) => campaign.cancel(target, now),
            Command::DecideNext(_) => unreachable!("nobody asks for it"),
        }
    }

    fn create(&mut self, put: &Put<'static>) -> Result<(Reply, bool), Refusal> {
        if !matches!(put.precondition, Precondition::Always | Precondition::IsNew) {
            return Err(no("campaign_not_found"));
        }
        window(&put.settings)?;
        self.campaigns.push(Campaign { name: put.campaign, settings: put.settings, version: 1, claims: Vec::new() });
        Ok((Reply::Written { created: true, version: 1, novelty: Novelty::Fresh }, true))
    }
}

fn patched(old: Settings, patch: &Patch<'_>) -> Settings {
    Settings {
        stock: patch.stock.unwrap_or(old.stock),
        per_subject_max: patch.per_subject_max.unwrap_or(old.per_subject_max),
        opens_at: patch.opens_at.unwrap_or(old.opens_at),
        closes_at: patch.closes_at.unwrap_or(old.closes_at),
        redeem_until: patch.redeem_until.unwrap_or(old.redeem_until),
        paused: patch.paused.unwrap_or(old.paused),
        queue: patch.queue.apply(old.queue),
    }
}

fn window(settings: &Settings) -> Result<(), Refusal> {
    if let (Some(opens_at), Some(closes_at)) = (settings.opens_at, settings.closes_at)
        && closes_at <= opens_at
    {
        return Err(no("closes_before_opens"));
    }
    if let (Some(opens_at), Some(redeem_until)) = (settings.opens_at, settings.redeem_until)
        && redeem_until <= opens_at
    {
        return Err(no("redeem_until_before_opens"));
    }
    Ok(())
}

impl Campaign {
    /// The campaign as a read answers it.
    pub fn reply(&self, now: Timestamp) -> CampaignReply {
        let settings = self.settings;
        let is_redeemed = |claim: &&Claim| matches!(claim.status, ClaimStatus::Redeemed { .. });
        let quantity = |count: usize| Quantity::new(u32::try_from(count).unwrap()).unwrap();
        CampaignReply {
            state: self.state(now),
            settings,
            version: self.version,
            claimed: quantity(self.taken() - self.pending()),
            remaining: quantity(settings.stock.get() as usize - self.taken()),
            pending: quantity(self.pending()),
            redeemed: quantity(self.claims.iter().filter(is_redeemed).count()),
        }
    }

    /// What a subject holds, rising.
    pub fn serials_of(&self, subject: SubjectId<'_>) -> Vec<Serial> {
        let taken = self.taken_by(subject).into_iter();
        taken.filter(|serial| self.claims[serial.get() as usize - 1].status != ClaimStatus::Pending).collect()
    }

    /// The same with what is pending.
    pub fn taken_by(&self, subject: SubjectId<'_>) -> Vec<Serial> {
        let held = |(place, claim): (usize, &Claim)| (claim.subject == subject && !claim.is_cancelled()).then(|| serial_of(place));
        self.claims.iter().enumerate().filter_map(held).collect()
    }

    fn taken(&self) -> usize {
        self.claims.iter().filter(|claim| !claim.is_cancelled()).count()
    }

    fn pending(&self) -> usize {
        self.claims.iter().filter(|claim| claim.status == ClaimStatus::Pending).count()
    }

    /// Whether one more may be decided now: not more than the pace in a second, and not more than a
    /// tenth of it, rounded up, in a tenth of a second. A pace below ten has a claim in each part.
    fn has_room(&self, now: Timestamp) -> bool {
        let queue = self.settings.queue;
        let (Mode::Queued, Some(pace)) = (queue.mode, queue.decisions_per_second_max) else { return true };
        let decided = |within: u64| {
            let since = |claim: &&Claim| claim.status != ClaimStatus::Pending && now.millis() - claim.claimed_at.millis() < within;
            self.claims.iter().filter(since).count()
        };
        let parts = pace.min(10);
        decided(1_000) < pace as usize && decided(u64::from(1_000 / parts)) < pace.div_ceil(parts) as usize
    }

    fn is_sold_out(&self) -> bool {
        self.taken() == self.settings.stock.get() as usize
    }

    fn is_before_opening(&self, now: Timestamp) -> bool {
        self.settings.opens_at.is_some_and(|opens_at| now < opens_at)
    }

    fn is_after_closing(&self, now: Timestamp) -> bool {
        self.settings.closes_at.is_some_and(|closes_at| closes_at <= now)
    }

    fn state(&self, now: Timestamp) -> CampaignState {
        match () {
            () if self.is_after_closing(now) => CampaignState::Closed,
            () if self.is_before_opening(now) => CampaignState::Scheduled,
            () if self.settings.paused => CampaignState::Paused,
            () if self.is_sold_out() => CampaignState::SoldOut,
            () => CampaignState::Open,
        }
    }

    fn write(&mut self, settings: Settings, precondition: Precondition) -> Result<(Reply, bool), Refusal> {
        match precondition {
            Precondition::Always | Precondition::Exists => {}
            Precondition::IsNew => return Err(no("campaign_exists")),
            Precondition::Version(version) if version == self.version => {}
            Precondition::Version(_) | Precondition::Never => {
                return Err(Refusal { version: Some(self.version), ..no("version_mismatch") });
            }
        }
        window(&settings)?;
        if (settings.stock.get() as usize) < self.taken() {
            let claimed = u32::try_from(self.taken()).ok();
            return Err(Refusal { claimed, ..no("stock_below_claimed") });
        }
        if settings.per_subject_max < self.settings.per_subject_max && 0 < self.taken() {
            return Err(Refusal { per_subject_max: Some(self.settings.per_subject_max), ..no("per_subject_max_lowered") });
        }
        let changes = settings != self.settings;
        self.version += u64::from(changes);
        self.settings = settings;
        Ok((Reply::Written { created: false, version: self.version, novelty: Novelty::Fresh }, changes))
    }

    fn claim(&mut self, subject: SubjectId<'static>, has_key: bool, now: Timestamp) -> Result<(Reply, bool), Refusal> {
        let (held, per_subject_max) = (self.taken_by(subject), self.settings.per_subject_max);
        if 1 < per_subject_max && !has_key {
            return Err(no("request_key_required"));
        }
        if let (1, Some(serial)) = (per_subject_max, held.first()) {
            return Ok((Reply::Claimed { serial: *serial, novelty: Novelty::Repeated }, false));
        }
        if self.is_before_opening(now) {
            return Err(Refusal { opens_at: self.settings.opens_at, ..no("not_open") });
        }
        if self.is_after_closing(now) {
            return Err(Refusal { closed_at: self.settings.closes_at, ..no("closed") });
        }
        if self.settings.paused {
            return Err(no("paused"));
        }
        if held.len() == per_subject_max as usize {
            return Err(Refusal { per_subject_max: Some(per_subject_max), ..no("subject_limit_reached") });
        }
        if self.is_sold_out() {
            return Err(no("sold_out"));
        }
        let waits = 0 < self.pending() || !self.has_room(now);
        if waits && self.settings.queue.queue_max as usize <= self.pending() {
            return Err(Refusal { queue_max: Some(self.settings.queue.queue_max), ..no("queue_full") });
        }
        let status = if waits { ClaimStatus::Pending } else { ClaimStatus::Live };
        self.claims.push(Claim { subject, claimed_at: now, status });
        Ok((Reply::Claimed { serial: serial_of(self.claims.len() - 1), novelty: Novelty::Fresh }, true))
    }

    fn redeem(&mut self, target: &Target<'_>, now: Timestamp) -> Result<(Reply, bool), Refusal> {
        let place = self.find_live(target)?;
        if let Some(redeem_until) = self.settings.redeem_until
            && redeem_until <= now
        {
            return Err(Refusal { redeem_until: Some(redeem_until), ..no("expired") });
        }
        self.claims[place].status = ClaimStatus::Redeemed { redeemed_at: now };
        Ok((Reply::Redeemed { serial: serial_of(place), novelty: Novelty::Fresh }, true))
    }

    fn cancel(&mut self, target: &Target<'_>, now: Timestamp) -> Result<(Reply, bool), Refusal> {
        let place = self.find_live(target)?;
        self.claims[place].status = ClaimStatus::Cancelled { cancelled_at: now };
        Ok((Reply::Cancelled { serial: serial_of(place), novelty: Novelty::Fresh }, true))
    }

    fn find_live(&self, target: &Target<'_>) -> Result<usize, Refusal> {
        let place = self.find(target)?;
        match self.claims[place].status {
            ClaimStatus::Live => Ok(place),
            ClaimStatus::Pending => Err(no("claim_pending")),
            ClaimStatus::Redeemed { redeemed_at } => Err(Refusal { redeemed_at: Some(redeemed_at), ..no("already_redeemed") }),
            ClaimStatus::Cancelled { cancelled_at } => Err(Refusal { cancelled_at: Some(cancelled_at), ..no("cancelled") }),
        }
    }

    fn find(&self, target: &Target<'_>) -> Result<usize, Refusal> {
        let place = |serial: Serial| serial.get() as usize - 1;
        match target.by {
            TargetBy::Code(serial) if self.claims.get(place(serial)).is_some_and(|claim| claim.status != ClaimStatus::Pending) => {
                Ok(place(serial))
            }
            TargetBy::Code(_) => Err(no("code_not_found")),
            TargetBy::SubjectSerial(subject, serial) => {
                let is_theirs = self.claims.get(place(serial)).is_some_and(|claim| claim.subject == subject);
                if is_theirs { Ok(place(serial)) } else { Err(no("claim_not_found")) }
            }
            TargetBy::Subject(subject) => match self.serials_of(subject).as_slice() {
                [] if !self.taken_by(subject).is_empty() => Err(no("claim_pending")),
                [] => Err(no("claim_not_found")),
                [serial] => Ok(place(*serial)),
                serials => Err(Refusal { serials: serials.iter().map(|serial| serial.get()).collect(), ..no("claim_ambiguous") }),
            },
        }
    }
}
