//! The schemas of the key calls.

use edge::auth::caller::Scope;
use serde_json::json;

use crate::http::openapi::describe::Parameter;
use crate::http::openapi::schema::{Schema, body, list, matching, number, object, text, time};

fn name() -> Schema {
    let about = "A key's name, which the record shows as the actor: 1 to 64 of `A-Z a-z 0-9 _ . -`, not `.`, `..`, `local`, `users` or \
                 `engine`.";
    let others = json!({ "enum": [".", "..", "local", "users", "engine"] });
    let name = matching("^[A-Za-z0-9_.-]{1,64}$").with("not", others).with("description", json!(about));
    name.shown(json!("shop")).named("KeyName")
}

fn scopes() -> Schema {
    let about = "What it allows. `admin`: campaigns and keys, and all the others. `issue`: to claim and to cancel. `redeem`: to use \
                 claims. `read`: to read.";
    let words = Schema::default().with("enum", json!(Scope::ALL.map(Scope::word)));
    let scopes = list(words).with("minItems", json!(1)).with("uniqueItems", json!(true)).with("description", json!(about));
    scopes.shown(json!(["issue", "read"])).named("Scopes")
}

/// The body that creates a key.
pub(super) fn new_key() -> Schema {
    let campaigns = "What the names of its campaigns begin with; left out: all campaigns. Not with `admin`.";
    body("")
        .has("key", name(), "")
        .has("scopes", scopes(), "")
        .may("campaigns", matching("^[A-Za-z0-9_.:-]{1,128}$").nullable(), campaigns)
        .with("if", json!({ "properties": { "scopes": { "contains": { "const": "admin" } } } }))
        .with("then", json!({ "properties": { "campaigns": { "type": "null" } } }))
        .but(json!({ "campaigns": "spring-" }))
        .named("CreateKey")
}

/// The body that rotates a key.
pub(super) fn rotation() -> Schema {
    let about = "How long the secret before goes on, in milliseconds: 30 days at most.";
    let overlap = number(0, 2_592_000_000).nullable().with("default", json!(0));
    body("").may("overlap_ms", overlap, about).but(json!({ "overlap_ms": 3_600_000 })).named("RotateKey")
}

fn members() -> Schema {
    let campaigns = text().with("maxLength", json!(128)).shown(json!("spring-"));
    object("")
        .has("key", name(), "")
        .has("scopes", scopes(), "")
        .has("campaigns", campaigns, "What the names of its campaigns begin with; empty: all campaigns.")
        .has("created_at", time("2026-01-30T08:00:00.000Z"), "When it was created.")
        .has("rotated_at", time("").or_null(), "When it last got another secret.")
        .has("overlap_until", time("").or_null(), "Until just before when the last of the earlier secrets is good yet.")
        .has("revoked_at", time("").or_null(), "Since when it is of no use.")
}

/// A key.
pub(super) fn key() -> Schema {
    members().named("Key")
}

/// A key with its secret.
pub(super) fn key_with_secret() -> Schema {
    let about = "The whole key, to be sent as `Authorization: Bearer …`. It is not kept and not shown again.";
    let example = "firstcome_shop_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let secret = matching("^firstcome_[A-Za-z0-9_.-]{1,64}_[0-9a-f]{64}$").shown(json!(example));
    members().has("secret", secret, about).named("KeyWithSecret")
}

pub(super) fn key_name() -> Parameter {
    Parameter::path("key", name(), "The key's name.")
}

pub(super) fn after_key() -> Parameter {
    Parameter::query("afterKey", "after", text(), "`next` of the page before: goes on behind this name.")
}
