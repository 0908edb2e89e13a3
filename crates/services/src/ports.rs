//! Free ports, below the range that the system uses for outgoing connections: a killed and restarted engine
//! must find its port free even under load.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::error::ServiceError;

const FIRST: u16 = 12_000;
/// Linux assigns ports from 32,768 on to outgoing connections.
const LAST: u16 = 31_999;

/// A port of 127.0.0.1 that is not in use, and that this process has not returned before.
pub(crate) fn free() -> Result<u16, ServiceError> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let count = LAST - FIRST + 1;
    // Each process begins at another port, so that two that start at once rarely collide.
    let next = NEXT.get_or_init(|| {
        let random = RandomState::new().hash_one(std::process::id());
        let Ok(begin) = u16::try_from(random % u64::from(count)) else { unreachable!("a remainder is below its divisor, a u16") };
        AtomicU16::new(begin)
    });
    (0..count)
        .map(|_| FIRST + next.fetch_add(1, Ordering::Relaxed) % count)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(ServiceError::NoFreePort { first: FIRST, last: LAST })
}
