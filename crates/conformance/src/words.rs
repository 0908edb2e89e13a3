//! Reads a request from its words. Settings go by their own names, or by a shorter word for those
//! that the tables use all the time.

use std::str::SplitWhitespace;

use domain::coupon::{self, Coupon, TargetBy};
use domain::fields::{Field, FieldKind, Value};
use domain::rate_limit::policies::{self, Limit, Numbers};
use domain::state::Precondition;
use domain::types::{ActorId, LimitKey, Name, NameError, RequestKey, Serial, SubjectId};
use domain::workload::AnyPatch;
use domain::{Action, Kind};

use crate::request::{Ask, Request};
use crate::time::parse_time;

/// Why a line cannot be read.
pub(crate) type Unreadable = String;

/// Shorter words for settings.
const SHORT: [(&str, &str); 6] = [
    ("per-subject", "per_subject_max"),
    ("opens", "opens_at"),
    ("closes", "closes_at"),
    ("redeem-until", "redeem_until"),
    ("pace", "decisions_per_second_max"),
    ("queue-max", "queue_max"),
];

/// The word for a setting.
pub(crate) fn short(name: &'static str) -> &'static str {
    SHORT.iter().find(|(_, long)| *long == name).map_or(name, |(short, _)| short)
}

fn long(word: &str) -> &str {
    SHORT.iter().find(|(short, _)| *short == word).map_or(word, |(_, long)| long)
}

/// What may follow the verb and the name, each word at most once.
#[derive(Default)]
struct Options<'a> {
    subject: Option<SubjectId<'a>>,
    serial: Option<Serial>,
    key: Option<RequestKey<'a>>,
    actor: Option<ActorId<'a>>,
    precondition: Option<Precondition>,
    limit_key: Option<LimitKey<'a>>,
    /// Settings by their names.
    settings: Vec<(&'static Field, Value)>,
    /// Whether an override is taken away: `none`.
    is_none: bool,
}

/// Reads one request.
pub(crate) fn parse_request(text: &str) -> Result<Request<'_>, Unreadable> {
    let mut words = text.split_whitespace();
    let verb = next(&mut words, "a verb")?;
    let mut first = next(&mut words, "a name")?;
    let named = Kind::ALL.iter().find(|kind| kind.word() == verb || kind.word() == first).copied();
    // `read policy api`, and shorter `read spring`, which is a campaign.
    if named.is_some_and(|kind| kind.word() == first) {
        first = next(&mut words, "a name")?;
    }
    let kind = match verb {
        "override" => Kind::Policy,
        _ => named.unwrap_or(Kind::Campaign),
    };
    let name = check(Name::new(first))?;
    let mut options = parse_options(kind, &mut words)?;
    let (key, actor) = (options.key.take(), options.actor.take().unwrap_or(ActorId::LOCAL));
    let ask = match verb {
        _ if verb == kind.word() => Ask::Act(options.put(kind, name)?),
        "patch" => Ask::Act(options.patch(kind, name)?),
        "remove" => Ask::Act(Action::Remove { kind, name, precondition: options.take_precondition() }),
        "read" => options.read(kind, name)?,
        "override" => Ask::Act(options.put_override(name)?),
        _ => Ask::Act(Action::of::<Coupon>(name, options.claim(verb)?)),
    };
    options.must_be_used_up()?;
    if key.is_some() && !matches!(ask, Ask::Act(_)) {
        return Err("a read takes no key".into());
    }
    Ok(Request { actor, key, ask })
}

fn parse_options<'a>(kind: Kind, words: &mut SplitWhitespace<'a>) -> Result<Options<'a>, Unreadable> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word {
            "by" => set(word, &mut options.subject, check(SubjectId::new(next(words, "a subject")?))?)?,
            "for" => set(word, &mut options.limit_key, check(LimitKey::new(next(words, "a key")?))?)?,
            "serial" => set(word, &mut options.serial, Serial::new(number(words)?).ok_or("serials start at 1")?)?,
            "key" => set(word, &mut options.key, check(RequestKey::new(next(words, "a key")?))?)?,
            "as" => set(word, &mut options.actor, check(ActorId::new(next(words, "a caller")?))?)?,
            "if-match" => set(word, &mut options.precondition, if_match(next(words, "a version")?)?)?,
            "if-none-match" => set(word, &mut options.precondition, if_none_match(next(words, "`*`")?)?)?,
            "none" => options.is_none = true,
            _ => options.setting(kind, word, words)?,
        }
    }
    Ok(options)
}

impl<'a> Options<'a> {
    /// A setting: `paused`, `unpaused`, `queued` (a word that a setting allows), or `stock 2`.
    fn setting(&mut self, kind: Kind, word: &str, words: &mut SplitWhitespace<'_>) -> Result<(), Unreadable> {
        let fields = kind.settings().iter().filter(|field| !field.is_internal);
        let flag = |field: &&Field| field.kind == FieldKind::Bool && (field.name == word || word.strip_prefix("un") == Some(field.name));
        let (field, value) = if let Some(field) = fields.clone().find(flag) {
            (field, Value::Bool(field.name == word))
        } else if let Some((field, value)) = fields.clone().find_map(|field| Some((field, field.word(word)?))) {
            (field, Value::Word(value))
        } else {
            let field =
                fields.clone().find(|field| field.name == long(word)).ok_or_else(|| format!("`{word}` is no word of the tables"))?;
            (field, value_of(field, next(words, "a value")?)?)
        };
        if self.settings.iter().any(|(known, _)| known.name == field.name) {
            return Err(format!("`{word}` says what was said before"));
        }
        let value = field.check(value).map_err(|error| format!("{} {error}", field.name))?;
        self.settings.push((field, value));
        Ok(())
    }

    fn put(&mut self, kind: Kind, name: Name<'a>) -> Result<Action<'a>, Unreadable> {
        let given = std::mem::take(&mut self.settings);
        if let Some(field) =
            kind.settings().iter().find(|field| field.is_required && given.iter().all(|(known, _)| known.name != field.name))
        {
            return Err(format!("a {} needs {}", kind.word(), field.name));
        }
        let mut settings = kind.least();
        for (field, value) in given {
            settings.set(field.name, value).map_err(|error| format!("{} {error}", field.name))?;
        }
        Ok(Action::Put { name, settings, precondition: self.take_precondition() })
    }

    fn patch(&mut self, kind: Kind, name: Name<'a>) -> Result<Action<'a>, Unreadable> {
        let mut patch = AnyPatch::none(kind);
        for (field, value) in std::mem::take(&mut self.settings) {
            patch.set(field.name, value).map_err(|error| format!("{} {error}", field.name))?;
        }
        Ok(Action::Patch { name, patch, precondition: self.take_precondition() })
    }

    fn take_precondition(&mut self) -> Precondition {
        self.precondition.take().unwrap_or(Precondition::Always)
    }

    fn read(&mut self, kind: Kind, name: Name<'a>) -> Result<Ask<'a>, Unreadable> {
        if self.subject.is_none() && self.serial.is_none() {
            return Ok(Ask::Read(kind, name));
        }
        self.target().map(|by| Ask::ReadClaim(name, by))
    }

    fn claim(&mut self, verb: &str) -> Result<coupon::Command<'a>, Unreadable> {
        match verb {
            "claim" => Ok(coupon::Command::Claim { subject: self.subject.take().ok_or("a claim needs `by`")? }),
            "redeem" => Ok(coupon::Command::Redeem { by: self.target()? }),
            "cancel" if self.subject.is_none() => Err("a cancellation needs `by`".into()),
            "cancel" => Ok(coupon::Command::Cancel { by: self.target()? }),
            _ => Err(format!("`{verb}` is no verb of the tables")),
        }
    }

    fn target(&mut self) -> Result<TargetBy<'a>, Unreadable> {
        match (self.subject.take(), self.serial.take()) {
            (Some(subject), Some(serial)) => Ok(TargetBy::SubjectSerial { subject, serial }),
            (Some(subject), None) => Ok(TargetBy::Subject { subject }),
            (None, Some(serial)) => Ok(TargetBy::Code { serial }),
            (None, None) => Err("which claim? `by`, `serial`, or both".into()),
        }
    }

    fn put_override(&mut self, name: Name<'a>) -> Result<Action<'a>, Unreadable> {
        let key = self.limit_key.take().ok_or("an override needs `for`")?;
        if std::mem::take(&mut self.is_none) {
            return Ok(Action::of::<Limit>(name, policies::Command::RemoveOverride { key }));
        }
        let given = std::mem::take(&mut self.settings);
        let number = |name: &str| {
            given.iter().find_map(|(field, value)| match value {
                Value::Number(number) if field.name == name => Some(*number),
                _ => None,
            })
        };
        let small = |name| number(name).map(|number| u32::try_from(number).map_err(|_| format!("{name} is too large"))).transpose();
        let quota = small("quota")?.ok_or("an override needs a quota")?;
        let window_ns = number("window_ms").and_then(|ms| ms.checked_mul(1_000_000)).ok_or("an override needs window_ms")?;
        let numbers = Numbers { quota, window_ns, burst: small("burst")?.unwrap_or(0) };
        Ok(Action::of::<Limit>(name, policies::Command::PutOverride { key, numbers }))
    }

    fn must_be_used_up(&self) -> Result<(), Unreadable> {
        let is_left = self.subject.is_some() || self.serial.is_some() || self.precondition.is_some() || self.limit_key.is_some();
        if is_left || !self.settings.is_empty() || self.is_none {
            return Err("a word does not go with the verb".into());
        }
        Ok(())
    }
}

fn value_of(field: &Field, word: &str) -> Result<Value, Unreadable> {
    if word == "none" {
        return Ok(Value::Null);
    }
    match field.kind {
        FieldKind::Number(..) => word.parse().map(Value::Number).map_err(|_| format!("`{word}` is no number")),
        FieldKind::Time => parse_time(word).map(Value::Time).ok_or_else(|| format!("`{word}` is no time")),
        FieldKind::Bool | FieldKind::Word(_) => Err(format!("{} is said by a word of its own", field.name)),
    }
}

fn next<'a>(words: &mut SplitWhitespace<'a>, wanted: &str) -> Result<&'a str, Unreadable> {
    words.next().ok_or_else(|| format!("{wanted} is missing at the end"))
}

fn number(words: &mut SplitWhitespace<'_>) -> Result<u32, Unreadable> {
    let word = next(words, "a number")?;
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

fn check<T>(name: Result<T, NameError>) -> Result<T, Unreadable> {
    name.map_err(|error| format!("a name {error}"))
}

fn set<T>(word: &str, place: &mut Option<T>, value: T) -> Result<(), Unreadable> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{word}` says what was said before")),
    }
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
