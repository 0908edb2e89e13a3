"""A campaign that grants claims, and one check of schemathesis, more exact than it comes.

Random settings are hardly ever those of an open campaign, and no random text is a code: without
help nothing would be claimed, redeemed or cancelled.

`positive_data_acceptance` wants every request that fits the document to be accepted, and knows of
refusals only by status. Here a refusal by one of the rules below passes, and no other of the same
status does: each depends on the state, or on two values at once, and no schema can say so.
"""

import os
from functools import cache
from urllib.parse import urljoin

import requests
import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

RULES = {
    # `closes_at` and `redeem_until` must be after `opens_at`: two fields of one body.
    "closes_before_opens",
    "redeem_until_before_opens",
    # The campaign allows several claims per subject, and no `Idempotency-Key` came.
    "request_key_required",
    # The `Idempotency-Key` came with another request before.
    "request_key_reused",
    # `If-Match` and `If-None-Match` are there to be refused with 412.
    "campaign_exists",
    "version_mismatch",
    "policy_exists",
    "counter_exists",
    # One addition to a counter, the example of the tests, adds `step_max` at most.
    "amount_out_of_range",
    # What a quota and a burst may be depends on the algorithm, for an override on its policy's.
    "burst_not_used",
    "burst_out_of_range",
    "log_quota_out_of_range",
    "in_flight_out_of_range",
    # There is a key here, and the small rush is for servers without any.
    "demonstration_forbidden",
}


@schemathesis.hook
def before_call(context, case, kwargs):
    codes = codes_of(urljoin(case.operation.schema.location, "/v1/campaigns/open"))
    path = case.path_parameters or {}
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if case.operation.path.endswith("/live") and (is_valid or "events" not in (case.query or {})):
        # A stream without an end is no answer that could be checked.
        case.query = {**(case.query or {}), "events": 1}
    if is_valid and path.get("campaign") == "open" and "code" in path:
        path["code"] = codes[sum(map(ord, path["code"])) % len(codes)]


@cache
def codes_of(campaign):
    """Makes the campaign with forty claims, those of schemathesis.toml among them."""
    caller = requests.Session()
    caller.headers["Authorization"] = f"Bearer {os.environ['FIRSTCOME_KEY']}"
    caller.put(campaign, json={"stock": 1_000_000}, timeout=10).raise_for_status()
    claims = [caller.post(f"{campaign}/claims", json={"subject": f"u{n}"}, timeout=10) for n in range(1, 41)]
    return [claim.json()["code"] for claim in claims]


@schemathesis.check
def valid_data_is_refused_by_rules_only(ctx, response, case):
    if is_rule(response, case):
        return None
    return positive_data_acceptance(ctx, response, case)


def is_rule(response, case):
    if not 400 <= response.status_code < 500:
        return False
    problem = response.json()
    return problem["code"] in RULES or contradicts_itself(problem, case) or has_a_point(problem)


def has_a_point(problem):
    """To JSON Schema 1.0 is an integer; here a whole number is written without a point."""
    return problem["code"] == "invalid_field" and "floating point" in problem["detail"]


def contradicts_itself(problem, case):
    """Each of the two headers is valid; both at once are not. And a patch may fit another algorithm."""
    if case.method.upper() == "PATCH" and case.operation.path == "/v1/policies/{policy}":
        of_algorithm = {"window_ms", "burst", "timeout_ms"}
        if problem["code"] == "invalid_field" and problem["field"] in of_algorithm:
            return True
    # An override repeats the key of its path.
    if problem["code"] == "invalid_field" and "than the path names" in problem["detail"]:
        return True
    both = {"If-Match", "If-None-Match"} <= set(case.headers or {})
    return both and problem["code"] == "invalid_header" and problem["header"] == "if-none-match"
