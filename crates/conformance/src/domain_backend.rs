//! The rules alone, without engine or journal. Every record goes through its bytes before it
//! takes effect, and after each case the state is put together again in two other ways.

use domain::coupon::{Coupon, TargetBy};
use domain::hash::HashSeed;
use domain::request::Outcome;
use domain::state::{Answer, Novelty, decide};
use domain::types::{Name, RequestId, Timestamp};
use domain::wire::command::{decode_command, encode_command};
use domain::wire::state::StateBuilder;
use domain::wire::{decode_record, encode_record};
use domain::workload::AnyAggregate;
use domain::{Action, Command, Decision, Kind, Record, Rejection, State};

use crate::reply::{AggregateReply, ClaimReply, Reply};
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

    fn command(&mut self, request: &Request<'_>, action: Action<'_>) -> Reply {
        let command = Command { actor: request.actor, request: request.keyed(), action };
        match decide(&self.state, &command, self.now) {
            Ok(Decision::Change(change)) => {
                let record = Record { at: self.now, actor: command.actor, request_id: RequestId::ENGINE, request: command.request, change };
                self.take_effect(&record)
            }
            Ok(Decision::Answer(answer)) => self.reply(&answer),
            Ok(Decision::Nothing) => Reply::Unexpected("a command of a table is decided as nothing".into()),
            Err(rejection) => Reply::from(&rejection),
        }
    }

    fn reply(&self, answer: &Answer) -> Reply {
        let novelty = answer.novelty;
        match &answer.outcome {
            Outcome::Written { created, summary } => Reply::Written { created: *created, version: summary.head().version, novelty },
            Outcome::Removed { summary } => Reply::Removed { version: summary.head().version, novelty },
            Outcome::Did(number, outcome) => {
                let view = self.state.at(*number).and_then(|aggregate| aggregate.view(*outcome, self.now));
                Reply::did(outcome, view.as_ref(), novelty)
            }
            Outcome::DidBoth(..) => Reply::Unexpected("no table asks for two at once".into()),
        }
    }

    fn take_effect(&mut self, record: &Record<'_>) -> Reply {
        match self.write(record) {
            Ok(Some(outcome)) => self.reply(&Answer { outcome, novelty: Novelty::Fresh }),
            Ok(None) => Reply::Unexpected("a change has no outcome".into()),
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
        if !self.state.fits(&decoded) {
            return Err(format!("a record that was decided does not fit the state: {decoded:?}"));
        }
        let outcome = self.state.evolve(&decoded);
        self.records.push(RecordBytes { body, private });
        Ok(outcome)
    }

    /// Does what is due; what it names is in the state, and is written down before that changes.
    fn do_due(&mut self) {
        let mut last = None;
        while let Some((number, command)) = self.state.due_after(last, self.now) {
            last = Some(number);
            let mut bytes = Vec::new();
            encode_command(&command, &mut bytes);
            if decode_command(&bytes).map(|command| self.give(&command)) != Ok(true) {
                return;
            }
        }
    }

    fn forget_due(&mut self) {
        while self.give(&Command::local(Action::ForgetRequests)) {}
    }

    /// Whether a command that nobody waits for changed something.
    fn give(&mut self, command: &Command<'_>) -> bool {
        let Ok(Decision::Change(change)) = decide(&self.state, command, self.now) else { return false };
        let record = Record { at: self.now, actor: command.actor, request_id: RequestId::ENGINE, request: None, change };
        self.write(&record).is_ok()
    }

    fn read(&self, kind: Kind, name: Name<'_>) -> Reply {
        match self.state.find(kind, name) {
            Some(aggregate) => Reply::Aggregate(AggregateReply::from(&aggregate.summary(self.now))),
            None => Reply::from(&Rejection::NotFound(kind)),
        }
    }

    fn read_claim(&self, name: Name<'_>, by: TargetBy<'_>) -> Reply {
        let Some(campaign) = self.state.get::<Coupon>(name) else { return Reply::from(&Rejection::NotFound(Kind::Campaign)) };
        match campaign.find(by) {
            Ok(claim) => Reply::Claim(ClaimReply::from(&claim)),
            Err(rejection) => Reply::from(&Rejection::of::<Coupon>(rejection)),
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
        self.do_due();
        match self.forgetting {
            Forgetting::WhenDue => self.forget_due(),
            Forgetting::Never => {}
        }
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        match request.ask {
            Ask::Act(action) => {
                let reply = self.command(request, action);
                self.do_due();
                reply
            }
            Ask::Read(kind, name) => self.read(kind, name),
            Ask::ReadClaim(name, by) => self.read_claim(name, by),
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
    for campaign in live.all::<Coupon>() {
        let other = state.get_at::<Coupon>(campaign.head.number).ok_or("a campaign is missing")?;
        for claim in campaign.items.claims.iter() {
            if other.serials_of(claim.subject) != campaign.serials_of(claim.subject) {
                return Err(format!("the claims of {} in campaign {} differ", claim.subject, campaign.head.name));
            }
        }
    }
    let due = |state: &State| state.due().map(AnyAggregate::next_due).collect::<Vec<_>>();
    if due(state) != due(live) { Err("what falls due differs".into()) } else { Ok(()) }
}
