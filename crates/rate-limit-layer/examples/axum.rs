//! A small service with two limits: per client address, also behind a trusted proxy, and per API
//! key. `cargo run --release -p rate-limit-layer --example axum`, then
//! `for i in 1 2 3 4 5 6 7; do curl -si http://127.0.0.1:7080/ | head -5; done`.
#![expect(clippy::print_stdout, reason = "an example says where it listens")]

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use rate_limit_layer::{Algorithm, RateLimitLayer, Settings, key};

/// The service below the layer.
fn service(limits: RateLimitLayer) -> Router {
    Router::new().route("/", get(|| async { "served\n" })).layer(limits)
}

fn limits() -> Result<RateLimitLayer, Box<dyn Error>> {
    // axum attaches the address of the peer; the proxy on this machine is believed.
    let peer = |extensions: &http::Extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let address = key::client_address(peer).trust(["127.0.0.0/8".parse()?, "::1".parse()?]);
    let limits = RateLimitLayer::builder()
        // One a second, and a burst of four above one.
        .limit("address", Settings::per_second(Algorithm::LeakyBucket, 1).with_burst(4), address)
        .limit("key", Settings::per_minute(Algorithm::SlidingWindowCounter, 100), key::api_key())
        .build()?;
    Ok(limits)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:7080").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, service(limits()?).into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}
