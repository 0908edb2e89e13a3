//! The problems of authentication and admission.

use serde_json::json;

use super::Problem;
use crate::auth::Denied;
use crate::tokens::TokenRefusal;

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::CredentialRequired => Self::new("credential_required", "send a key or token as Authorization: Bearer").challenge(""),
            Denied::CredentialInvalid => {
                Self::new("credential_invalid", "it is no key or token that may be used").challenge(", error=\"invalid_token\"")
            }
            Denied::NotBearer => {
                let detail = "send one Authorization header: the word Bearer, a space, and the key or token";
                Self::new("credential_invalid", detail).challenge(", error=\"invalid_request\"")
            }
            Denied::Token(refusal) => {
                let code = if refusal == TokenRefusal::Expired { "token_expired" } else { "credential_invalid" };
                Self::new(code, refusal.to_string()).challenge(", error=\"invalid_token\"")
            }
            Denied::ScopeMissing(scope) => {
                let scope = scope.word();
                let problem = Self::new("scope_missing", format!("the call needs the scope {scope}")).with("scope", json!(scope));
                problem.challenge(&format!(", error=\"insufficient_scope\", scope=\"{scope}\""))
            }
            Denied::KeyOnly => Self::new("key_required", "end users' tokens are not for this call"),
            Denied::CampaignForbidden { campaigns } => {
                let detail = format!("this key or token is for campaigns whose names begin with {campaigns}");
                Self::new("campaign_forbidden", detail).with("campaigns", json!(campaigns))
            }
            Denied::SubjectForbidden => Self::new("subject_forbidden", "this token is for another subject"),
            Denied::HostForbidden => {
                Self::new("host_forbidden", "without keys, address the server as localhost or by its loopback address")
            }
            Denied::OriginForbidden => Self::new("origin_forbidden", "without keys, pages of other origins may not ask"),
            Denied::Busy { pause } => {
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).max(1_000);
                Self::new("busy", "as many requests are in flight as may be").retry_after_ms(pause_ms)
            }
        }
    }
}
