//! IP addresses and CIDR blocks, as strictly as upstream reads them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address as Go's legacy parser reads it: leading zeros in IPv4 are decimal.
pub(super) fn parse_sloppy(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(|v6| v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4));
    }
    let parts: Vec<&str> = text.split('.').collect();
    let [a, b, c, d] = parts.as_slice() else { return None };
    let byte =
        |p: &&str| if p.is_empty() || !p.bytes().all(|c| c.is_ascii_digit()) { None } else { p.parse::<u8>().ok() };
    Some(IpAddr::V4(Ipv4Addr::new(byte(a)?, byte(b)?, byte(c)?, byte(d)?)))
}

/// What is wrong with an address in a field of long standing (canonical form is not asked for).
pub(super) fn legacy_ip(text: &str) -> Option<&'static str> {
    if parse_sloppy(text).is_none() {
        return Some(NO_IP);
    }
    if text.contains(':') {
        let mapped = text.parse::<Ipv6Addr>().ok().is_some_and(|v6| v6.to_ipv4_mapped().is_some());
        return mapped.then_some("must not be an IPv4-mapped IPv6 address");
    }
    let padded = text.split('.').any(|p| p.len() > 1 && p.starts_with('0'));
    padded.then_some("must not have leading 0s")
}

/// The same for a field that asks for the canonical form.
pub(super) fn canonical_ip(text: &str) -> Option<String> {
    if let Some(error) = legacy_ip(text) {
        return Some(error.to_owned());
    }
    let canonical = parse_sloppy(text)?.to_string();
    (canonical != text).then(|| format!("must be in canonical form ({canonical:?})"))
}

/// Address and prefix length.
pub(super) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let ip = parse_sloppy(address)?;
    let mapped = address.contains(':') && ip.is_ipv4();
    if bits.is_empty() || !bits.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let bits: u8 = bits.parse().ok()?;
    let max = if ip.is_ipv4() && !mapped { 32 } else { 128 };
    (bits <= max).then_some((ip, bits))
}

/// The block's lowest address.
pub(super) fn network(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

/// What is wrong with a CIDR in a field of long standing.
pub(super) fn legacy_cidr(text: &str) -> Option<&'static str> {
    let Some((ip, bits)) = parse_cidr(text) else { return Some(NO_CIDR) };
    let (address, length) = text.split_once('/')?;
    if address.contains(':') && ip.is_ipv4() {
        return Some("must not have an IPv4-mapped IPv6 address");
    }
    let padded = |p: &str| p.len() > 1 && p.starts_with('0');
    if (!address.contains(':') && address.split('.').any(padded)) || padded(length) {
        return Some("must not have leading 0s in IP or prefix length");
    }
    (network(ip, bits) != ip).then_some("must not have bits set beyond the prefix length")
}

/// What is unusual in an address that may be kept.
pub(crate) fn ip_warnings(at: &str, text: &str) -> Option<String> {
    let ip = parse_sloppy(text)?;
    let strict = text.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() || !text.contains('.'));
    match strict {
        Some(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let canonical = v6.to_string();
            (canonical != text)
                .then(|| format!("{at}: IPv6 address {text:?} should be in RFC 5952 canonical format ({canonical:?})"))
        }
        Some(IpAddr::V4(_)) => None,
        _ => Some(format!("{at}: non-standard IP address {text:?} is invalid: use {:?}", ip.to_string())),
    }
}

/// The same for a block of addresses.
pub(crate) fn cidr_warnings(at: &str, text: &str) -> Vec<String> {
    let Some((ip, bits)) = parse_cidr(text) else { return Vec::new() };
    let (whole, base) = (if ip.is_ipv4() { 32 } else { 128 }, network(ip, bits));
    let mut found = Vec::new();
    if base != ip {
        found.push(format!(
            "{at}: CIDR value {text:?} is ambiguous in this context (should be \"{base}/{bits}\" or \"{ip}/{whole}\"?)"
        ));
    }
    let strict = text.split_once('/').is_some_and(|(address, length)| {
        let padded = length.len() > 1 && length.starts_with('0');
        address.parse::<IpAddr>().is_ok_and(|a| a.is_ipv6() == ip.is_ipv6()) && !padded
    });
    if !strict {
        found.push(format!("{at}: non-standard CIDR value {text:?} is invalid: use \"{base}/{bits}\""));
    }
    let canonical = format!("{ip}/{bits}");
    if found.is_empty() && ip.is_ipv6() && canonical != text {
        found.push(format!("{at}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({canonical:?})"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        assert_eq!(legacy_ip("10.0.0.1"), None);
        assert_eq!(legacy_ip("x"), Some(NO_IP));
        assert_eq!(legacy_ip("10.0.0.01"), Some("must not have leading 0s"));
        assert_eq!(legacy_ip("::ffff:1.2.3.4"), Some("must not be an IPv4-mapped IPv6 address"));
        assert_eq!(canonical_ip("FD00::1").as_deref(), Some("must be in canonical form (\"fd00::1\")"));
        assert_eq!(legacy_cidr("10.0.0.0/24"), None);
        assert_eq!(legacy_cidr("10.0.0.1/24"), Some("must not have bits set beyond the prefix length"));
        assert_eq!(legacy_cidr("10.0.0.0/33"), Some(NO_CIDR));
    }
}
