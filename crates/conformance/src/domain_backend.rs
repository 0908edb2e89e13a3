//! The rules alone, without engine or journal. Every record goes through its bytes before it
//! takes effect, and after each case the state is put together again in two other ways.

use domain::coupon::queue::DecideNext;
use domain::coupon::{CampaignNumber, Command as CouponCommand, Target};
use domain::hash::HashSeed;
use domain::request::Outcome;
use domain::state::{Answer, Command, CommandKind, Decision, Novelty, Record, Rejection, State, decide};
use domain::types::{ActorId, CampaignName, RequestId, SubjectId, Timestamp};
use domain::wire::state::StateBuilder;
use domain::wire::{decode_record, encode_record};

use crate::reply::{CampaignReply, ClaimReply, Reply};
use crate::request::{Ask, Request};
use crate::run::Backend;

/// Whether the recorded forgetting of request keys takes place. No answer may depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forgetting {
    /// As soon as the time has come.
    WhenDue,
    /// Never.
    Never,
}

/// The rules, and the bytes of every record so far.
#[derive(Debug)]
pub struct DomainBackend {
    state: State,
    now: Timestamp,
    records: Vec<RecordBytes>,
    forgetting: Forgetting,
}

#[derive(Debug)]
struct RecordBytes {
    body: Vec<u8>,
    private: Vec<u8>,
}

impl DomainBackend {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(forgetting: Forgetting) -> Self {
        Self { state: State::new(HashSeed(1, 2)), now: Timestamp::ZERO, records: Vec::new(), forgetting }
    }

    /// The state as it stands.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Every record so far as it was written: body and private part.
    pub fn records(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records.iter().map(|record| (record.body.as_slice(), record.private.as_slice()))
    }

    fn command(&mut self, request: &Request<'_>, command: CouponCommand<'_>) -> Reply {
        let command = Command { actor: request.actor, request: request.keyed(), kind: CommandKind::Coupon(command) };
        match decide(&self.state, &command, self.now) {
            Ok(Decision::Event(event)) => {
                let record = Record { at: self.now, actor: command.actor, request_id: RequestId::ENGINE, request: command.request, event };
                self.take_effect(&record)
            }
            Ok(Decision::Answer(answer)) => self.reply(&answer),
            Ok(Decision::Nothing) => Reply::Unexpected("a command of a table is decided as nothing".into()),
            Err(rejection) => Reply::from(&rejection),
        }
    }

    fn reply(&self, answer: &Answer) -> Reply {
        let place = match &answer.outcome {
            Outcome::Claimed(campaign, serial) => {
                self.state.campaign_at(*campaign).and_then(|campaign| campaign.waiting(*serial, self.now)).map(|waiting| waiting.place)
            }
            _ => None,
        };
        Reply::of(answer, place)
    }

    fn take_effect(&mut self, record: &Record<'_>) -> Reply {
        match self.write(record) {
            Ok(Some(outcome)) => self.reply(&Answer { outcome, novelty: Novelty::Fresh }),
            Ok(None) => Reply::Unexpected("an event of a campaign has no outcome".into()),
            Err(what) => Reply::Unexpected(what),
        }
    }

    /// What takes effect is what the bytes say.
    fn write(&mut self, record: &Record<'_>) -> Result<Option<Outcome>, String> {
        let (mut body, mut private) = (Vec::new(), Vec::new());
        encode_record(record, &mut body, &mut private);
        let decoded = decode_record(&body, Some(&private)).map_err(|error| format!("a record cannot be read back: {error}"))?;
        if decoded != *record {
            return Err(format!("a record reads back as another one: {decoded:?}"));
        }
        let outcome = self.state.evolve(&decoded);
        self.records.push(RecordBytes { body, private });
        Ok(outcome)
    }

    /// Decides the pending claims whose time has come.
    fn decide_due(&mut self) {
        let next = |state: &State, now| {
            let campaign = state.queues().find(|campaign| campaign.decides_at() <= now)?;
            let claim = campaign.first_pending()?;
            Some((campaign.name.clone(), claim.serial, claim.subject.to_string()))
        };
        while let Some((campaign, serial, subject)) = next(&self.state, self.now) {
            let (Ok(campaign), Ok(subject)) = (CampaignName::new(&campaign), SubjectId::new(&subject)) else { return };
            let command = CouponCommand::DecideNext(DecideNext { campaign, serial, subject });
            let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::Coupon(command) };
            let Ok(Decision::Event(event)) = decide(&self.state, &command, self.now) else { return };
            let record = Record { at: self.now, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, event };
            if self.write(&record).is_err() {
                return;
            }
        }
    }

    fn forget_due(&mut self) {
        let command = Command { actor: ActorId::LOCAL, request: None, kind: CommandKind::ForgetRequests };
        while let Ok(Decision::Event(event)) = decide(&self.state, &command, self.now) {
            let record = Record { at: self.now, actor: ActorId::LOCAL, request_id: RequestId::ENGINE, request: None, event };
            if self.write(&record).is_err() {
                return;
            }
        }
    }

    fn read_campaign(&self, name: CampaignName<'_>) -> Reply {
        match self.state.campaign(name) {
            Some(campaign) => Reply::Campaign(CampaignReply::from(&campaign.view(self.now))),
            None => Reply::from(&Rejection::Coupon(domain::coupon::Rejection::CampaignNotFound)),
        }
    }

    fn read_claim(&self, target: &Target<'_>) -> Reply {
        let not_found = Err(domain::coupon::Rejection::CampaignNotFound);
        let found = self.state.campaign(target.campaign).map_or(not_found, |campaign| campaign.find(target.by));
        match found {
            Ok(claim) => Reply::Claim(ClaimReply::from(&claim)),
            Err(rejection) => Reply::from(&Rejection::Coupon(rejection)),
        }
    }

    fn replay(&self) -> Result<State, String> {
        let mut state = State::new(HashSeed(3, 4));
        for record in &self.records {
            let record = decode_record(&record.body, Some(&record.private)).map_err(|error| error.to_string())?;
            state.evolve(&record);
        }
        Ok(state)
    }
}

impl Backend for DomainBackend {
    fn set_time(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        self.decide_due();
        match self.forgetting {
            Forgetting::WhenDue => self.forget_due(),
            Forgetting::Never => {}
        }
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        match request.ask {
            Ask::Command(command) => {
                let reply = self.command(request, command);
                self.decide_due();
                reply
            }
            Ask::ReadCampaign(name) => self.read_campaign(name),
            Ask::ReadClaim(target) => self.read_claim(&target),
        }
    }

    fn finish(&mut self) -> Result<(), String> {
        let live = canonical(&self.state);
        let rebuilt = rebuild(&live)?;
        let replayed = self.replay()?;
        for (name, state) in [("live", &self.state), ("rebuilt", &rebuilt), ("replayed", &replayed)] {
            state.check().map_err(|broken| format!("the {name} state: {broken}"))?;
            indexes_agree(state, &self.state).map_err(|what| format!("the {name} state: {what}"))?;
            if canonical(state) != live {
                return Err(format!("the {name} state has other bytes than the live one"));
            }
        }
        Ok(())
    }
}

fn canonical(state: &State) -> Vec<Vec<u8>> {
    state.freeze().sections().collect()
}

fn rebuild(sections: &[Vec<u8>]) -> Result<State, String> {
    let mut builder = StateBuilder::new(HashSeed(5, 6));
    let mut read = || sections.iter().try_for_each(|section| builder.section(section));
    read().map_err(|error| format!("a section cannot be read back: {error}"))?;
    builder.finish().map_err(|error| format!("the state cannot be read back: {error}"))
}

/// The canonical bytes do not hold the tables by subject: these are compared by asking.
fn indexes_agree(state: &State, live: &State) -> Result<(), String> {
    for campaign in live.campaigns() {
        let other = state.campaign_at(campaign.number).ok_or("a campaign is missing")?;
        let serials = (1..=campaign.claims.count()).filter_map(|serial| u32::try_from(serial).ok());
        for claim in serials.filter_map(domain::types::Serial::new).filter_map(|serial| campaign.claims.get(serial)) {
            if other.serials_of(claim.subject) != campaign.serials_of(claim.subject) {
                let CampaignNumber(number) = campaign.number;
                return Err(format!("the claims of {} in campaign {number} differ", claim.subject));
            }
        }
    }
    Ok(())
}
