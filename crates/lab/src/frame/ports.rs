//! Free ports for servers that are restarted on the same port: below the range that the system uses for
//! outgoing connections, of which a rush opens hundreds.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use super::error::LabError;
use super::tools::random_number;

const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

pub(crate) fn free() -> Result<u16, LabError> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let Ok(begin) = u16::try_from(random_number() % u64::from(COUNT)) else { unreachable!("a remainder is below its divisor, a u16") };
    let ports = (0..COUNT).map(|_| FIRST + (begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))) % COUNT);
    let found = ports.into_iter().find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    found.ok_or_else(|| LabError::Other { what: "no port is free", why: format!("from {FIRST} on") })
}
