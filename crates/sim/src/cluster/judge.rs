//! Whether what was told is what the log says. Every committed record is decided a second time by
//! the model, and a third time by a replica that all nodes are compared with; every answer is held
//! against the record it comes from, or against every place of the log from the request to the
//! answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use cluster::protocol::partition::partition_of;
use cluster::protocol::record::{Body, RulesVersion, decode};
use cluster::protocol::replica::{Applied, Delivered, Progress, Replica, Topology, Unwatched};
use domain::coupon::{Command as Coupon, TargetBy};
use domain::hash::HashSeed;
use domain::state::{Command, CommandKind};
use engine::digest::DIGEST_BYTES;
use engine::views::{ClaimView, Done, NamedCampaign, Refusal};
use sha2::{Digest, Sha256};

use super::counts::Rare;
use super::model::Model;
use super::trouble::Trouble;
use crate::ask::{self, Answer, Ask, By, Said, Verb, What};
use crate::world::time;

/// The newest rules of any program here.
pub const RULES_NEWEST: RulesVersion = RulesVersion(2);

/// Which kind of promise is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Somebody was told what is not so, or nodes differ.
    Exactness,
    /// More went to the log than should.
    ExtraRecords,
    /// Units stayed unsold, or somebody was never answered.
    Liveness,
}

/// A broken promise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which kind.
    pub kind: Kind,
    /// What.
    pub story: String,
}

/// A state at a place of the log, as a history keeps it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its canonical bytes.
    pub sections: Arc<Vec<Vec<u8>>>,
    /// Which place.
    pub progress: Progress,
}

/// What became of a request, as far as its caller knows.
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
    /// What was committed when it was asked: every answer before rests on no more.
    since: u64,
    appended: u64,
    first: Option<Said>,
    effects: u64,
    told: Told,
}

#[derive(Debug)]
struct Followed {
    model: Model,
    reference: Replica,
    /// The digest at each place.
    digests: Vec<[u8; DIGEST_BYTES]>,
    /// From which place on newer rules decide.
    rules_from: Option<u64>,
}

/// Everything that was asked, told and committed.
#[derive(Debug)]
pub struct Judge {
    trouble: Arc<Trouble>,
    partitions: Vec<Followed>,
    asked: BTreeMap<String, Asked>,
    /// Claims that changed nothing, by campaign: nothing was left, or the subject had its claim.
    extra: BTreeMap<String, u64>,
    broken: Option<Broken>,
    hash: Sha256,
}

impl Judge {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(partitions: u32, trouble: Arc<Trouble>) -> Self {
        let followed = |partition| Followed {
            model: Model::default(),
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

    /// A promise is broken.
    pub fn break_promise(&mut self, kind: Kind, story: String) {
        self.broken.get_or_insert(Broken { kind, story });
    }

    /// Over everything that was committed and told.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }

    /// The partition of a campaign, and how much is committed in it.
    #[must_use]
    pub fn place_of(&self, campaign: &str) -> (u32, u64) {
        let partition = partition_of(campaign, u32::try_from(self.partitions.len()).unwrap_or(1));
        (partition, self.partitions[partition as usize].model.len())
    }

    /// What is known of a campaign.
    #[must_use]
    pub fn model_of(&self, campaign: &str) -> &Model {
        &self.partitions[self.place_of(campaign).0 as usize].model
    }

    /// Claims of a campaign that went to the log and changed nothing.
    #[must_use]
    pub fn extra_of(&self, campaign: &str) -> u64 {
        self.extra.get(campaign).copied().unwrap_or(0)
    }

    /// Claims of a campaign of which nobody knew what became of them: each may be decided after its
    /// unit was given to somebody else.
    #[must_use]
    pub fn unclear_of(&self, campaign: &str) -> u64 {
        let is_unclear =
            |asked: &&Asked| asked.ask.campaign == campaign && asked.appended != 0 && matches!(asked.told, Told::Unknown | Told::Gone);
        self.asked.values().filter(is_unclear).count() as u64
    }

    /// Somebody asks.
    pub fn register(&mut self, ask: &Ask) {
        let (partition, since) = self.place_of(ask.campaign);
        let asked = Asked { ask: ask.clone(), partition, since, appended: 0, first: None, effects: 0, told: Told::Nothing };
        self.asked.insert(ask.id.clone(), asked);
    }

    /// A node hands a command to the log.
    pub fn appended(&mut self, id: &str) {
        let Some(asked) = self.asked.get_mut(id) else { return };
        asked.appended += 1;
        if 1 < asked.appended {
            let story = format!("{:?} was appended again", asked.ask);
            self.break_promise(Kind::Exactness, story);
        }
    }

    /// A record is committed.
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
        match decode(bytes).map_err(|error| error.to_string())?.body {
            Body::Command { command: Command { kind: CommandKind::Coupon(Coupon::DecideNext(next)), .. }, .. } => {
                let Applied::Turn { is_decided, .. } = applied else { return Err("a decision was none".to_owned()) };
                self.trouble.saw(if is_decided { Rare::Decided } else { Rare::DecidedInVain });
                let claim = (next.serial.get(), next.subject.as_str());
                let is_turn = followed.model.turn(next.campaign.as_str(), claim, at);
                let story = || format!("{next:?} came to {is_decided} at {at}, and must have come to {is_turn}");
                if is_turn == is_decided { Ok(()) } else { Err(story()) }
            }
            Body::Command { request_id, command } if command.kind != CommandKind::ForgetRequests => {
                let Applied::Command { answer, .. } = applied else { return Err("a command was no command".to_owned()) };
                self.fold(partition, at, request_id.as_str(), &command, &answer.map_err(Refusal::Rejected))
            }
            Body::Rules(RULES_NEWEST) => {
                followed.model.pass(at);
                followed.rules_from.get_or_insert(offset);
                Ok(())
            }
            Body::Rules(_) | Body::Command { .. } | Body::Barrier | Body::Genesis(_) => {
                followed.model.pass(at);
                Ok(())
            }
        }
    }

    /// A command is decided by the model, and compared with what the product decided.
    fn fold(&mut self, partition: u32, at: u64, id: &str, command: &Command<'_>, answer: &Result<Done, Refusal>) -> Result<(), String> {
        let asked = self.asked.get_mut(id).ok_or_else(|| format!("nobody asked for {command:?}"))?;
        let followed = &mut self.partitions[partition as usize];
        let what = what_of(command, &asked.ask, &followed.model)?;
        let said = followed.model.fold(&asked.ask, &what, at);
        let product = Said::of(answer, said.has_effect);
        if said != product {
            return Err(format!("{:?} was decided as {product:?} and not {said:?}", asked.ask));
        }
        if said.has_effect {
            asked.effects += 1;
            if 1 < asked.effects {
                self.trouble.saw(Rare::RecordTwiceTookEffect);
                if asked.ask.key.is_some() || matches!(what, What::Cancel(_) | What::Redeem(_)) {
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
            let is_extra = said.answer == Answer::No("sold_out") || (matches!(what, What::Claim(_)) && said.is_repeat);
            if is_extra {
                self.trouble.saw(Rare::ExtraRecord);
                *self.extra.entry(asked.ask.campaign.to_owned()).or_default() += 1;
            }
            asked.first = Some(said);
        }
        Ok(())
    }

    /// Somebody is answered.
    pub fn tell(&mut self, id: &str, answer: &Result<Done, Refusal>) {
        let said = Said::of(answer, false);
        self.hash.update(id);
        self.hash.update(format!("{said:?}"));
        match self.weigh(id, said) {
            Ok(told) => self.asked.get_mut(id).into_iter().for_each(|asked| asked.told = told.clone()),
            Err(story) => self.break_promise(Kind::Exactness, story),
        }
    }

    /// Somebody went away before the answer.
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
        let model = &self.partitions[asked.partition as usize].model;
        let is_right = (asked.since..=model.len()).any(|place| model.answer(&asked.ask, place) == said);
        if !is_right {
            let now = model.answer(&asked.ask, model.len());
            return Err(format!("{:?} was told {said:?}, which was so at no time since it was asked; now it is {now:?}", asked.ask));
        }
        if matches!(said.answer, Answer::No(_)) {
            self.trouble.saw(Rare::RefusedHere);
        }
        Ok(Told::FromState(said))
    }

    /// Somebody was shown a campaign; `since` is what was committed when they asked.
    pub fn shown(&mut self, campaign: &str, since: u64, read: &Result<Option<NamedCampaign>, Refusal>) {
        let Ok(read) = read else { return self.trouble.saw(Rare::NotCaughtUp) };
        let answer = read.as_ref().map_or(Answer::NoCampaign, |read| ask::of_campaign(false, read));
        let model = self.model_of(campaign);
        if !(since..=model.len()).any(|place| model.read(campaign, place) == answer) {
            let story = format!("{campaign} was shown as {answer:?}, and was so at no time since it was asked for");
            self.break_promise(Kind::Exactness, story);
        }
    }

    /// Somebody was shown a subject's claim.
    pub fn shown_claim(
        &mut self,
        (campaign, subject): (&str, &str),
        since: u64,
        read: &Result<Result<ClaimView, domain::coupon::Rejection>, Refusal>,
    ) {
        let Ok(read) = read else { return self.trouble.saw(Rare::NotCaughtUp) };
        let answer = read.as_ref().map_or_else(|rejection| Answer::No(rejection.code()), ask::of_claim_read);
        let model = self.model_of(campaign);
        if !(since..=model.len()).any(|place| model.read_claim(campaign, subject, place) == answer) {
            let story = format!("the claim of {subject} was shown as {answer:?}, and was so at no time since it was asked for");
            self.break_promise(Kind::Exactness, story);
        }
    }

    /// A node is at this place, and its program knows these rules.
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

    /// The states as they are now.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        let snapshot = |followed: &Followed| {
            let sections = followed.reference.core().state().freeze().sections().collect();
            Snapshot { sections: Arc::new(sections), progress: followed.reference.progress() }
        };
        self.partitions.iter().map(snapshot).collect()
    }

    /// At the end: more than the stock, anybody twice, or a difference between model and product.
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
    let state = followed.reference.core().state();
    state.check()?;
    for (name, campaign) in followed.model.campaigns() {
        let theirs = state.campaigns().iter().find(|theirs| theirs.name == *name).ok_or_else(|| format!("{name} is not there"))?;
        let settings = campaign.settings().ok_or("a campaign without settings")?;
        let (taken, pending) = (campaign.taken(), campaign.pending());
        let stands = (theirs.taken().get(), theirs.pending().get(), theirs.settings);
        if settings.stock.get() < taken || stands != (taken, pending, settings) {
            return Err(format!("{name} gave out {taken} of {}, and {stands:?}", settings.stock.get()));
        }
        let mut held: BTreeMap<&str, u32> = BTreeMap::new();
        for claim in campaign.claims().iter().filter(|claim| claim.verb() != Verb::Cancelled) {
            *held.entry(&claim.subject).or_default() += 1;
        }
        if let Some((subject, count)) = held.iter().find(|(_, count)| settings.per_subject_max < **count) {
            return Err(format!("{subject} has {count} of {name}"));
        }
    }
    Ok(())
}

/// What stands in a record, which must be what was asked.
fn what_of(command: &Command<'_>, ask: &Ask, model: &Model) -> Result<What, String> {
    let CommandKind::Coupon(coupon) = &command.kind else { return Err("nobody asks for that".to_owned()) };
    let what = match coupon {
        Coupon::Put(put) => What::Put(put.settings, put.precondition),
        Coupon::Patch(patch) => What::Patch(patch.stock, patch.paused),
        Coupon::Claim(claim) => What::Claim(claim.subject.as_str().to_owned()),
        Coupon::Redeem(target) => What::Redeem(by_of(target.by)),
        Coupon::Cancel(target) => What::Cancel(by_of(target.by)),
        Coupon::DecideNext(_) => return Err("nobody asks for that".to_owned()),
    };
    let is_named = |by: &By, asked: &By| match (by, asked) {
        (By::Code(serial), By::Subject(subject)) => {
            let campaign = model.campaigns().get(ask.campaign);
            campaign.and_then(|campaign| campaign.claims().get(serial.get() as usize - 1)).is_some_and(|claim| claim.subject == *subject)
        }
        _ => by == asked,
    };
    let is_asked = match (&what, &ask.what) {
        (What::Redeem(by), What::Redeem(asked)) | (What::Cancel(by), What::Cancel(asked)) => is_named(by, asked),
        (what, asked) => what == asked,
    };
    let key = command.request.map(|keyed| keyed.key.as_str().to_owned());
    if !is_asked || key != ask.key || coupon.campaign().as_str() != ask.campaign {
        return Err(format!("{ask:?} stands in the log as {command:?}"));
    }
    Ok(what)
}

fn by_of(by: TargetBy<'_>) -> By {
    match by {
        TargetBy::Subject(subject) => By::Subject(subject.as_str().to_owned()),
        TargetBy::SubjectSerial(_, serial) | TargetBy::Code(serial) => By::Code(serial),
    }
}

fn count(trouble: &Trouble, said: &Said) {
    trouble.saw(match &said.answer {
        Answer::Claim { verb: Verb::Claimed, .. } if !said.is_repeat => Rare::Granted,
        Answer::Claim { verb: Verb::Accepted, .. } if !said.is_repeat => Rare::Accepted,
        Answer::Claim { verb: Verb::Claimed | Verb::Accepted, .. } => Rare::Repeated,
        Answer::Claim { .. } | Answer::Campaign { .. } if said.is_repeat => Rare::Replayed,
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
