//! Every limit of the engine has a name, here. None of them affects what is decided, only whether
//! a command is taken at all.

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
}

/// Policies of rate limits.
pub const POLICIES_MAX: usize = 1_000;
/// Keys with numbers of their own, over all policies.
pub const OVERRIDES_MAX: usize = 10_000;

/// No record takes more than this on disk: four names, a request key, and the fixed parts.
pub const RECORD_BYTES_MAX: u64 = 2_048;

/// A record may be ahead of the clock by this much, in milliseconds, before it is an alarm.
pub const CLOCK_BEHIND_MS_MAX: u64 = 60_000;
