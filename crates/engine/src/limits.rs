//! Every limit of the engine has a name, here. None of them affects what is decided, only whether
//! a command is taken at all.

use domain::rate_limit::policies;
use domain::state::CommandKind;
use domain::{Command, Event, State, coupon};

/// What the engine takes on at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Claims in memory, cancelled ones included; at most `u32::MAX - 1`.
    pub claims_max: u64,
    /// Request keys in memory.
    pub requests_max: usize,
    /// Campaigns.
    pub campaigns_max: usize,
    /// Bytes that are decided and not yet on disk: what a batch can grow to while the one before
    /// it is synced.
    pub staged_bytes_max: u64,
}

impl Limits {
    /// What fits a machine with 24 GiB: some 10 GiB for claims, 5 GiB for request keys.
    pub const STANDARD: Self =
        Self { claims_max: 200_000_000, requests_max: 20_000_000, campaigns_max: 100_000, staged_bytes_max: 2 << 20 };

    /// What there would be too much of in memory if this happened, by its name in the API.
    pub(crate) fn exceeded(&self, state: &State, command: &Command<'_>, event: &Event<'_>) -> Option<&'static str> {
        // A pending claim has its memory: its decision takes none.
        if matches!(command.kind, CommandKind::Coupon(coupon::Command::Claim(_))) && self.claims_max <= state.claims_count() {
            return Some("claims");
        }
        if matches!(event, Event::Coupon(coupon::Event::CampaignCreated { .. })) && self.campaigns_max <= state.campaigns().len() {
            return Some("campaigns");
        }
        match event {
            Event::Policy(policies::Event::PolicyWritten { policy, .. })
                if state.policies.get(*policy).is_none() && POLICIES_MAX <= state.policies.len() =>
            {
                return Some("policies");
            }
            Event::Policy(policies::Event::OverrideWritten { policy, key, .. })
                if state.policies.get(*policy).is_none_or(|kept| !kept.overrides.contains_key(key.as_str()))
                    && OVERRIDES_MAX <= state.policies.overrides_count() =>
            {
                return Some("overrides");
            }
            Event::Coupon(_) | Event::Policy(_) | Event::RequestsForgotten { .. } => {}
        }
        (command.request.is_some() && self.requests_max <= state.requests.len()).then_some("request_keys")
    }
}

/// Policies of rate limits.
pub const POLICIES_MAX: usize = 1_000;
/// Keys with numbers of their own, over all policies.
pub const OVERRIDES_MAX: usize = 10_000;

/// No record takes more than this on disk: four names, a request key, and the fixed parts.
pub const RECORD_BYTES_MAX: u64 = 2_048;

/// A record may be ahead of the clock by this much, in milliseconds, before it is an alarm.
pub const CLOCK_BEHIND_MS_MAX: u64 = 60_000;
