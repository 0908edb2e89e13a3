//! The problems of authentication, admission and the management of keys.

use std::io;

use serde_json::json;

use super::Problem;
use crate::auth::Denied;
use crate::auth::key_file::{ChangeError, KeyFileError};
use crate::auth::keys::KeyError;
use crate::times;
use crate::tokens::TokenRefusal;

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::CredentialRequired => Self::new("credential_required", "send a key or token as Authorization: Bearer").challenge(""),
            Denied::CredentialInvalid => {
                Self::new("credential_invalid", "it is no key or token that may be used").challenge(", error=\"invalid_token\"")
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

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        let field = |field: &str| Self::field(field, error.to_string());
        match error {
            KeyError::Name => field("key"),
            KeyError::Scopes | KeyError::FirstNotAdmin => field("scopes"),
            KeyError::Campaigns | KeyError::AdminLimited => field("campaigns"),
            KeyError::Overlap => field("overlap_ms"),
            KeyError::Exists => Self::new("key_exists", error.to_string()),
            KeyError::NotFound => Self::new("key_not_found", error.to_string()),
            KeyError::Revoked { revoked_at } => {
                Self::new("key_revoked", error.to_string()).with("revoked_at", json!(times::format(revoked_at)))
            }
            KeyError::LastAdmin => Self::new("last_admin_key", error.to_string()),
            KeyError::TooMany => Self::new("keys_full", error.to_string()),
            KeyError::CallerRevoked => Self::new("credential_invalid", error.to_string()).challenge(", error=\"invalid_token\""),
            KeyError::Random | KeyError::Older => Self::new("internal", error.to_string()),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Key(error) => error.into(),
            ChangeError::File(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                Self::new("storage_full", "the server's disk is full").retry_after_ms(5_000)
            }
            ChangeError::File(error) => {
                tracing::error!(%error, "the keys cannot be changed");
                Self::new("internal", "the keys cannot be changed; the server's log says why")
            }
        }
    }
}
