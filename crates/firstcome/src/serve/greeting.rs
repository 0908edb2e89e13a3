//! The text that the server prints when it is ready.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use edge::auth::Auth;

/// The addresses and folders, for a person at a terminal.
pub(super) fn greeting(scheme: &str, address: SocketAddr, admin_address: Option<SocketAddr>, auth: &Auth, data: &Path) -> String {
    let mut text = String::new();
    let base = format!("{scheme}://{address}");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n  Firstcome serves at   {base}");
    let console = admin_address.map_or(base.clone(), |admin_address| format!("{scheme}://{admin_address}"));
    let _ = writeln!(text, "  Console               {console}/");
    let _ = writeln!(text, "  Documentation         {base}/docs");
    let _ = writeln!(text, "  OpenAPI               {base}/openapi.json");
    if let Some(admin_address) = admin_address {
        let _ = writeln!(text, "  Admin address         {scheme}://{admin_address}");
    }
    if !auth.needs_no_credential() {
        let live = auth.ring().live_count();
        let _ = writeln!(text, "  Callers must show a key ({live} in use) as Authorization: Bearer …\n");
        if auth.ring().is_empty() && !auth.accepts_tokens() {
            let _ = writeln!(text, "  Make the first one    firstcome key create admin --scopes admin --data {}\n", data.display());
        }
        return text;
    }
    let _ = writeln!(text, "  No keys: only this machine may call.\n\n  Try it:");
    let _ = writeln!(text, "    curl -X PUT  {base}/v1/campaigns/spring -H 'content-type: application/json' -d '{{\"stock\":10}}'");
    let _ = writeln!(
        text,
        "    curl -X POST {base}/v1/campaigns/spring/claims -H 'content-type: application/json' -d '{{\"subject\":\"ann\"}}'"
    );
    text
}
