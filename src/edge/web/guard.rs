//! Which addresses a source may ask that must stay out of private networks.
//!
//! Checked where the connection is made: a literal address before it is asked, a name by the only resolver that the client
//! has. So a name that resolves to something else the second time gets nowhere. Loopback is allowed: what runs there is asked
//! on purpose, and the daemon itself is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Blocks of IPv4 that are no host of the public internet: the registry of RFC 6890, multicast, and what is reserved.
const NO_HOSTS: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast is 224.0.0.0/4, and all above it is reserved.
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Blocks inside the unicast space of IPv6 (2000::/3) that are no host of the public internet: protocol assignments with
/// Teredo in them, 6to4, which may hide an IPv4 address, and two for documentation.
const NO_HOSTS_6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// May this address be asked?
pub fn public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || public_4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.is_loopback() || public_4(v4),
            None => v6.is_loopback() || public_6(v6),
        },
    }
}

fn public_4(v4: Ipv4Addr) -> bool {
    !NO_HOSTS.iter().any(|(block, bits)| (v4.to_bits() ^ block.to_bits()) >> (32 - bits) == 0) && !v4.is_loopback()
}

fn public_6(v6: Ipv6Addr) -> bool {
    let inside = |(block, bits): &(Ipv6Addr, u32)| (v6.to_bits() ^ block.to_bits()) >> (128 - bits) == 0;
    if inside(&(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)) {
        // NAT64: it leads to the IPv4 address in its last bits. A network without IPv4 has no other way to one.
        let [.., a, b, c, d] = v6.octets();
        return public_4(Ipv4Addr::new(a, b, c, d));
    }
    inside(&(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3)) && !NO_HOSTS_6.iter().any(inside)
}

/// Refuse an address that is written as numbers; the parsed form has been through every other spelling of them.
///
/// # Errors
/// That it is in a private network.
pub fn literal(url: &Url) -> Result<(), String> {
    // Names are for the resolver; the connector asks it for nothing that reads as an address.
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) if !public(address) => Err(refused(host)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn refused(host: &str) -> String {
    format!("{host} is in a private or reserved network, which is not asked without allowPrivate")
}

/// Resolves names and gives only addresses that may be asked.
#[derive(Debug)]
pub struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(permitted(name.as_str(), found)?)
        })
    }
}

/// The addresses of a name, if all of them may be asked.
///
/// # Errors
/// That one is in a private network, or that there is none.
pub fn permitted(name: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Addrs, String> {
    let (fine, not): (Vec<_>, Vec<_>) = found.partition(|address| public(address.ip()));
    // A name that leads to both is the trick itself: which of them is taken depends on who answers first.
    if fine.is_empty() || !not.is_empty() { Err(refused(name)) } else { Ok(Box::new(fine.into_iter())) }
}
