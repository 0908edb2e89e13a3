//! Requests to workloads other than campaigns, one file for each. Their answers use the oracle's types directly.

pub(crate) mod keyring;
pub(crate) mod policy;

use self::keyring::KeyringAsk;
use self::policy::PolicyAsk;
use crate::ask::What;

/// A random item.
fn pick<T: Copy>(below: &mut impl FnMut(u64) -> u64, items: &[T]) -> T {
    let Ok(index) = usize::try_from(below(items.len() as u64)) else { panic!("a number below the count of items is an index") };
    items[index]
}

/// A random request and its aggregate's name; `below(n)` returns a number below `n`.
pub(crate) fn any(mut below: impl FnMut(u64) -> u64) -> (&'static str, What) {
    match below(2) {
        0 => (pick(&mut below, &policy::NAMES), What::Policy(PolicyAsk::any(below))),
        _ => (domain::keyring::NAME.as_str(), What::Keyring(KeyringAsk::any(below))),
    }
}
