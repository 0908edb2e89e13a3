//! What is asked of workloads beside campaigns: one file for each. Their answers are those of the oracle,
//! word for word.

pub(crate) mod keyring;
pub(crate) mod policy;

use self::keyring::KeyringAsk;
use self::policy::PolicyAsk;
use crate::ask::What;

/// A request and the name that it is for; `below` gives a number below another one.
pub(crate) fn any(mut below: impl FnMut(u64) -> u64) -> (&'static str, What) {
    match below(2) {
        0 => (policy::some_name(&mut below), What::Policy(PolicyAsk::any(below))),
        _ => (domain::keyring::NAME.as_str(), What::Keyring(KeyringAsk::any(below))),
    }
}
