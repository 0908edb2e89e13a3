//! The tables of `conformance/coupon/`, on the rules that are told a second time.

use super::*;

struct LogBackend {
    log: Log,
    now: Timestamp,
}

impl LogBackend {
    fn new() -> Self {
        Self { log: Log::begun(Timestamp::ZERO), now: Timestamp::ZERO }
    }

    fn read_campaign(&self, name: CampaignName<'_>) -> Reply {
        let mut campaigns = self.log.partition.rules.campaigns.iter();
        match campaigns.find(|campaign| campaign.name == name.as_str()) {
            Some(campaign) => Reply::Campaign(CampaignReply::from(&campaign.view(self.now))),
            None => Reply::from(&Rejection::Coupon(Why::CampaignNotFound)),
        }
    }

    fn read_claim(&self, target: &Target<'_>) -> Reply {
        let rules = &self.log.partition.rules;
        let Some(campaign) = rules.campaigns.iter().find(|campaign| campaign.name == target.campaign.as_str()) else {
            return Reply::from(&Rejection::Coupon(Why::CampaignNotFound));
        };
        match campaign.named(target.by, &rules.subjects) {
            Ok(serial) => {
                let claim = campaign.claim_at(serial).unwrap();
                let subject = rules.subjects.text(claim.subject).to_owned();
                Reply::Claim(ClaimReply { serial, subject, claimed_at: claim.claimed_at, status: claim.status() })
            }
            Err(why) => Reply::from(&Rejection::Coupon(why)),
        }
    }
}

impl Backend for LogBackend {
    fn set_time(&mut self, at: Timestamp) {
        self.now = self.now.max(at);
        self.decide_due();
    }

    fn run(&mut self, request: &Request<'_>) -> Reply {
        let reply = self.ask(request);
        self.decide_due();
        reply
    }

    fn finish(&mut self) -> Result<(), String> {
        self.log.partition.rules.check(&mut self.log.findings);
        if !self.log.findings.broken.is_empty() {
            return Err(format!("{:?}", self.log.findings.broken));
        }
        if self.log.replica().progress().digest != self.log.partition.rules.digest().unwrap() {
            return Err("the servers' state has another digest".to_owned());
        }
        Ok(())
    }
}

impl LogBackend {
    fn ask(&mut self, request: &Request<'_>) -> Reply {
        match request.ask {
            Ask::Command(coupon) => {
                let command = Command { actor: request.actor, request: request.keyed(), kind: CommandKind::Coupon(coupon) };
                match self.log.command(command, self.now) {
                    Ok(Some(answer)) => self.reply(&answer),
                    Ok(None) => Reply::Unexpected("a command of a table is answered by nothing".to_owned()),
                    Err(rejection) => Reply::from(&rejection),
                }
            }
            Ask::ReadCampaign(name) => self.read_campaign(name),
            Ask::ReadClaim(target) => self.read_claim(&target),
        }
    }

    /// A pending claim is answered with its place.
    fn reply(&self, answer: &Answer) -> Reply {
        let place = match answer.outcome {
            Outcome::Claimed(number, serial) => {
                let campaign = &self.log.partition.rules.campaigns[number.0 as usize];
                serial.get().checked_sub(u32::try_from(campaign.decided().len()).unwrap()).filter(|place| *place != 0)
            }
            _ => None,
        };
        Reply::of(answer, place)
    }

    /// Asks for every decision that may be made, as long as one is made.
    fn decide_due(&mut self) {
        let heads = |log: &Log| {
            let rules = &log.partition.rules;
            let pending = rules.campaigns.iter().filter_map(|campaign| Some((campaign, campaign.claims.get(campaign.decided().len())?)));
            pending.map(|(campaign, claim)| (campaign.name.clone(), claim.serial, rules.subjects.text(claim.subject).to_owned())).collect()
        };
        loop {
            let heads: Vec<(String, u32, String)> = heads(&self.log);
            let decided = heads.iter().filter(|head| matches!(self.log.command(decide_next(head), self.now), Ok(Some(_)))).count();
            if decided == 0 {
                return;
            }
        }
    }
}

#[test]
fn the_rules_that_are_told_here_answer_as_the_tables_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/coupon");
    let summary = run_folder(&folder, LogBackend::new).unwrap();
    assert!(80 < summary.cases_count, "{summary:?}");
}
