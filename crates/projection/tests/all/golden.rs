//! After any run of decisions the rows say what the rules' own state says.
#![allow(clippy::unwrap_used)]

use crate::support;

use domain::coupon::{self, Campaign, Settings};
use domain::types::{CampaignName, Serial};
use projection::{CampaignRow, ClaimFilter, ClaimRow, HistoryReader};
use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};
use support::{Place, Run, claim, put, settings, target};

const CAMPAIGNS: [&str; 3] = ["spring", "summer", "autumn"];
const SUBJECTS: [&str; 6] = ["ann", "bob", "cat", "dan", "eve", "fay"];

#[derive(Clone, Debug)]
enum Step {
    Put { campaign: usize, stock: u32, is_paused: bool },
    Claim { campaign: usize, subject: usize },
    Redeem { campaign: usize, serial: u32 },
    Cancel { campaign: usize, serial: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    let campaign = || 0..CAMPAIGNS.len();
    prop_oneof![
        1 => (campaign(), 1..6_u32, prop_oneof![4 => Just(false), 1 => Just(true)])
            .prop_map(|(campaign, stock, is_paused)| Step::Put { campaign, stock, is_paused }),
        5 => (campaign(), 0..SUBJECTS.len()).prop_map(|(campaign, subject)| Step::Claim { campaign, subject }),
        2 => (campaign(), 1..9_u32).prop_map(|(campaign, serial)| Step::Redeem { campaign, serial }),
        2 => (campaign(), 1..9_u32).prop_map(|(campaign, serial)| Step::Cancel { campaign, serial }),
    ]
}

fn ask(run: &mut Run, step: &Step, now: u64) {
    match step {
        Step::Put { campaign, stock, is_paused } => {
            run.ask(put(CAMPAIGNS[*campaign], Settings { paused: *is_paused, ..settings(*stock) }), now);
        }
        Step::Claim { campaign, subject } => run.ask(claim(CAMPAIGNS[*campaign], SUBJECTS[*subject]), now),
        Step::Redeem { campaign, serial } => run.ask(coupon::Command::Redeem(target(CAMPAIGNS[*campaign], *serial)), now),
        Step::Cancel { campaign, serial } => run.ask(coupon::Command::Cancel(target(CAMPAIGNS[*campaign], *serial)), now),
    }
}

fn claims_of(campaign: &Campaign) -> Vec<ClaimRow> {
    let claims_count = u32::try_from(campaign.claims.count()).unwrap();
    let claims = (1..=claims_count).map(|serial| campaign.claims.get(Serial::new(serial).unwrap()).unwrap());
    claims
        .map(|claim| ClaimRow {
            campaign: campaign.name.as_str().into(),
            number: campaign.number,
            code_key: campaign.code_key,
            serial: claim.serial,
            subject: claim.subject.as_str().to_owned(),
            claimed_at: claim.claimed_at,
            status: claim.status,
        })
        .collect()
}

fn is_same(row: &CampaignRow, campaign: &Campaign) -> bool {
    let of_row = (&*row.name, row.number, row.settings, row.version, row.code_key, row.created_at);
    of_row == (&*campaign.name, campaign.number, campaign.settings, campaign.version, campaign.code_key, campaign.created_at)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn rows_say_what_the_state_says(steps in vec(step(), 1..150), batch in 1..40_usize) {
        let mut run = Run::new();
        for (now, step) in steps.iter().enumerate() {
            ask(&mut run, step, now as u64 * 10);
        }
        let place = Place::new();
        let mut history = place.open();
        let records: Vec<_> = run.records().collect();
        for records in records.chunks(batch) {
            history.apply(records.iter().copied()).unwrap();
        }
        let mut reader = HistoryReader::open(&place.path()).unwrap();
        let view = reader.view().unwrap();
        prop_assert_eq!((view.as_of().position, view.as_of().time), (run.last(), run.state.time));
        let rows = view.campaigns().unwrap();
        prop_assert_eq!(rows.len(), run.state.campaigns().len());
        for (row, campaign) in rows.iter().zip(run.state.campaigns()) {
            assert!(is_same(row, campaign), "{row:?}");
            let page = view.claims_of_campaign(CampaignName::new(&row.name).unwrap(), None, 1_000, ClaimFilter::All).unwrap();
            prop_assert_eq!(page.rows, claims_of(campaign));
        }
    }
}
