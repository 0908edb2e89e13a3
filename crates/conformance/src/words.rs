//! Reads a request from its words.

use std::str::SplitWhitespace;

use domain::coupon::queue::{Mode, QueuePatch, QueueSettings};
use domain::coupon::{ClaimOne, Command, PER_SUBJECT_MAX, Patch, Precondition, Put, Settings, Target, TargetBy};
use domain::types::{ActorId, CampaignName, NameError, Quantity, RequestKey, Serial, SubjectId, Timestamp};

use crate::request::{Ask, Request};
use crate::time::parse_time;

/// Why a line cannot be read.
pub(crate) type Unreadable = String;

/// What may follow the verb and the campaign, each word at most once.
#[derive(Default)]
struct Options<'a> {
    subject: Option<SubjectId<'a>>,
    serial: Option<Serial>,
    key: Option<RequestKey<'a>>,
    actor: Option<ActorId<'a>>,
    precondition: Option<Precondition>,
    stock: Option<Quantity>,
    per_subject_max: Option<u32>,
    opens_at: Option<Option<Timestamp>>,
    closes_at: Option<Option<Timestamp>>,
    redeem_until: Option<Option<Timestamp>>,
    paused: Option<bool>,
    queue: QueuePatch,
}

/// Reads one request.
pub(crate) fn parse_request(text: &str) -> Result<Request<'_>, Unreadable> {
    let mut words = text.split_whitespace();
    let verb = next(&mut words, "a verb")?;
    let campaign = name(CampaignName::new(next(&mut words, "a campaign")?))?;
    let mut options = parse_options(&mut words)?;
    let (key, actor) = (options.key.take(), options.actor.take().unwrap_or(ActorId::LOCAL));
    let ask = match verb {
        "campaign" => Ask::Command(Command::Put(options.put(campaign)?)),
        "patch" => Ask::Command(Command::Patch(options.patch(campaign))),
        "claim" => Ask::Command(Command::Claim(ClaimOne { campaign, subject: options.subject.take().ok_or("a claim needs `by`")? })),
        "redeem" => Ask::Command(Command::Redeem(options.target(campaign)?)),
        "cancel" => Ask::Command(Command::Cancel(options.target_by_subject(campaign)?)),
        "read" => options.read(campaign)?,
        _ => return Err(format!("`{verb}` is no verb of the tables")),
    };
    options.must_be_used_up()?;
    if key.is_some() && !matches!(ask, Ask::Command(_)) {
        return Err("a read takes no key".into());
    }
    Ok(Request { actor, key, ask })
}

fn parse_options<'a>(words: &mut SplitWhitespace<'a>) -> Result<Options<'a>, Unreadable> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word {
            "by" => set(word, &mut options.subject, name(SubjectId::new(next(words, "a subject")?))?)?,
            "serial" => set(word, &mut options.serial, Serial::new(number(words)?).ok_or("serials start at 1")?)?,
            "key" => set(word, &mut options.key, name(RequestKey::new(next(words, "a key")?))?)?,
            "as" => set(word, &mut options.actor, name(ActorId::new(next(words, "a caller")?))?)?,
            "if-match" => set(word, &mut options.precondition, if_match(next(words, "a version")?)?)?,
            "if-none-match" => set(word, &mut options.precondition, if_none_match(next(words, "`*`")?)?)?,
            "stock" => set(word, &mut options.stock, stock(number(words)?)?)?,
            "per-subject" => set(word, &mut options.per_subject_max, per_subject(number(words)?)?)?,
            "opens" => set(word, &mut options.opens_at, optional_time(words)?)?,
            "closes" => set(word, &mut options.closes_at, optional_time(words)?)?,
            "redeem-until" => set(word, &mut options.redeem_until, optional_time(words)?)?,
            "paused" => set(word, &mut options.paused, true)?,
            "unpaused" => set(word, &mut options.paused, false)?,
            "queued" => set(word, &mut options.queue.mode, Mode::Queued)?,
            "direct" => set(word, &mut options.queue.mode, Mode::Direct)?,
            "pace" => set(word, &mut options.queue.decisions_per_second_max, optional_number(words)?)?,
            "queue-max" => set(word, &mut options.queue.queue_max, number(words)?)?,
            _ => return Err(format!("`{word}` is no word of the tables")),
        }
    }
    Ok(options)
}

impl<'a> Options<'a> {
    fn put(&mut self, campaign: CampaignName<'a>) -> Result<Put<'a>, Unreadable> {
        let settings = Settings {
            stock: self.stock.take().ok_or("a campaign needs a stock")?,
            per_subject_max: self.per_subject_max.take().unwrap_or(1),
            opens_at: self.opens_at.take().flatten(),
            closes_at: self.closes_at.take().flatten(),
            redeem_until: self.redeem_until.take().flatten(),
            paused: self.paused.take().unwrap_or(false),
            queue: std::mem::take(&mut self.queue).apply(QueueSettings::DIRECT),
        };
        Ok(Put { campaign, settings, precondition: self.take_precondition(), code_key: 0 })
    }

    fn patch(&mut self, campaign: CampaignName<'a>) -> Patch<'a> {
        Patch {
            campaign,
            precondition: self.take_precondition(),
            stock: self.stock.take(),
            per_subject_max: self.per_subject_max.take(),
            opens_at: self.opens_at.take(),
            closes_at: self.closes_at.take(),
            redeem_until: self.redeem_until.take(),
            paused: self.paused.take(),
            queue: std::mem::take(&mut self.queue),
        }
    }

    fn take_precondition(&mut self) -> Precondition {
        self.precondition.take().unwrap_or(Precondition::Always)
    }

    fn read(&mut self, campaign: CampaignName<'a>) -> Result<Ask<'a>, Unreadable> {
        if self.subject.is_none() && self.serial.is_none() {
            return Ok(Ask::ReadCampaign(campaign));
        }
        self.target(campaign).map(Ask::ReadClaim)
    }

    fn target(&mut self, campaign: CampaignName<'a>) -> Result<Target<'a>, Unreadable> {
        let by = match (self.subject.take(), self.serial.take()) {
            (Some(subject), Some(serial)) => TargetBy::SubjectSerial(subject, serial),
            (Some(subject), None) => TargetBy::Subject(subject),
            (None, Some(serial)) => TargetBy::Code(serial),
            (None, None) => return Err("which claim? `by`, `serial`, or both".into()),
        };
        Ok(Target { campaign, by })
    }

    fn target_by_subject(&mut self, campaign: CampaignName<'a>) -> Result<Target<'a>, Unreadable> {
        if self.subject.is_none() {
            return Err("a cancellation needs `by`".into());
        }
        self.target(campaign)
    }

    fn must_be_used_up(&self) -> Result<(), Unreadable> {
        let claim_words = self.subject.is_some() || self.serial.is_some();
        let other_words = self.paused.is_some() || self.queue != QueuePatch::default();
        let setting_words = self.stock.is_some() || self.per_subject_max.is_some() || other_words;
        let time_words = self.opens_at.is_some() || self.closes_at.is_some() || self.redeem_until.is_some();
        if claim_words || setting_words || time_words || self.precondition.is_some() {
            return Err("a word does not go with the verb".into());
        }
        Ok(())
    }
}

fn next<'a>(words: &mut SplitWhitespace<'a>, wanted: &str) -> Result<&'a str, Unreadable> {
    words.next().ok_or_else(|| format!("{wanted} is missing at the end"))
}

fn number(words: &mut SplitWhitespace<'_>) -> Result<u32, Unreadable> {
    let word = next(words, "a number")?;
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

fn optional_number(words: &mut SplitWhitespace<'_>) -> Result<Option<u32>, Unreadable> {
    let word = next(words, "a number")?;
    if word == "none" { Ok(None) } else { word.parse().map(Some).map_err(|_| format!("`{word}` is no number")) }
}

fn name<T>(name: Result<T, NameError>) -> Result<T, Unreadable> {
    name.map_err(|error| format!("a name {error}"))
}

fn set<T>(word: &str, place: &mut Option<T>, value: T) -> Result<(), Unreadable> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{word}` says what was said before")),
    }
}

fn optional_time(words: &mut SplitWhitespace<'_>) -> Result<Option<Timestamp>, Unreadable> {
    let word = next(words, "a time")?;
    if word == "none" {
        return Ok(None);
    }
    parse_time(word).map(Some).ok_or_else(|| format!("`{word}` is no time"))
}

fn stock(units: u32) -> Result<Quantity, Unreadable> {
    let stock = Quantity::new(units).filter(|stock| *stock != Quantity::ZERO);
    stock.ok_or_else(|| format!("a stock is 1 to {}", Quantity::MAX.get()))
}

fn per_subject(units: u32) -> Result<u32, Unreadable> {
    if (1..=PER_SUBJECT_MAX).contains(&units) { Ok(units) } else { Err(format!("per-subject is 1 to {PER_SUBJECT_MAX}")) }
}

fn if_match(word: &str) -> Result<Precondition, Unreadable> {
    match word {
        "*" => Ok(Precondition::Exists),
        "unknown" => Ok(Precondition::Never),
        _ => word.parse().map(Precondition::Version).map_err(|_| format!("`{word}` is no version")),
    }
}

fn if_none_match(word: &str) -> Result<Precondition, Unreadable> {
    if word == "*" { Ok(Precondition::IsNew) } else { Err("`if-none-match` takes only `*`".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_something_else_than_it_means_is_refused() {
        for text in [
            "",
            "claim",
            "claim spring",
            "claim spring by",
            "claim spring by ann serial 1",
            "claim spring by ann by bob",
            "claim spring by ann stock 2",
            "campaign spring",
            "campaign spring stock 0",
            "campaign spring stock 2 per-subject 101",
            "campaign spring stock 2 if-none-match 1",
            "cancel spring serial 1",
            "redeem spring",
            "read spring key k",
            "read spring if-match 1",
            "patch spring opens soon",
            "steal spring by ann",
        ] {
            assert!(parse_request(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_fingerprint_covers_what_is_asked_and_neither_key_nor_caller() {
        let fingerprint = |text| parse_request(text).unwrap().fingerprint();
        let first = fingerprint("redeem spring by ann key k1");
        assert_eq!(first, fingerprint("redeem spring by ann key k2 as shop"));
        for other in ["redeem spring by bob", "redeem summer by ann", "cancel spring by ann", "redeem spring by ann serial 1"] {
            assert_ne!(first, fingerprint(other), "{other}");
        }
    }
}
