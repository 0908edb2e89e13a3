//! The text format 0.0.4 of Prometheus, made from OpenMetrics 1.0: older scrapers, and `promtool`, read only that.

use std::collections::BTreeSet;

use crate::http::accept::ranges;

/// The media type of the text format.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The media type of OpenMetrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whether the caller asks for OpenMetrics. Whoever names it prefers it: Prometheus lists the text format behind it.
#[must_use]
pub fn wants_open_metrics(accepted: &str) -> bool {
    ranges(accepted).any(|(name, weight)| name.eq_ignore_ascii_case("application/openmetrics-text") && 0 < weight)
}

/// The same metrics in the text format: a counter is named as its samples are, and there is no end marker.
#[must_use]
pub fn plain(open_metrics: &str) -> String {
    let types = open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let counters: BTreeSet<&str> = types.filter(|(_, kind)| *kind == "counter").map(|(name, _)| name).collect();
    let suffix = |name: &str| if counters.contains(name) { "_total" } else { "" };
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => continue,
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                text += &format!("# HELP {name}{} {}", suffix(name), help.replace("\\\"", "\""));
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let kind = if ["counter", "gauge", "histogram", "summary"].contains(&kind) { kind } else { "untyped" };
                text += &format!("# TYPE {name}{} {kind}", suffix(name));
            }
            _ => text += line,
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_sends_asks_for_openmetrics_and_nothing_else_does() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        assert!(wants_open_metrics(prometheus));
        for accept in ["", "*/*", "text/plain", "text/plain;version=0.0.4", "application/openmetrics-text;q=0, text/plain"] {
            assert!(!wants_open_metrics(accept), "{accept}");
        }
    }

    #[test]
    fn counters_have_the_names_of_their_samples() {
        let open = "# HELP a_b Said \\\"so\\\".\n# TYPE a_b counter\n# UNIT a_b seconds\na_b_total{x=\"# EOF\"} 1\n# HELP c What.\n# TYPE c info\nc 2\n# EOF\n";
        let text =
            "# HELP a_b_total Said \"so\".\n# TYPE a_b_total counter\na_b_total{x=\"# EOF\"} 1\n# HELP c What.\n# TYPE c untyped\nc 2\n";
        assert_eq!(plain(open), text);
    }
}
