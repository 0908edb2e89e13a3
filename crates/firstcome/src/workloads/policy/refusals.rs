//! The rejections of the rate-limit rules: codes and texts.

use crate::http::problem::{CodeInfo, Wording, info, says, says_of};

/// The codes.
pub(super) const CODES: &[CodeInfo] = &[
    info("quota_out_of_range", 422, "Quota out of range", "A quota is 1 to 1,000,000,000 units."),
    info(
        "log_quota_out_of_range",
        422,
        "Quota of a log out of range",
        "A `sliding_window_log` remembers every request of a window, so its quota is 1 to 10,000.",
    ),
    info("window_out_of_range", 422, "Window out of range", "A window is a millisecond to 366 days."),
    info(
        "burst_out_of_range",
        422,
        "Burst out of range",
        "A burst is 0 to 1,000,000,000 units, and the bucket must fill within 100 years.",
    ),
    info("burst_not_used", 422, "No burst here", "Only `token_bucket` and `leaky_bucket` have a burst."),
    info("in_flight_out_of_range", 422, "Limit out of range", "At most 10,000 may be in flight; the timeout is a millisecond to 366 days."),
    info(
        "policy_has_overrides",
        409,
        "Policy has overrides",
        "Keys have numbers of their own for the policy's algorithm. Remove them, then take another algorithm.",
    ),
    info("override_not_possible", 409, "No overrides here", "A limit on what is in flight has one number for all keys."),
    info("override_not_found", 404, "Override not found", "The key has no numbers of its own under this policy."),
    info(
        "policy_of_other_kind",
        409,
        "Policy of another kind",
        "`in_flight` policies take checks of cost 1, and no reservations, refunds or resets.",
    ),
    info("reservation_not_found", 404, "Reservation not found", "It never was, has run out, or has been settled."),
    info("reservation_expired", 409, "Reservation expired", "It is too late to settle it; the estimate stays taken."),
    info("lease_not_found", 404, "Lease not found", "It never was, was given back, or has ended by itself."),
];

/// The text of each rejection.
pub(super) const WORDINGS: &[Wording] = &[
    says_of("quota_out_of_range", "quota", "the quota must be 1 to 1000000000"),
    says_of(
        "log_quota_out_of_range",
        "quota",
        "the quota of a sliding_window_log must be 1 to 10000, because it remembers every request of a window; \
         sliding_window_counter and leaky_bucket take more",
    ),
    says_of("window_out_of_range", "window_ms", "the window must be a millisecond to 366 days"),
    says_of("burst_out_of_range", "burst", "the burst must be 0 to 1000000000, and the bucket must fill within 100 years"),
    says_of("burst_not_used", "burst", "only token_bucket and leaky_bucket have a burst"),
    says("in_flight_out_of_range", "{field} is out of range: 1 to 10000 may be in flight, and the timeout is a millisecond to 366 days"),
    says("policy_has_overrides", "keys have numbers of their own for this algorithm; remove them before another one is taken"),
    says("override_not_possible", "a limit on what is in flight has one number for all keys"),
    says("override_not_found", "the key has no numbers of its own"),
];
