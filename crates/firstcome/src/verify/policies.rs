//! The policies of rate limits, as their records tell: which there are, and whose keys have numbers
//! of their own. What keys took is in no record.

use std::collections::{BTreeMap, BTreeSet};

use domain::rate_limit::policies::{Event, Numbers, Rule};
use domain::rate_limit::{Policy, Settings};

use super::findings::Report;

/// By name: the rule, and the keys with numbers of their own.
#[derive(Debug, Default)]
pub(super) struct Policies(BTreeMap<String, (Rule, BTreeSet<String>)>);

impl Policies {
    /// Checks a record against the ones before it, and takes it in.
    pub(super) fn check(&mut self, event: &Event<'_>, report: &mut Report<'_>) {
        let name = event.policy().as_str();
        if !self.takes(name, event) {
            report.broken("policy", &format!("policy {name}: {event:?} cannot follow on what was written before"));
        }
    }

    fn takes(&mut self, name: &str, event: &Event<'_>) -> bool {
        match (event, self.0.get_mut(name)) {
            (Event::PolicyWritten { rule, .. }, None) => self.0.insert(name.to_owned(), (*rule, BTreeSet::new())).is_none(),
            (Event::PolicyWritten { rule, .. }, Some((before, keys))) => {
                let is_fitting = keys.is_empty() || word_of(before) == word_of(rule);
                let is_new = before != rule;
                *before = *rule;
                is_fitting && is_new
            }
            (Event::PolicyRemoved { .. }, Some(_)) => self.0.remove(name).is_some(),
            (Event::OverrideWritten { key, numbers, .. }, Some((rule, keys))) => {
                keys.insert(key.as_str().to_owned());
                fits(rule, *numbers)
            }
            (Event::OverrideRemoved { key, .. }, Some((_, keys))) => keys.remove(key.as_str()),
            (Event::PolicyRemoved { .. } | Event::OverrideWritten { .. } | Event::OverrideRemoved { .. }, None) => false,
        }
    }
}

fn word_of(rule: &Rule) -> Option<&'static str> {
    match rule {
        Rule::Rate(policy) => Some(policy.settings().algorithm.word()),
        Rule::InFlight(_) => None,
    }
}

fn fits(rule: &Rule, numbers: Numbers) -> bool {
    let Numbers { quota, window_ns, burst } = numbers;
    match rule {
        Rule::Rate(policy) => Policy::new(Settings { quota, window_ns, burst, ..*policy.settings() }).is_ok(),
        Rule::InFlight(_) => false,
    }
}
