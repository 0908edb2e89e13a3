//! What a backend answers, and the one function that puts it into the words of the tables.

use std::fmt;

use domain::Novelty;
use domain::claims::{Claim, ClaimStatus};
use domain::coupon::queue::{Mode, QueueSettings};
use domain::coupon::{self, CampaignState, Settings, campaign_state};
use domain::request::{CampaignView, Outcome};
use domain::state::{Answer, Rejection};
use domain::types::{Quantity, Serial, Timestamp};

use crate::time::Seconds;

/// An answer. [`fmt::Display`] gives the words of the tables.
///
/// Over HTTP a key's replay repeats the first status with `Idempotent-Replayed: true`
/// ([`Novelty::Replayed`]); a claim that the subject has already is 200 with the same header
/// ([`Novelty::Repeated`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `created version 1` (201) or `replaced version 2` (200): settings were written.
    Written {
        /// Whether the campaign is new.
        created: bool,
        /// The version of its settings.
        version: u64,
        /// Whether it is said again.
        novelty: Novelty,
    },
    /// `claimed serial 1` (201), `… replayed` (201 and header), `… repeat` (200 and header).
    Claimed {
        /// The claim's number.
        serial: Serial,
        /// Whether it is said again.
        novelty: Novelty,
    },
    /// `accepted place 1` (202), `… again` (202 and header): pending, at this place in the queue.
    Accepted {
        /// Its place: 1 is decided next.
        place: u32,
        /// Whether it was accepted before.
        is_again: bool,
    },
    /// `redeemed serial 1`.
    Redeemed {
        /// The claim's number.
        serial: Serial,
        /// Whether it is said again.
        novelty: Novelty,
    },
    /// `cancelled serial 1`.
    Cancelled {
        /// The claim's number.
        serial: Serial,
        /// Whether it is said again.
        novelty: Novelty,
    },
    /// `open stock 2 version 1 claimed 1 remaining 1`.
    Campaign(CampaignReply),
    /// `serial 1 by ann claimed_at 10s redeemed_at 20s`.
    Claim(ClaimReply),
    /// `not_open opens_at 10s`.
    Refused(Refusal),
    /// Nothing that a table can expect (another status, a lost connection): says what it was.
    Unexpected(String),
}

/// A campaign as it stands. In words: its state, its settings without those at their default, its
/// version and counts, `redeemed` only if there are any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CampaignReply {
    /// Where it stands.
    pub state: CampaignState,
    /// All of its settings.
    pub settings: Settings,
    /// The version of the settings.
    pub version: u64,
    /// Units that somebody holds.
    pub claimed: Quantity,
    /// Units that nobody holds.
    pub remaining: Quantity,
    /// Units that are set aside for pending claims.
    pub pending: Quantity,
    /// Claims that were used.
    pub redeemed: Quantity,
}

/// A claim as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClaimReply {
    /// Its number.
    pub serial: Serial,
    /// Whose it is.
    pub subject: String,
    /// When it was decided.
    pub claimed_at: Timestamp,
    /// What became of it.
    pub status: ClaimStatus,
}

/// A no. In words: the code, then each field that is there, by its name in the JSON body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Refusal {
    /// The stable word.
    pub code: String,
    /// With `not_open`.
    pub opens_at: Option<Timestamp>,
    /// With `closed`.
    pub closed_at: Option<Timestamp>,
    /// With `expired`.
    pub redeem_until: Option<Timestamp>,
    /// With `already_redeemed`.
    pub redeemed_at: Option<Timestamp>,
    /// With `cancelled`.
    pub cancelled_at: Option<Timestamp>,
    /// With `version_mismatch`.
    pub version: Option<u64>,
    /// With `stock_below_claimed`.
    pub claimed: Option<u32>,
    /// With `subject_limit_reached` and `per_subject_max_lowered`.
    pub per_subject_max: Option<u32>,
    /// With `queue_full`.
    pub queue_max: Option<u32>,
    /// With `claim_ambiguous`, in the order of the answer.
    pub serials: Vec<u32>,
}

impl Reply {
    /// The answer, where a claim has this place in the queue if it is pending.
    #[must_use]
    pub fn of(answer: &Answer, place: Option<u32>) -> Self {
        let novelty = answer.novelty;
        match (&answer.outcome, place) {
            (Outcome::Claimed(..), Some(place)) => Self::Accepted { place, is_again: novelty != Novelty::Fresh },
            (Outcome::Campaign { created, view }, _) => Self::Written { created: *created, version: view.version, novelty },
            (Outcome::Claimed(_, serial), None) => Self::Claimed { serial: *serial, novelty },
            (Outcome::Redeemed(_, serial), _) => Self::Redeemed { serial: *serial, novelty },
            (Outcome::Cancelled(_, serial), _) => Self::Cancelled { serial: *serial, novelty },
        }
    }
}

impl From<&Rejection> for Reply {
    fn from(rejection: &Rejection) -> Self {
        Self::Refused(rejection.into())
    }
}

impl From<&CampaignView> for CampaignReply {
    fn from(view: &CampaignView) -> Self {
        Self {
            state: campaign_state(&view.settings, view.remaining, view.at),
            settings: view.settings,
            version: view.version,
            claimed: view.claimed(),
            remaining: view.remaining,
            pending: view.pending,
            redeemed: view.redeemed,
        }
    }
}

impl From<&Claim<'_>> for ClaimReply {
    fn from(claim: &Claim<'_>) -> Self {
        Self { serial: claim.serial, subject: claim.subject.to_string(), claimed_at: claim.claimed_at, status: claim.status }
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        let mut refusal = Self { code: rejection.code().to_owned(), ..Self::default() };
        match rejection {
            // No table of campaigns asks for a policy.
            Rejection::RequestKeyReused | Rejection::Policy(_) => {}
            Rejection::Coupon(rejection) => refusal.add_fields(rejection),
        }
        refusal
    }
}

impl Refusal {
    fn add_fields(&mut self, rejection: &coupon::Rejection) {
        use coupon::Rejection as Why;
        match rejection {
            Why::VersionMismatch { version } => self.version = Some(*version),
            Why::StockBelowClaimed { claimed } => self.claimed = Some(claimed.get()),
            Why::PerSubjectMaxLowered { per_subject_max } | Why::SubjectLimitReached { per_subject_max } => {
                self.per_subject_max = Some(*per_subject_max);
            }
            Why::QueueFull { queue_max } => self.queue_max = Some(*queue_max),
            Why::NotOpen { opens_at } => self.opens_at = Some(*opens_at),
            Why::Closed { closed_at } => self.closed_at = Some(*closed_at),
            Why::ClaimAmbiguous { serials } => self.serials = serials.iter().map(|serial| serial.get()).collect(),
            Why::AlreadyRedeemed { redeemed_at } => self.redeemed_at = Some(*redeemed_at),
            Why::Cancelled { cancelled_at } => self.cancelled_at = Some(*cancelled_at),
            Why::Expired { redeem_until } => self.redeem_until = Some(*redeem_until),
            Why::CampaignNotFound
            | Why::CampaignExists
            | Why::ClosesBeforeOpens
            | Why::RedeemUntilBeforeOpens
            | Why::RequestKeyRequired
            | Why::Paused
            | Why::SoldOut
            | Why::ClaimPending
            | Why::ClaimNotFound
            | Why::CodeNotFound => {}
        }
    }
}

// --- Words ----------------------------------------------------------------------------------

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written { created, version, novelty } => {
                let verb = if *created { "created" } else { "replaced" };
                write!(f, "{verb} version {version}{}", novelty_word(*novelty))
            }
            Self::Claimed { serial, novelty } => write!(f, "claimed serial {}{}", serial.get(), novelty_word(*novelty)),
            Self::Accepted { place, is_again } => write!(f, "accepted place {place}{}", if *is_again { " again" } else { "" }),
            Self::Redeemed { serial, novelty } => write!(f, "redeemed serial {}{}", serial.get(), novelty_word(*novelty)),
            Self::Cancelled { serial, novelty } => write!(f, "cancelled serial {}{}", serial.get(), novelty_word(*novelty)),
            Self::Campaign(campaign) => campaign.fmt(f),
            Self::Claim(claim) => claim.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unexpected(what) => write!(f, "unexpected: {what}"),
        }
    }
}

impl fmt::Display for CampaignReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.settings;
        write!(f, "{} stock {}", self.state.word(), settings.stock.get())?;
        field(f, "per-subject", Some(settings.per_subject_max).filter(|max| *max != 1))?;
        field(f, "opens", settings.opens_at.map(Seconds))?;
        field(f, "closes", settings.closes_at.map(Seconds))?;
        field(f, "redeem-until", settings.redeem_until.map(Seconds))?;
        f.write_str(if settings.paused { " paused" } else { "" })?;
        f.write_str(if settings.queue.mode == Mode::Queued { " queued" } else { "" })?;
        field(f, "pace", settings.queue.decisions_per_second_max)?;
        field(f, "queue-max", Some(settings.queue.queue_max).filter(|max| *max != QueueSettings::DIRECT.queue_max))?;
        write!(f, " version {} claimed {} remaining {}", self.version, self.claimed.get(), self.remaining.get())?;
        field(f, "pending", Some(self.pending.get()).filter(|pending| *pending != 0))?;
        field(f, "redeemed", Some(self.redeemed.get()).filter(|redeemed| *redeemed != 0))
    }
}

impl fmt::Display for ClaimReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {} by {} claimed_at {}", self.serial.get(), self.subject, Seconds(self.claimed_at))?;
        match self.status {
            ClaimStatus::Pending => f.write_str(" pending"),
            ClaimStatus::Live => Ok(()),
            ClaimStatus::Redeemed { redeemed_at } => field(f, "redeemed_at", Some(Seconds(redeemed_at))),
            ClaimStatus::Cancelled { cancelled_at } => field(f, "cancelled_at", Some(Seconds(cancelled_at))),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        field(f, "opens_at", self.opens_at.map(Seconds))?;
        field(f, "closed_at", self.closed_at.map(Seconds))?;
        field(f, "redeem_until", self.redeem_until.map(Seconds))?;
        field(f, "redeemed_at", self.redeemed_at.map(Seconds))?;
        field(f, "cancelled_at", self.cancelled_at.map(Seconds))?;
        field(f, "version", self.version)?;
        field(f, "claimed", self.claimed)?;
        field(f, "per_subject_max", self.per_subject_max)?;
        field(f, "queue_max", self.queue_max)?;
        let serials: Vec<String> = self.serials.iter().map(u32::to_string).collect();
        field(f, "serials", Some(serials.join(",")).filter(|serials| !serials.is_empty()))
    }
}

fn field<T: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, value: Option<T>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {name} {value}"))
}

fn novelty_word(novelty: Novelty) -> &'static str {
    match novelty {
        Novelty::Fresh => "",
        Novelty::Replayed => " replayed",
        Novelty::Repeated => " repeat",
    }
}
