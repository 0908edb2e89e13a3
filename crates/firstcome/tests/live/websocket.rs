//! The other side of a WebSocket.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::net::{SocketAddr, TcpStream};

use tungstenite::{Message, WebSocket};

use testing::http::connect;

pub fn open(address: SocketAddr, campaign: &str) -> WebSocket<TcpStream> {
    over(connect(address).unwrap(), campaign)
}

pub fn over(socket: TcpStream, campaign: &str) -> WebSocket<TcpStream> {
    of(socket, &format!("campaigns/{campaign}"))
}

/// The stream of anything: `campaigns/spring`.
pub fn of(socket: TcpStream, what: &str) -> WebSocket<TcpStream> {
    tungstenite::client(format!("ws://localhost/v1/{what}/live"), socket).unwrap().0
}

/// The next event's JSON.
pub fn event(socket: &mut WebSocket<TcpStream>) -> String {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return text.as_str().to_owned();
        }
    }
}

/// With which code it is closed.
pub fn close_code(socket: &mut WebSocket<TcpStream>) -> Option<u16> {
    loop {
        if let Message::Close(frame) = socket.read().unwrap() {
            return frame.map(|frame| frame.code.into());
        }
    }
}
