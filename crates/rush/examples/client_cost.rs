//! What the load generator itself costs: it runs against the small server of
//! the tests, in a process of its own, and tells the processor time of both.
//!
//! `cargo run --release -p rush --example client_cost [CONNECTIONS] [REPORT.html]`

#[path = "../tests/all/support/mod.rs"]
mod support;

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rush::coupon::{self, Options};
use support::{Behaviour, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new()?;
    if arguments.first().is_some_and(|first| first == "serve") {
        return runtime.block_on(serve());
    }
    let connections = arguments.first().map_or(Ok(512), |count| count.parse())?;
    let (mut child, url) = start_server()?;
    let result = runtime.block_on(measure(&url, child.id(), connections));
    child.kill()?;
    child.wait()?;
    let report = result?;
    std::io::stdout().write_all(report.table().as_bytes())?;
    if let Some(path) = arguments.get(1) {
        fs::write(path, report.html())?;
    }
    Ok(())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let server = Server::start(Behaviour::default()).await;
    writeln!(std::io::stdout(), "{}", server.url)?;
    std::future::pending().await
}

fn start_server() -> Result<(Child, String), Box<dyn Error>> {
    let mut child = Command::new(env::current_exe()?).arg("serve").stdout(Stdio::piped()).spawn()?;
    let mut url = String::new();
    let stdout = child.stdout.take().ok_or("the server has no output")?;
    BufReader::new(stdout).read_line(&mut url)?;
    Ok((child, url.trim().to_owned()))
}

async fn measure(url: &str, server_pid: u32, connections: usize) -> Result<coupon::Report, rush::Error> {
    coupon::run(&Options {
        url: url.to_owned(),
        other_urls: Vec::new(),
        campaign: "rush-cost".to_owned(),
        users: 300_000,
        stock: 30_000,
        connections,
        over: Duration::ZERO,
        repeat_percent: 5,
        decisions_per_second: None,
        request_timeout: Duration::from_secs(10),
        server_pid: Some(server_pid),
        token: None,
        admin_url: None,
        admin_token: None,
        progress: true,
    })
    .await
}
