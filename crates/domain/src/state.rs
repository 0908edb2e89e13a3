//! All workloads together: the one `decide` and the one `evolve` that everything else calls, in
//! the engine, in a replay, and in a simulation alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::coupon::{self, Campaign, CampaignNumber};
use crate::hash::HashSeed;
use crate::rate_limit::policies::{self, Policies};
use crate::request::{CampaignView, Keyed, Lookup, Outcome, Remembered, Requests};
use crate::types::{ActorId, CampaignName, RequestId, Timestamp};

/// What is asked, and by whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Command<'a> {
    /// Who asks; request keys belong to them.
    pub actor: ActorId<'a>,
    /// The request's key, if it has one.
    pub request: Option<Keyed<'a>>,
    /// What.
    pub kind: CommandKind<'a>,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandKind<'a> {
    /// Something of a campaign.
    Coupon(coupon::Command<'a>),
    /// Something of a rate limit's policy. A request key on it is of no importance: asking twice
    /// changes nothing.
    Policy(policies::Command<'a>),
    /// To forget request keys whose time has come. Anyone may ask; it has no effect before.
    ForgetRequests,
}

/// What was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// Something in a campaign.
    Coupon(coupon::Event<'a>),
    /// Something of a rate limit's policy.
    Policy(policies::Event<'a>),
    /// The oldest request keys are forgotten.
    RequestsForgotten {
        /// How many.
        count: u32,
    },
}

/// A decision as it is written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// When it was decided; never before the record ahead of it.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: ActorId<'a>,
    /// By which request.
    pub request_id: RequestId<'a>,
    /// The request's key, if it had one.
    pub request: Option<Keyed<'a>>,
    /// What.
    pub event: Event<'a>,
}

/// A decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision<'a> {
    /// Something changes.
    Event(Event<'a>),
    /// Nothing changes, and this is the answer.
    Answer(Answer),
    /// Nothing changes, and nobody waits for an answer.
    Nothing,
}

/// A yes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What took effect.
    pub outcome: Outcome,
    /// Whether this is the first time that it is said.
    pub novelty: Novelty,
}

/// Whether an answer is new. The two kinds of repetition differ in what is said: a key repeats its
/// first answer as it was, status included; a repeat is told that nothing was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Novelty {
    /// The first answer to this request.
    Fresh,
    /// The request key took effect before, and this was its answer.
    Replayed,
    /// Another request for what the subject has already.
    Repeated,
}

/// A no.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rejection {
    /// The request key was used for another request.
    RequestKeyReused,
    /// The campaign's rules.
    Coupon(coupon::Rejection),
    /// The policies' rules.
    Policy(policies::Rejection),
}

impl Rejection {
    /// The stable word that clients match.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::RequestKeyReused => "request_key_reused",
            Self::Coupon(rejection) => rejection.code(),
            Self::Policy(rejection) => rejection.code(),
        }
    }

    /// Whether the same request could be granted later without anybody changing it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RequestKeyReused | Self::Policy(_) => false,
            Self::Coupon(rejection) => rejection.is_transient(),
        }
    }
}

impl From<policies::Rejection> for Rejection {
    fn from(rejection: policies::Rejection) -> Self {
        Self::Policy(rejection)
    }
}

impl From<coupon::Rejection> for Rejection {
    fn from(rejection: coupon::Rejection) -> Self {
        Self::Coupon(rejection)
    }
}

/// Everything that decisions depend on.
#[derive(Debug)]
pub struct State {
    /// The time of the last record.
    pub time: Timestamp,
    /// Requests that took effect lately.
    pub requests: Requests,
    /// The policies of rate limits.
    pub policies: Policies,
    campaigns: Vec<Campaign>,
    by_name: BTreeMap<String, CampaignNumber>,
    claims_count: u64,
    /// Campaigns in which claims are pending.
    queues: BTreeSet<CampaignNumber>,
    seed: HashSeed,
}

impl State {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(seed: HashSeed) -> Self {
        Self {
            time: Timestamp::ZERO,
            requests: Requests::new(seed),
            policies: Policies::default(),
            campaigns: Vec::new(),
            by_name: BTreeMap::new(),
            claims_count: 0,
            queues: BTreeSet::new(),
            seed,
        }
    }

    /// The campaign of this name.
    #[must_use]
    pub fn campaign(&self, name: CampaignName<'_>) -> Option<&Campaign> {
        self.by_name.get(name.as_str()).and_then(|number| self.campaign_at(*number))
    }

    /// The campaign of this number.
    #[must_use]
    pub fn campaign_at(&self, number: CampaignNumber) -> Option<&Campaign> {
        self.campaigns.get(number.0 as usize)
    }

    /// Campaigns in the order of creation.
    #[must_use]
    pub fn campaigns(&self) -> &[Campaign] {
        &self.campaigns
    }

    /// Campaigns whose names begin with `prefix`, in the order of their names, from the first after
    /// `after`.
    pub fn campaigns_after<'a>(&'a self, after: Option<&str>, prefix: &'a str) -> impl Iterator<Item = &'a Campaign> + 'a {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = after.filter(|after| prefix <= *after).map_or(Included(prefix), Excluded);
        let named = self.by_name.range::<str, _>((from, Unbounded)).take_while(move |(name, _)| name.starts_with(prefix));
        named.filter_map(|(_, number)| self.campaign_at(*number))
    }

    /// How many claims are in memory, cancelled ones included: what memory grows with.
    #[must_use]
    pub fn claims_count(&self) -> u64 {
        self.claims_count
    }

    /// The key of the tables; of no importance to any answer.
    #[must_use]
    pub fn seed(&self) -> HashSeed {
        self.seed
    }

    /// The first instant at which something falls due by itself.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let queues = self.queues().filter_map(coupon::next_deadline);
        queues.chain(self.requests.next_deadline()).min()
    }

    /// The campaigns in which claims are pending, in the order of creation.
    pub fn queues(&self) -> impl Iterator<Item = &Campaign> {
        self.queues.iter().filter_map(|number| self.campaign_at(*number))
    }

    /// Writes a record's effect into the state, and says what took effect. Cannot fail and
    /// decides nothing.
    pub fn evolve(&mut self, record: &Record<'_>) -> Option<Outcome> {
        self.time = self.time.max(record.at);
        match &record.event {
            Event::Coupon(event) => {
                let outcome = self.evolve_coupon(event, record.at)?;
                self.remember(record, event.campaign(), &outcome);
                Some(outcome)
            }
            Event::Policy(event) => {
                policies::evolve(&mut self.policies, event, record.at);
                None
            }
            Event::RequestsForgotten { count } => {
                self.requests.forget(*count);
                None
            }
        }
    }

    /// Every invariant of every workload.
    ///
    /// # Errors
    /// The broken invariant in words.
    pub fn check(&self) -> Result<(), &'static str> {
        self.policies.check()?;
        self.campaigns.iter().try_for_each(Campaign::check)
    }

    /// Puts a campaign that was read back at its place.
    pub(crate) fn push_campaign(&mut self, campaign: Campaign) {
        self.by_name.insert(campaign.name.clone(), campaign.number);
        self.claims_count = self.claims_count.saturating_add(campaign.claims.count() as u64);
        if campaign.first_pending().is_some() {
            self.queues.insert(campaign.number);
        }
        self.campaigns.push(campaign);
    }

    fn evolve_coupon(&mut self, event: &coupon::Event<'_>, at: Timestamp) -> Option<Outcome> {
        if let coupon::Event::CampaignCreated { campaign, name, settings, .. } = event {
            self.push_campaign(Campaign::new(*campaign, *name, *settings, self.seed));
        }
        let campaign = self.campaigns.get_mut(event.campaign().0 as usize)?;
        let claims_count = campaign.claims.count();
        coupon::evolve(campaign, event, at);
        self.claims_count = self.claims_count.saturating_add(campaign.claims.count().saturating_sub(claims_count) as u64);
        match event {
            coupon::Event::Accepted { .. } => drop(self.queues.insert(campaign.number)),
            coupon::Event::Claimed { .. } if campaign.first_pending().is_none() => drop(self.queues.remove(&campaign.number)),
            _ => {}
        }
        debug_assert_eq!(campaign.check(), Ok(()));
        Some(outcome_of(event, campaign, at))
    }

    fn remember(&mut self, record: &Record<'_>, campaign: CampaignNumber, outcome: &Outcome) {
        let Some(keyed) = record.request else { return };
        self.requests.remember(Remembered {
            campaign,
            actor: record.actor.as_str().into(),
            key: keyed.key.as_str().into(),
            fingerprint: keyed.fingerprint,
            recorded_at: record.at,
            outcome: outcome.clone(),
        });
    }
}

/// What becomes of a command at `now`, which must not be before [`State::time`].
///
/// # Errors
/// The first [`Rejection`] in the order of precedence.
pub fn decide<'a>(state: &State, command: &Command<'a>, now: Timestamp) -> Result<Decision<'a>, Rejection> {
    match &command.kind {
        CommandKind::Coupon(coupon) => decide_coupon(state, command, coupon, now),
        CommandKind::Policy(command) => Ok(match policies::decide(&state.policies, command)? {
            policies::Decision::Event(event) => Decision::Event(Event::Policy(event)),
            policies::Decision::Unchanged => Decision::Nothing,
        }),
        CommandKind::ForgetRequests => Ok(match state.requests.due_count(now) {
            0 => Decision::Nothing,
            count => Decision::Event(Event::RequestsForgotten { count }),
        }),
    }
}

fn decide_coupon<'a>(
    state: &State,
    command: &Command<'a>,
    coupon: &coupon::Command<'a>,
    now: Timestamp,
) -> Result<Decision<'a>, Rejection> {
    let Some(campaign) = state.campaign(coupon.campaign()) else { return decide_without_campaign(state, coupon) };
    if let Some(keyed) = &command.request {
        match state.requests.lookup(command.actor, campaign.number, keyed, now) {
            Lookup::Fresh => {}
            Lookup::Replayed(outcome) => return Ok(Decision::Answer(Answer { outcome: outcome.clone(), novelty: Novelty::Replayed })),
            Lookup::KeyReused => return Err(Rejection::RequestKeyReused),
        }
    }
    match coupon::decide(campaign, coupon, command.request.is_some(), now)? {
        coupon::Decision::Event(event) => Ok(Decision::Event(Event::Coupon(event))),
        coupon::Decision::Repeat(coupon::Repeat::Nothing) => Ok(Decision::Nothing),
        coupon::Decision::Repeat(repeat) => Ok(Decision::Answer(repeat_answer(repeat, campaign, now))),
    }
}

fn decide_without_campaign<'a>(state: &State, coupon: &coupon::Command<'a>) -> Result<Decision<'a>, Rejection> {
    let coupon::Command::Put(put) = coupon else { return Err(coupon::Rejection::CampaignNotFound.into()) };
    let number = CampaignNumber(u32::try_from(state.campaigns.len()).unwrap_or(u32::MAX));
    match coupon::decide_create(put, number)? {
        coupon::Decision::Event(event) => Ok(Decision::Event(Event::Coupon(event))),
        coupon::Decision::Repeat(_) => Ok(Decision::Nothing),
    }
}

fn repeat_answer(repeat: coupon::Repeat, campaign: &Campaign, now: Timestamp) -> Answer {
    match repeat {
        coupon::Repeat::Claimed(number, serial) => Answer { outcome: Outcome::Claimed(number, serial), novelty: Novelty::Repeated },
        coupon::Repeat::Unchanged(_) | coupon::Repeat::Nothing => {
            Answer { outcome: Outcome::Campaign { created: false, view: Box::new(campaign.view(now)) }, novelty: Novelty::Fresh }
        }
    }
}

fn outcome_of(event: &coupon::Event<'_>, campaign: &Campaign, at: Timestamp) -> Outcome {
    match event {
        coupon::Event::CampaignCreated { .. } => Outcome::Campaign { created: true, view: Box::new(campaign.view(at)) },
        coupon::Event::CampaignChanged { .. } => Outcome::Campaign { created: false, view: Box::new(campaign.view(at)) },
        coupon::Event::Accepted { campaign, serial, .. } | coupon::Event::Claimed { campaign, serial, .. } => {
            Outcome::Claimed(*campaign, *serial)
        }
        coupon::Event::Redeemed { campaign, serial } => Outcome::Redeemed(*campaign, *serial),
        coupon::Event::Cancelled { campaign, serial } => Outcome::Cancelled(*campaign, *serial),
    }
}

impl Campaign {
    /// The campaign without its claims, as it stands at `at`.
    #[must_use]
    pub fn view(&self, at: Timestamp) -> CampaignView {
        CampaignView {
            number: self.number,
            settings: self.settings,
            version: self.version,
            code_key: self.code_key,
            created_at: self.created_at,
            remaining: self.remaining,
            pending: self.pending(),
            redeemed: self.redeemed,
            at,
        }
    }
}
