//! Checks that the answers agree with the log. The oracle decides every committed record a second time, and a
//! replica that all nodes are compared with decides it a third time; every answer is compared with its
//! record, or with every offset of the log from the request to the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::protocol::partition::partition_of;
use cluster::protocol::record::{Body, RulesVersion, decode};
use cluster::protocol::replica::{Applied, Delivered, Progress, Replica, Topology, Unwatched};
use domain::coupon::{ClaimView, Command as Of, Coupon, TargetBy};
use domain::hash::HashSeed;
use domain::state::{Action, Command, Step};
use domain::types::Name;
use domain::workload::{AnyCommand, Summary};
use engine::digest::DIGEST_BYTES;
use engine::views::{Done, Refusal};
use oracle::coupon::Campaign;
use oracle::{Oracle, adapter};
use sha2::{Digest, Sha256};

use super::counts::Rare;
use super::places::Places;
use super::trouble::Trouble;
use crate::ask::{self, Answer, Ask, Said, Verb, What};
use crate::world::time;

/// The newest rules of any program in the run.
pub const RULES_NEWEST: RulesVersion = RulesVersion(2);

/// The kind of a broken promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A client got a wrong answer, or nodes differ.
    Exactness,
    /// More records went to the log than allowed.
    ExtraRecords,
    /// Units stayed unsold, or a client was never answered.
    Liveness,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The kind of promise.
    pub kind: Kind,
    /// A description.
    pub story: String,
}

/// A copy of the state, as the history stores it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The state's canonical bytes.
    pub sections: Arc<Vec<Vec<u8>>>,
    /// The offset of the copy.
    pub progress: Progress,
}

/// The outcome of a request, as its caller knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Told {
    Nothing,
    FromRecord,
    FromState(Said),
    NotTaken(&'static str),
    Unknown,
    Gone,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    partition: u32,
    /// The number of committed records at the request: every earlier answer rests on these.
    since: u64,
    appended: u64,
    first: Option<Said>,
    effects: u64,
    told: Told,
}

#[derive(Debug)]
struct Followed {
    places: Places,
    reference: Replica,
    /// The digest at each offset.
    digests: Vec<[u8; DIGEST_BYTES]>,
    /// The offset from which newer rules apply.
    rules_from: Option<u64>,
}

/// Every request, answer and committed record.
#[derive(Debug)]
pub struct Judge {
    trouble: Arc<Trouble>,
    partitions: Vec<Followed>,
    asked: BTreeMap<String, Asked>,
    /// Claims without an effect, by campaign: sold out, or the subject had its claim.
    extra: BTreeMap<String, u64>,
    broken: Option<Broken>,
    hash: Sha256,
}

impl Judge {
    /// A judge at the start of a run.
    #[must_use]
    pub fn new(partitions: u32, trouble: Arc<Trouble>) -> Self {
        let followed = |partition| Followed {
            places: Places::default(),
            reference: Replica::new(Topology { partition, partitions }, RULES_NEWEST, HashSeed(5, 6)),
            digests: Vec::new(),
            rules_from: None,
        };
        Self {
            trouble,
            partitions: (0..partitions).map(followed).collect(),
            asked: BTreeMap::new(),
            extra: BTreeMap::new(),
            broken: None,
            hash: Sha256::new(),
        }
    }

    /// The first broken promise.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        self.broken.clone()
    }

    /// Notes a broken promise; only the first one is kept.
    pub fn break_promise(&mut self, kind: Kind, story: String) {
        self.broken.get_or_insert(Broken { kind, story });
    }

    /// The digest over every committed record and every answer.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// The partition of a campaign, and the number of its committed records.
    #[must_use]
    pub fn place_of(&self, campaign: &str) -> (u32, u64) {
        let partition = partition_of(campaign, u32::try_from(self.partitions.len()).unwrap_or(1));
        (partition, self.partitions[partition as usize].places.count())
    }

    /// The oracle's states of a campaign's partition.
    #[must_use]
    pub fn places_of(&self, campaign: &str) -> &Places {
        &self.partitions[self.place_of(campaign).0 as usize].places
    }

    /// The oracle's final state of a campaign.
    #[must_use]
    pub fn campaign(&self, campaign: &str) -> Option<&Campaign> {
        self.places_of(campaign).last().campaign(campaign)
    }

    /// Claims of a campaign that went to the log without an effect.
    #[must_use]
    pub fn extra_of(&self, campaign: &str) -> u64 {
        self.extra.get(campaign).copied().unwrap_or(0)
    }

    /// Claims of a campaign with an unknown outcome: each may be decided after its unit was given
    /// to another subject.
    #[must_use]
    pub fn unclear_of(&self, campaign: &str) -> u64 {
        let is_unclear =
            |asked: &&Asked| asked.ask.name == campaign && asked.appended != 0 && matches!(asked.told, Told::Unknown | Told::Gone);
        self.asked.values().filter(is_unclear).count() as u64
    }

    /// Notes a request.
    pub fn register(&mut self, ask: &Ask) {
        let (partition, since) = self.place_of(ask.name);
        let asked = Asked { ask: ask.clone(), partition, since, appended: 0, first: None, effects: 0, told: Told::Nothing };
        self.asked.insert(ask.id.clone(), asked);
    }

    /// Notes that a node appended a request's command.
    pub fn appended(&mut self, id: &str) {
        let Some(asked) = self.asked.get_mut(id) else { return };
        asked.appended += 1;
        if 1 < asked.appended {
            let story = format!("{:?} was appended again", asked.ask);
            self.break_promise(Kind::Exactness, story);
        }
    }

    /// Checks a committed record.
    pub fn commit(&mut self, partition: u32, at: u64, bytes: &[u8]) {
        self.hash.update(at.to_le_bytes());
        self.hash.update(bytes);
        if let Err(story) = self.try_commit(partition, at, bytes) {
            self.break_promise(Kind::Exactness, story);
        }
    }

    fn try_commit(&mut self, partition: u32, at: u64, bytes: &[u8]) -> Result<(), String> {
        let followed = &mut self.partitions[partition as usize];
        let offset = followed.reference.offset_next();
        if followed.digests.is_empty() {
            followed.digests.push(followed.reference.progress().digest);
        }
        let record = Delivered { offset, at: time(at), bytes };
        let applied = followed.reference.apply(&record, &mut Unwatched).map_err(|fault| fault.to_string())?;
        followed.digests.push(followed.reference.progress().digest);
        let read = decode(bytes).map_err(|error| error.to_string())?;
        // A leader's clock that is ahead of the node's by more than a second does not count.
        let at = at.min(read.sent_at.millis() + 1_000);
        match read.body {
            Body::Due(command) => {
                let Applied::Due { has_effect, .. } = applied else { return Err("what was due was a caller's".to_owned()) };
                if command.action != Action::ForgetRequests {
                    self.trouble.saw(if has_effect { Rare::Decided } else { Rare::DecidedInVain });
                }
                let (_, ruled) = followed.places.take(&command, at);
                // No caller is told that request keys were removed.
                let must_have = command.action != Action::ForgetRequests && ruled.as_ref().is_ok_and(|yes| yes.effect.is_some());
                let story = || format!("{command:?} came to {has_effect} at {at}, and must have come to {ruled:?}");
                if has_effect == must_have { Ok(()) } else { Err(story()) }
            }
            Body::Command { request_id, command } => {
                let Applied::Command { answer, .. } = applied else { return Err("a command was no command".to_owned()) };
                self.fold(partition, at, request_id.as_str(), &command, &answer.map_err(Refusal::Rejected))
            }
            Body::Rules(RULES_NEWEST) => {
                followed.places.pass(at);
                followed.rules_from.get_or_insert(offset);
                Ok(())
            }
            Body::Rules(_) | Body::Barrier | Body::Genesis(_) => {
                followed.places.pass(at);
                Ok(())
            }
        }
    }

    /// Decides a command with the oracle, and compares the result with the product's.
    fn fold(&mut self, partition: u32, at: u64, id: &str, command: &Command<'_>, answer: &Result<Done, Refusal>) -> Result<(), String> {
        let asked = self.asked.get_mut(id).ok_or_else(|| format!("nobody asked for {command:?}"))?;
        let followed = &mut self.partitions[partition as usize];
        check_asked(command, &asked.ask, followed.places.last())?;
        let (said, _) = followed.places.take(command, at);
        let product = Said::of(answer, said.has_effect);
        if said != product {
            return Err(format!("{:?} was decided as {product:?} and not {said:?}", asked.ask));
        }
        if said.has_effect {
            asked.effects += 1;
            if 1 < asked.effects {
                self.trouble.saw(Rare::RecordTwiceTookEffect);
                if asked.ask.key.is_some() || matches!(asked.ask.what, What::Cancel(_) | What::Redeem(_)) {
                    return Err(format!("{:?} took effect twice, at last as {said:?}", asked.ask));
                }
            }
        }
        match &asked.told {
            Told::FromState(told) => return Err(format!("{:?} was told {told:?} and went to the log all the same", asked.ask)),
            Told::NotTaken(word) => return Err(format!("{:?} was told {word}, and came to {said:?}", asked.ask)),
            Told::Unknown | Told::Gone | Told::Nothing | Told::FromRecord => {}
        }
        if asked.first.is_none() {
            let is_extra = said.answer == Answer::No("sold_out") || (matches!(asked.ask.what, What::Claim(_)) && said.is_repeat);
            if is_extra {
                self.trouble.saw(Rare::ExtraRecord);
                *self.extra.entry(asked.ask.name.to_owned()).or_default() += 1;
            }
            asked.first = Some(said);
        }
        Ok(())
    }

    /// Checks an answer to a client.
    pub fn tell(&mut self, id: &str, answer: &Result<Done, Refusal>) {
        let said = Said::of(answer, false);
        self.hash.update(id);
        self.hash.update(format!("{said:?}"));
        match self.weigh(id, said) {
            Ok(told) => self.asked.get_mut(id).into_iter().for_each(|asked| asked.told = told.clone()),
            Err(story) => self.break_promise(Kind::Exactness, story),
        }
    }

    /// Notes that a client disconnected before the answer.
    pub fn gone(&mut self, id: &str) {
        self.trouble.saw(Rare::ClientGone);
        self.asked.get_mut(id).into_iter().for_each(|asked| asked.told = Told::Gone);
    }

    fn weigh(&self, id: &str, said: Said) -> Result<Told, String> {
        let Some(asked) = self.asked.get(id) else { return Err(format!("{id} was never asked")) };
        count(&self.trouble, &said);
        if let Answer::NotTaken(word) = said.answer {
            if word == "unknown" {
                return Ok(Told::Unknown);
            }
            if asked.appended != 0 {
                return Err(format!("{:?} was told {word} after it had been handed to the log", asked.ask));
            }
            return Ok(Told::NotTaken(word));
        }
        let is_same = |other: &Said| other.answer == said.answer && other.is_repeat == said.is_repeat;
        if asked.first.as_ref().is_some_and(is_same) {
            if matches!(said.answer, Answer::No(_)) {
                self.trouble.saw(Rare::RefusedInRecord);
            }
            return Ok(Told::FromRecord);
        }
        if asked.appended != 0 {
            return Err(format!("{:?} was told {said:?}, and its record came to {:?}", asked.ask, asked.first));
        }
        let places = &self.partitions[asked.partition as usize].places;
        let is_right = (asked.since..=places.count()).any(|place| places.answer(&asked.ask, place) == said);
        if !is_right {
            let now = places.answer(&asked.ask, places.count());
            return Err(format!("{:?} was told {said:?}, which was so at no time since it was asked; now it is {now:?}", asked.ask));
        }
        if matches!(said.answer, Answer::No(_)) {
            self.trouble.saw(Rare::RefusedHere);
        }
        Ok(Told::FromState(said))
    }

    /// Checks a campaign shown to a client; `since` is the number of committed records at the request.
    pub fn shown(&mut self, campaign: &str, since: u64, read: &Result<Option<Summary<Coupon>>, Refusal>) {
        let Ok(read) = read else { return self.trouble.saw(Rare::NotCaughtUp) };
        let answer = read.as_ref().map_or(Answer::NoCampaign, |read| ask::of_campaign(false, read));
        let places = self.places_of(campaign);
        if !(since..=places.count()).any(|place| places.campaign(campaign, place) == answer) {
            let story = format!("{campaign} was shown as {answer:?}, and was so at no time since it was asked for");
            self.break_promise(Kind::Exactness, story);
        }
    }

    /// Checks a claim shown to a client; see [`Judge::shown`].
    pub fn shown_claim(&mut self, (campaign, subject): (&str, &str), since: u64, read: &Result<Result<ClaimView, &'static str>, Refusal>) {
        let Ok(read) = read else { return self.trouble.saw(Rare::NotCaughtUp) };
        let answer = read.as_ref().map_or_else(|code| Answer::No(code), ask::of_claim_read);
        let places = self.places_of(campaign);
        if !(since..=places.count()).any(|place| places.claim(campaign, subject, place) == answer) {
            let story = format!("the claim of {subject} was shown as {answer:?}, and was so at no time since it was asked for");
            self.break_promise(Kind::Exactness, story);
        }
    }

    /// Checks a node's digest at this offset; its program knows these rules.
    pub fn compare(&mut self, partition: u32, place: u64, digest: [u8; DIGEST_BYTES], rules: RulesVersion) {
        let followed = &self.partitions[partition as usize];
        let expected = usize::try_from(place).ok().and_then(|place| followed.digests.get(place));
        self.trouble.saw(Rare::Compared);
        let story = if expected != Some(&digest) {
            format!("a node has another state than the others at place {place} of partition {partition}")
        } else if rules < RULES_NEWEST && followed.rules_from.is_some_and(|from| from < place) {
            format!("a node decided at place {place} of partition {partition} by rules that it does not know")
        } else {
            return;
        };
        self.break_promise(Kind::Exactness, story);
    }

    /// Copies of all current states.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let snapshot = |followed: &Followed| {
            let sections = followed.reference.core().state().freeze().sections().collect();
            Snapshot { sections: Arc::new(sections), progress: followed.reference.progress() }
        };
        self.partitions.iter().map(snapshot).collect()
    }

    /// Final checks: more claims than the stock, a subject with two, or a difference between oracle and product.
    pub fn finish(&mut self) {
        for asked in self.asked.values() {
            match (&asked.told, 0 < asked.effects) {
                (Told::Unknown, true) => self.trouble.saw(Rare::UnknownTookEffect),
                (Told::Unknown, false) => self.trouble.saw(Rare::UnknownWithoutEffect),
                (Told::Gone, true) => self.trouble.saw(Rare::GoneTookEffect),
                _ => {}
            }
        }
        let nobody_answered = self.asked.values().find(|asked| asked.told == Told::Nothing).map(|asked| format!("{:?}", asked.ask));
        if let Some(ask) = nobody_answered {
            self.break_promise(Kind::Liveness, format!("{ask} was never answered"));
        }
        let checked = self.partitions.iter().try_for_each(check_end);
        if let Err(story) = checked {
            self.break_promise(Kind::Exactness, story);
        }
    }
}

fn check_end(followed: &Followed) -> Result<(), String> {
    let (oracle, state) = (followed.places.last(), followed.reference.core().state());
    state.check()?;
    oracle.check().map_err(|broken| format!("{broken:?}"))?;
    adapter::compare(oracle, state)?;
    adapter::compare_keys(oracle, state)
}

/// Checks that a record's command is what was asked; a node may only add which claim a subject holds.
fn check_asked(command: &Command<'_>, ask: &Ask, oracle: &Oracle) -> Result<(), String> {
    let asked = ask.command().ok_or("nobody asks for a malformed name")?;
    let is_named = |by: TargetBy<'_>, asked: TargetBy<'_>| match (by, asked) {
        (TargetBy::SubjectSerial { subject, serial }, TargetBy::Subject { subject: asked }) => {
            let claim = oracle.campaign(ask.name).and_then(|campaign| campaign.claim(serial));
            subject == asked && claim.is_some_and(|claim| claim.subject() == asked)
        }
        _ => by == asked,
    };
    let is_asked = match (target_of(&command.action), target_of(&asked.action)) {
        (Some((name, is_redeemed, by)), Some((asked_name, is_asked_for, asked_by))) => {
            (name, is_redeemed) == (asked_name, is_asked_for) && is_named(by, asked_by)
        }
        _ => command.action == asked.action,
    };
    let is_same = is_asked && (command.actor, command.request) == (asked.actor, asked.request);
    if is_same { Ok(()) } else { Err(format!("{ask:?} stands in the log as {command:?}")) }
}

/// The campaign and the claim of a redemption or cancellation, and whether it is a redemption.
fn target_of<'a>(action: &Action<'a>) -> Option<(Name<'a>, bool, TargetBy<'a>)> {
    let Action::Do(Step { name, command: AnyCommand::Campaign(command) }) = action else { return None };
    match command {
        Of::Redeem { by } => Some((*name, true, *by)),
        Of::Cancel { by } => Some((*name, false, *by)),
        Of::Claim { .. } | Of::DecideNext { .. } => None,
    }
}

fn count(trouble: &Trouble, said: &Said) {
    trouble.saw(match &said.answer {
        Answer::Claim { verb: Verb::Claimed, .. } if !said.is_repeat => Rare::Granted,
        Answer::Claim { verb: Verb::Accepted, .. } if !said.is_repeat => Rare::Accepted,
        Answer::Claim { verb: Verb::Claimed | Verb::Accepted, .. } => Rare::Repeated,
        Answer::Claim { .. } | Answer::Campaign { .. } | Answer::Other(_) if said.is_repeat => Rare::Replayed,
        Answer::Other(_) => Rare::OtherChanged,
        Answer::No("asker_ended") => Rare::AskerEnded,
        Answer::Claim { verb: Verb::Redeemed, .. } => Rare::Redeemed,
        Answer::Claim { .. } => Rare::Cancelled,
        Answer::Campaign { .. } => Rare::SettingsWritten,
        Answer::No("sold_out") => Rare::SoldOut,
        Answer::No("queue_full") => Rare::QueueFull,
        Answer::No("not_open") => Rare::NotOpen,
        Answer::No("closed") => Rare::Closed,
        Answer::No("paused") => Rare::Paused,
        Answer::No("request_key_reused") => Rare::KeyReused,
        Answer::NotTaken("unknown") => Rare::Unknown,
        Answer::NotTaken("not_caught_up") => Rare::NotCaughtUp,
        Answer::NotTaken("busy") => Rare::Busy,
        Answer::NotTaken("claims" | "campaigns" | "request_keys") => Rare::MemoryLimit,
        Answer::No(_) | Answer::NoCampaign | Answer::NotTaken(_) => return,
    });
}
