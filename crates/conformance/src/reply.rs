//! What a backend answers, and the one function that puts it into the words of the tables.

use std::fmt;

use domain::claims::{Claim, ClaimStatus};
use domain::coupon::{self, ClaimView, Coupon};
use domain::fields::{Field, Value};
use domain::rate_limit::policies::{self, Limit};
use domain::rejections::Detail;
use domain::types::{Serial, Timestamp};
use domain::workload::{AnyOutcome, AnySettings, AnySummary, AnyView};
use domain::{Listed, Novelty, Rejection};

use crate::time::Seconds;
use crate::words::short;

/// An answer. [`fmt::Display`] gives the words of the tables.
///
/// Over HTTP a key's replay repeats the first status with `Idempotent-Replayed: true`
/// ([`Novelty::Replayed`]); a claim that the subject has already is 200 with the same header
/// ([`Novelty::Repeated`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// `created version 1` (201) or `replaced version 2` (200): settings were written.
    Written {
        /// Whether the aggregate is new.
        created: bool,
        /// The version of its settings.
        version: u64,
        /// Whether it is said again.
        novelty: Novelty,
    },
    /// `removed version 2`: an aggregate was removed, whose settings had this version.
    Removed {
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
    /// `overridden quota 3 window_ms 1000`: a key has numbers of its own.
    Overridden {
        /// Units per window.
        quota: u32,
        /// The window.
        window_ms: u64,
        /// The burst, where the algorithm has one.
        burst: Option<u32>,
        /// Whether it is said again; that it was so already is not told.
        is_replayed: bool,
    },
    /// `override removed`.
    OverrideRemoved {
        /// Whether it is said again.
        is_replayed: bool,
    },
    /// `open stock 2 version 1 claimed 1 remaining 1`.
    Aggregate(AggregateReply),
    /// `serial 1 by ann claimed_at 10s redeemed_at 20s`.
    Claim(ClaimReply),
    /// `not_open opens_at 10s`.
    Refused(Refusal),
    /// Nothing that a table can expect (another status, a lost connection): says what it was.
    Unexpected(String),
}

/// An aggregate as it stands. In words: the figures that are words; its settings without those at
/// their default; its version; the figures that are numbers, `pending` and `redeemed` only if there are
/// any.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AggregateReply {
    /// All of its settings; the internal ones at their defaults.
    pub settings: AnySettings,
    /// The version of the settings.
    pub version: u64,
    /// What follows from its items, each by its name.
    pub figures: Vec<(&'static str, Value)>,
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

/// A no. In words: the code, then what it tells, each by its name in the JSON body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Refusal {
    /// The stable word.
    pub code: String,
    /// What it tells beside the code, in the words of the tables.
    pub details: Vec<(String, String)>,
}

impl Refusal {
    /// A refusal that tells nothing beside its code.
    #[must_use]
    pub fn of(code: &str) -> Self {
        Self { code: code.to_owned(), details: Vec::new() }
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, detail: &Detail) -> Self {
        let text = match detail {
            Detail::Number(number) => number.to_string(),
            Detail::Time(time) => Seconds(*time).to_string(),
            Detail::Numbers(numbers) => numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(","),
            Detail::Word(word) => (*word).to_owned(),
        };
        self.details.push((name.to_owned(), text));
        self
    }
}

impl Reply {
    /// What an outcome and what it shows come to.
    #[must_use]
    pub fn did(outcome: &AnyOutcome, view: Option<&AnyView>, novelty: Novelty) -> Self {
        if let (Some(outcome), Some(view)) = (Coupon::outcome(outcome), view.and_then(Coupon::view_of)) {
            return Self::of_claim(*outcome, view, novelty);
        }
        if let Some(outcome) = Limit::outcome(outcome) {
            return Self::of_override(*outcome, novelty);
        }
        Self::Unexpected(format!("{outcome:?} shows {view:?}"))
    }

    fn of_claim(outcome: coupon::Outcome, view: &ClaimView, novelty: Novelty) -> Self {
        match (outcome, view.waiting) {
            (coupon::Outcome::Claimed { .. }, Some(waiting)) => {
                Self::Accepted { place: waiting.place, is_again: novelty != Novelty::Fresh }
            }
            (coupon::Outcome::Claimed { serial }, None) => Self::Claimed { serial, novelty },
            (coupon::Outcome::Redeemed { serial }, _) => Self::Redeemed { serial, novelty },
            (coupon::Outcome::Cancelled { serial }, _) => Self::Cancelled { serial, novelty },
        }
    }

    fn of_override(outcome: policies::Outcome, novelty: Novelty) -> Self {
        let is_replayed = novelty == Novelty::Replayed;
        match outcome {
            policies::Outcome::OverrideWritten { numbers, has_burst } => Self::Overridden {
                quota: numbers.quota,
                window_ms: numbers.window_ns / 1_000_000,
                burst: has_burst.then_some(numbers.burst),
                is_replayed,
            },
            policies::Outcome::OverrideRemoved => Self::OverrideRemoved { is_replayed },
        }
    }
}

impl From<&Rejection> for Reply {
    fn from(rejection: &Rejection) -> Self {
        Self::Refused(rejection.into())
    }
}

impl From<&AnySummary> for AggregateReply {
    fn from(summary: &AnySummary) -> Self {
        let mut settings = summary.settings().kind().least();
        for (field, value) in summary.settings().values().into_iter().filter(|(field, _)| !field.is_internal) {
            let set = settings.set(field.name, value);
            assert!(set.is_ok(), "a setting that was written can be written");
        }
        let figures = summary.figures().into_iter().map(|(field, value)| (field.name, value)).collect();
        Self { settings, version: summary.head().version, figures }
    }
}

impl From<&Claim<'_>> for ClaimReply {
    fn from(claim: &Claim<'_>) -> Self {
        Self { serial: claim.serial, subject: claim.subject.to_string(), claimed_at: claim.claimed_at, status: claim.status }
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        rejection.details().iter().fold(Self::of(rejection.code()), |refusal, (name, detail)| refusal.with(name, detail))
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
            Self::Removed { version, novelty } => write!(f, "removed version {version}{}", novelty_word(*novelty)),
            Self::Claimed { serial, novelty } => write!(f, "claimed serial {}{}", serial.get(), novelty_word(*novelty)),
            Self::Accepted { place, is_again } => write!(f, "accepted place {place}{}", if *is_again { " again" } else { "" }),
            Self::Redeemed { serial, novelty } => write!(f, "redeemed serial {}{}", serial.get(), novelty_word(*novelty)),
            Self::Cancelled { serial, novelty } => write!(f, "cancelled serial {}{}", serial.get(), novelty_word(*novelty)),
            Self::Overridden { quota, window_ms, burst, is_replayed } => {
                write!(f, "overridden quota {quota} window_ms {window_ms}")?;
                burst.map_or(Ok(()), |burst| write!(f, " burst {burst}"))?;
                f.write_str(replayed_word(*is_replayed))
            }
            Self::OverrideRemoved { is_replayed } => write!(f, "override removed{}", replayed_word(*is_replayed)),
            Self::Aggregate(aggregate) => aggregate.fmt(f),
            Self::Claim(claim) => claim.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unexpected(what) => write!(f, "unexpected: {what}"),
        }
    }
}

impl fmt::Display for AggregateReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let figures = |is_word: bool| self.figures.iter().filter(move |(_, value)| matches!(value, Value::Word(_)) == is_word);
        words.extend(figures(true).map(|(_, value)| in_words(*value)));
        let defaults = self.settings.kind().least().values();
        for ((field, value), (_, default)) in self.settings.values().into_iter().zip(defaults) {
            if !field.is_internal && (field.is_required || value != default) {
                words.push(setting_in_words(field, value));
            }
        }
        words.push(format!("version {}", self.version));
        let is_told = |name: &str, value: Value| value != Value::Number(0) || !matches!(name, "pending" | "redeemed");
        let numbers = figures(false).filter(|(name, value)| is_told(name, *value));
        words.extend(numbers.map(|(name, value)| format!("{name} {}", in_words(*value))));
        f.write_str(&words.join(" "))
    }
}

fn setting_in_words(field: &Field, value: Value) -> String {
    match value {
        // A flag and a word say themselves.
        Value::Bool(true) => field.name.to_owned(),
        Value::Word(word) => word.to_owned(),
        Value::Null | Value::Bool(false) | Value::Number(_) | Value::Time(_) => format!("{} {}", short(field.name), in_words(value)),
    }
}

fn in_words(value: Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Time(time) => Seconds(time).to_string(),
        Value::Word(word) => word.to_owned(),
    }
}

impl fmt::Display for ClaimReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {} by {} claimed_at {}", self.serial.get(), self.subject, Seconds(self.claimed_at))?;
        match self.status {
            ClaimStatus::Pending => f.write_str(" pending"),
            ClaimStatus::Live => Ok(()),
            ClaimStatus::Redeemed { redeemed_at } => write!(f, " redeemed_at {}", Seconds(redeemed_at)),
            ClaimStatus::Cancelled { cancelled_at } => write!(f, " cancelled_at {}", Seconds(cancelled_at)),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        self.details.iter().try_for_each(|(name, text)| write!(f, " {name} {text}"))
    }
}

fn novelty_word(novelty: Novelty) -> &'static str {
    match novelty {
        Novelty::Fresh => "",
        Novelty::Replayed => " replayed",
        Novelty::Repeated => " repeat",
    }
}

fn replayed_word(is_replayed: bool) -> &'static str {
    if is_replayed { " replayed" } else { "" }
}
