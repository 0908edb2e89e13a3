//! The pages: that they are those of the sources, how they are sent, and what they may do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support::http;
use crate::support::server;

use std::fs;
use std::path::{Path, PathBuf};

use firstcome::cli::ServeArgs;
use firstcome::http::web;
use sha2::{Digest, Sha256};

use server::TestServer;

const NOW: u64 = 1_000_000;
/// The same as in `web/scripts/sources.js`.
const FILES: [&str; 8] = [
    "claim.html",
    "index.html",
    "package-lock.json",
    "package.json",
    "scripts/finish.js",
    "scripts/sources.js",
    "tsconfig.json",
    "vite.config.ts",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web")
}

fn files_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_in(&path, found) } else { found.push(path) }
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest_of_sources() -> String {
    let folder = folder();
    let mut files: Vec<PathBuf> = FILES.iter().map(|file| folder.join(file)).collect();
    files_in(&folder.join("src"), &mut files);
    let mut names: Vec<String> =
        files.iter().map(|file| file.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/")).collect();
    names.sort();
    let mut all = Sha256::new();
    for name in names {
        let digest = Sha256::digest(fs::read(folder.join(&name)).unwrap());
        all.update(format!("{name}\n{}\n", hex(&digest)));
    }
    hex(&all.finalize())
}

#[test]
fn the_pages_in_the_program_are_built_from_these_sources() {
    let built_from = web::built_from().unwrap();
    assert!(built_from == digest_of_sources(), "the pages are stale: run `npm ci && npm run build` in web/ and commit web/dist");
}

#[test]
fn a_slash_at_the_end_of_a_page_s_address_leads_to_the_page() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path(), NOW);
    for (target, location) in [("/c/spring/", "../spring"), ("/c/spring/?from=mail", "../spring?from=mail"), ("/docs/", "../docs")] {
        let answer = server.client().get(target);
        assert_eq!((answer.status, answer.header("location")), (308, Some(location)), "{target}");
    }
    // Neither calls nor addresses of other hosts.
    for target in ["/v1/campaigns/", "//", "/"] {
        assert_ne!(server.client().get(target).status, 308, "{target}");
    }
    assert_eq!(server.client().get("//shop.example/").header("location"), Some("../shop.example"));
    assert_eq!(server.client().post("/c/spring/", "").status, 404);
}

#[test]
fn pages_may_do_nothing_but_ask_this_server_and_name_assets_that_are_there() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path(), NOW);
    for target in ["/", "/c/spring"] {
        let page = server.client().get(target);
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        let text = page.text();
        assert!(!text.contains("://") && !text.contains("<style") && !text.contains("style="), "{text}");
        let mut named = 0;
        for asset in text.split('"').filter(|part| part.starts_with("/assets/")) {
            let answer = server.client().get(asset);
            assert_eq!(answer.status, 200, "{asset}");
            assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
            named += 1;
        }
        assert!(3 <= named, "{text}");
        assert_eq!(text.matches("<script").count(), text.matches(" src=\"/assets/").count(), "a script of the page's own: {text}");
    }
    assert_eq!(server.client().get("/c/a%20b").code(), "invalid_parameter");
    for missing in ["/assets/nothing.js", "/assets/built-from.txt", "/assets/..%2Findex.html"] {
        assert_eq!(server.client().get(missing).status, 404, "{missing}");
    }
}

#[test]
fn an_asset_comes_compressed_to_those_who_take_that_and_a_first_load_is_small() {
    let data = tempfile::tempdir().unwrap();
    let server = TestServer::start(data.path(), NOW);
    let assets = web::assets();
    let mut total = 0;
    for asset in &assets {
        let target = format!("/assets/{asset}");
        let plain = server.client().get(&target);
        let unwanted = server.client().send("GET", &target, &[("accept-encoding", "gzip;q=0, br")], "");
        assert_eq!((unwanted.header("content-encoding"), &unwanted.body), (None, &plain.body));
        let compressed = server.client().send("GET", &target, &[("accept-encoding", "br, gzip")], "");
        assert_eq!(compressed.header("content-encoding"), Some("gzip"), "{asset}");
        assert!(compressed.body.starts_with(&[0x1f, 0x8b]));
        total += compressed.body.len();
    }
    assert!(5 <= assets.len() && total < 100_000, "{} assets of {total} bytes", assets.len());
}

#[test]
fn the_console_is_where_operators_are_and_the_claiming_page_is_for_everybody() {
    let data = tempfile::tempdir().unwrap();
    let args = ServeArgs { admin_listen: Some("127.0.0.1:0".parse().unwrap()), ..ServeArgs::default() };
    let server = TestServer::start_with(data.path(), NOW, args);
    let mut admin = http::Client::new(server.admin_address.unwrap());
    assert_eq!((admin.get("/").status, server.client().get("/").status), (200, 404));
    assert_eq!((admin.get("/c/spring").status, server.client().get("/c/spring").status), (200, 200));
    let asset = format!("/assets/{}", web::assets()[0]);
    assert_eq!((admin.get(&asset).status, server.client().get(&asset).status), (200, 200));
}
