//! The tables of `conformance/coupon/` and `conformance/policy/`, on the rules alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use conformance::{DomainBackend, Forgetting, OracleBackend, run_folder};
use domain::rate_limit::policies;
use domain::{Kind, coupon};

fn tables(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance").join(folder)
}

/// The codes that the tables of a folder expect.
fn run(folder: &str, forgetting: Forgetting) -> BTreeSet<String> {
    run_folder(&tables(folder), || DomainBackend::new(forgetting)).unwrap().codes
}

#[test]
fn the_rules_answer_as_the_tables_say() {
    run("coupon", Forgetting::WhenDue);
    run("policy", Forgetting::WhenDue);
}

#[test]
fn no_answer_depends_on_whether_the_forgetting_was_recorded() {
    run("coupon", Forgetting::Never);
    run("policy", Forgetting::Never);
}

/// The oracle is what the rules are held against everywhere else; here it is held against the tables.
#[test]
fn the_oracle_answers_as_the_tables_say() {
    for (folder, forgetting) in
        [("coupon", Forgetting::WhenDue), ("coupon", Forgetting::Never), ("policy", Forgetting::WhenDue), ("policy", Forgetting::Never)]
    {
        let answered = run_folder(&tables(folder), || OracleBackend::new(forgetting)).unwrap();
        assert_eq!(answered.codes, run(folder, forgetting), "{folder}");
    }
}

#[test]
fn every_rejection_appears_in_a_table() {
    for (folder, kind, codes) in
        [("coupon", Kind::Campaign, coupon::Rejection::CODES), ("policy", Kind::Policy, policies::Rejection::CODES)]
    {
        let frame = ["request_key_reused", kind.not_found(), kind.exists(), "version_mismatch"];
        // A campaign's settings always go together.
        let settings = if kind == Kind::Policy { &["invalid_field"][..] } else { &[] };
        let expected: BTreeSet<String> = codes.iter().chain(&frame).chain(settings).map(|code| (*code).to_owned()).collect();
        assert_eq!(run(folder, Forgetting::WhenDue), expected, "{folder}");
    }
}
