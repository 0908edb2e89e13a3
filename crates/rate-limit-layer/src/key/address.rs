//! The client's address, also behind proxies, and only behind those that are trusted.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::{Extensions, HeaderMap};

use super::{Asked, Extract};

/// The field that proxies append to. `Forwarded` (RFC 7239) is not read: a proxy appends to one of
/// the two and passes the other on as the client wrote it, so reading both would trust the client.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A range of addresses, as `10.0.0.0/8` or `2001:db8::/32`; a single address is a range of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    network: IpAddr,
    bits: u8,
}

/// The text is no range of addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CidrError(String);

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no range of addresses such as 10.0.0.0/8 or 2001:db8::/32", self.0)
    }
}

impl std::error::Error for CidrError {}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let network: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if network.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse::<u8>().map_err(|_| wrong()))?;
        if most < bits { Err(wrong()) } else { Ok(Self { network, bits }) }
    }
}

impl Cidr {
    /// Whether the address is in the range. An IPv4 address that is written as IPv6 is IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                network.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TrustedProxies(Vec<Cidr>);

impl FromIterator<Cidr> for TrustedProxies {
    fn from_iter<T: IntoIterator<Item = Cidr>>(ranges: T) -> Self {
        Self(ranges.into_iter().collect())
    }
}

impl TrustedProxies {
    fn hold(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(address))
    }

    /// The client of a request that came from `peer`; an IPv4 address that is written as IPv6 is
    /// given as IPv4.
    ///
    /// Reads from the right: each trusted proxy vouches for what it appended, the address of who
    /// asked it. The first that is not trusted is the client; what stands left of it is what the
    /// client wrote, and means nothing. Where a proxy appended something that is no address, the
    /// last one that is known stands for its clients.
    #[must_use]
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.hold(client) {
            return client;
        }
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            for entry in value.as_bytes().rsplit(|byte| *byte == b',') {
                let Some(address) = parse_entry(entry) else { return client };
                client = address;
                if !self.hold(client) {
                    return client;
                }
            }
        }
        client
    }
}

/// The key is the client's address; of IPv6 the first 64 bits, because a single client may use any
/// address of such a network.
pub struct ClientAddress<P> {
    peer: P,
    proxies: TrustedProxies,
}

/// The key is the client's address. `peer` says who is at the other end of the connection, from
/// what the server attached to the request; see `examples/axum.rs`. Requests for which it says
/// nothing share one key.
#[must_use]
pub fn client_address<P: Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static>(peer: P) -> ClientAddress<P> {
    ClientAddress { peer, proxies: TrustedProxies::default() }
}

impl<P> ClientAddress<P> {
    /// Believes `X-Forwarded-For` of peers in these ranges: see [`TrustedProxies::client_of`].
    /// Without any, the field is not read.
    #[must_use]
    pub fn trust(self, proxies: impl IntoIterator<Item = Cidr>) -> Self {
        let proxies = self.proxies.0.into_iter().chain(proxies).collect();
        Self { proxies, ..self }
    }
}

/// An address, perhaps with a port.
fn parse_entry(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

impl<P: Fn(&Extensions) -> Option<SocketAddr> + Send + Sync + 'static> Extract for ClientAddress<P> {
    fn extract(&self, asked: &Asked<'_>, key: &mut Vec<u8>) {
        let Some(peer) = (self.peer)(asked.extensions) else { return };
        match self.proxies.client_of(peer.ip(), asked.headers) {
            IpAddr::V4(address) => key.extend_from_slice(&address.octets()),
            IpAddr::V6(address) => key.extend(network_of(address)),
        }
    }
}

fn network_of(address: Ipv6Addr) -> impl Iterator<Item = u8> {
    address.octets().into_iter().take(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(peer: &str, fields: &[&'static str]) -> String {
        let proxies: TrustedProxies = ["10.0.0.0/8", "2001:db8:1::/48"].iter().map(|range| range.parse::<Cidr>().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for value in fields {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(value));
        }
        proxies.client_of(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_forged_field_of_an_untrusted_peer_changes_nothing() {
        assert_eq!(client("203.0.113.7", &["198.51.100.1"]), "203.0.113.7");
        assert_eq!(client("203.0.113.7", &["10.0.0.1, 10.0.0.2"]), "203.0.113.7");
    }

    #[test]
    fn what_the_client_wrote_left_of_its_own_address_changes_nothing() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1, 203.0.113.7"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["198.51.100.1", "203.0.113.7, 10.9.9.9"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["10.0.0.5, 203.0.113.7, 10.0.0.4"]), "203.0.113.7");
    }

    #[test]
    fn without_a_field_or_with_nonsense_the_last_known_address_counts() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.3"]), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &[""]), "10.0.0.1");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_read() {
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.7:4711"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["[2001:db8:2::7]:4711"]), "2001:db8:2::7");
        assert_eq!(client("2001:db8:1::1", &["[2001:db8:2::7]"]), "2001:db8:2::7");
        assert_eq!(client("10.0.0.1", &["::ffff:203.0.113.7"]), "203.0.113.7");
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let holds = |range: &str, address: &str| range.parse::<Cidr>().unwrap().contains(address.parse().unwrap());
        assert!(holds("10.1.0.0/16", "10.1.255.255") && !holds("10.1.0.0/16", "10.2.0.0"));
        assert!(holds("0.0.0.0/0", "1.2.3.4") && !holds("0.0.0.0/0", "::1") && holds("::/0", "::1"));
        assert!(holds("10.1.2.3", "10.1.2.3") && !holds("10.1.2.3", "10.1.2.4"));
        for text in ["10.0.0.0/33", "10.0.0/8", "::/129", "", "10.0.0.0/x"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
