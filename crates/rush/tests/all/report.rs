//! The report as JSON, as a table and as a page.

use crate::support;

use rush::coupon::Report;
use support::{Behaviour, Cheat, run_against, run_against_cheat};

async fn good() -> Report {
    run_against(Behaviour::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_has_the_figures_under_stable_names() {
    let report = good().await;
    let json = report.to_json();
    assert_eq!(json["workload"], "coupon");
    assert_eq!(json["asked"], 600);
    assert_eq!(json["claimed"], 100);
    assert_eq!(json["broken"], serde_json::json!([]));
    assert_eq!(json["findings"]["over_issued"], 0);
    assert_eq!(json["settings"]["stock"], 100);
    assert_eq!(json["latency"]["p99_us"], report.latency.p99_us);
    assert!(json["answers_per_second"].as_f64().unwrap() > 0.0);
    assert!(json["date"].as_str().unwrap().ends_with('Z'));
    assert!(json["server_cpu_percent"].is_null());
    assert!(json["client_cpu_percent"].is_number());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_says_what_counts() {
    let table = good().await.table();
    assert!(table.contains("exactly 100 of 100; nothing broken"), "{table}");
    assert!(table.contains("counts from the instant at which everybody asked at once"));
    for label in ["asked", "over-issued", "two for one person", "answers the record doesn't hold"] {
        assert!(table.lines().any(|line| line.starts_with(label)), "{label}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 110), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_broken_stands_in_table_json_and_page() {
    let report = run_against_cheat(Cheat::KeepsOneBack).await;
    let sentence = "1 coupon kept back though enough people asked";
    assert!(report.table().contains(sentence));
    assert!(report.html().contains(sentence));
    assert_eq!(report.to_json()["broken"][0]["name"], "undersold");
    assert!(report.html().contains("<h1 class=\"bad\">"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_loads_nothing_and_runs_nothing() {
    let html = good().await.html();
    for reference in ["http://", "https://", "src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!html.contains(reference), "{reference}");
    }
    assert_eq!(html.matches("<svg").count(), 3);
    assert!(html.contains("<h1 class=\"good\">Exactly 100 of 100; nothing broken</h1>"));
    assert!(!html.contains("NaN") && !html.contains("inf"));
}
