//! A server that breaks a promise: the report names it.

use crate::support;

use support::Cheat::{self, *};
use support::{broken_names, run_against_cheat};

async fn only_broken(cheat: Cheat) -> (&'static str, u64) {
    let report = run_against_cheat(cheat).await;
    let broken = report.broken();
    assert_eq!(broken.len(), 1, "{cheat:?}: {broken:?}");
    (broken[0].name, broken[0].count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_coupon_too_many_is_over_issued() {
    let report = run_against_cheat(GivesOneTooMany).await;
    assert!(broken_names(&report).contains(&"over_issued"));
    assert_eq!(report.findings.over_issued, 1);
    assert!(report.html().contains("1 coupon given out beyond the stock"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_with_two_coupons_is_found() {
    assert_eq!(only_broken(GivesOnePersonTwo).await, ("two_for_one", 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_that_the_record_has_forgotten_is_found() {
    let report = run_against_cheat(ForgetsOneInTheRecord).await;
    assert_eq!(broken_names(&report), ["answers_not_in_record", "counts"]);
    assert_eq!(report.findings.answers_not_in_record, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_code_in_the_record_is_another_claim() {
    let report = run_against_cheat(ChangesOneCodeInTheRecord).await;
    let expected = ["answers_not_in_record", "in_record_unanswered"];
    assert_eq!(broken_names(&report), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_yes_that_the_record_has_cancelled_is_not_held() {
    let report = run_against_cheat(CancelsOneInTheRecord).await;
    assert_eq!(report.findings.answers_not_in_record, 1);
    assert_eq!(report.findings.record_live, 99);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_coupon_for_two_people_is_found() {
    let report = run_against_cheat(GivesOneCouponToTwo).await;
    assert_eq!(report.findings.one_for_two, 1);
    assert!(broken_names(&report).contains(&"one_for_two"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_somebody_who_never_asked_is_found() {
    let report = run_against_cheat(RecordsOneForAStranger).await;
    let expected = ["over_issued", "in_record_unanswered", "counts"];
    assert_eq!(broken_names(&report), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_that_differ_from_the_record_are_found() {
    assert_eq!(only_broken(MiscountsInTheCampaign).await, ("counts", 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coupon_that_is_kept_back_is_undersold() {
    assert_eq!(only_broken(KeepsOneBack).await, ("undersold", 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_after_a_yes_is_a_yes_taken_back() {
    let (name, count) = only_broken(RefusesWhoAsksAgain).await;
    assert_eq!(name, "yes_taken_back");
    assert!((1..=100).contains(&count));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_in_the_name_of_another_person_is_found() {
    let report = run_against_cheat(AnswersInTheNameOfAnother).await;
    assert_eq!(broken_names(&report), ["misdirected"]);
}
