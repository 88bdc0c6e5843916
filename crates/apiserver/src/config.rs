//! What the server is told once, at start.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Addresses, keys and limits. The defaults are upstream's where upstream has the same limit.
#[derive(Clone)]
pub struct Config {
    pub listeners: Vec<Listener>,
    pub tls: Tls,
    /// `host:port` that `/api` and the issuer's discovery print.
    pub server_address: String,
    /// Version of this program, the suffix of `gitVersion`.
    pub version: String,
    /// Reading requests at once; beyond that 429; 0: no bound.
    pub max_requests_in_flight: usize,
    /// Writing requests at once.
    pub max_mutating_requests_in_flight: usize,
    /// Connections at once, all listeners together; further ones wait to be accepted.
    pub max_connections: usize,
    /// Bytes of a request body; beyond that 413.
    pub max_body: usize,
    /// A request that is not long-running and not done by then is answered 504.
    pub request_timeout: Duration,
    /// How long the server goes on as before after it was told to end, so that balancers see `/readyz` fail.
    pub shutdown_delay: Duration,
    /// How long streams may take to finish after that.
    pub drain: Duration,
    /// Streams of one HTTP/2 connection at once.
    pub max_streams: u32,
    /// Shortest time after which a watch without `timeoutSeconds` ends; up to twice that.
    pub min_watch_timeout: Duration,
    /// How logs, exec, attach and port-forward reach kubelets.
    pub kubelet: Option<Arc<KubeletClient>>,
    /// What the issuer publishes.
    pub issuer: IssuerDocuments,
    /// Names and values of the process's flags as `/flagz` shows them; no secrets.
    pub flags: BTreeMap<String, String>,
}

/// Where connections are taken.
#[derive(Clone, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    /// Only connections from these ranges; `None`: from anywhere.
    pub sources: Option<Vec<Range>>,
}

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub address: IpAddr,
    pub bits: u8,
}

/// Certificates and keys as PEM.
#[derive(Clone)]
pub struct Tls {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    /// Authorities whose client certificates may name users; several PEM bundles.
    pub client_authorities: Vec<Vec<u8>>,
    pub min_version: TlsVersion,
    /// Names of TLS 1.2 suites by IANA; empty: all that are sound. Those of TLS 1.3 are always on, as upstream's are.
    pub cipher_suites: Vec<String>,
}

/// `--tls-min-version`; nothing older is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    #[default]
    Tls12,
    Tls13,
}

/// The identity with which kubelets are called.
#[derive(Clone)]
pub struct KubeletClient {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
    /// Authorities of kubelets' serving certificates; empty: they are not verified, as upstream's default.
    pub authorities: Vec<u8>,
}

/// Issuer discovery, made by the issuer: both as JSON text.
#[derive(Clone, Default)]
pub struct IssuerDocuments {
    pub configuration: String,
    pub keys: String,
}

impl Config {
    /// Everything that has a default.
    pub fn new(tls: Tls, server_address: impl Into<String>) -> Self {
        Config {
            listeners: Vec::new(),
            tls,
            server_address: server_address.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            max_requests_in_flight: 400,
            max_mutating_requests_in_flight: 200,
            max_connections: 20_000,
            max_body: 3 * 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            shutdown_delay: Duration::ZERO,
            drain: Duration::from_secs(10),
            max_streams: 100,
            min_watch_timeout: Duration::from_secs(1800),
            kubelet: None,
            issuer: IssuerDocuments::default(),
            flags: BTreeMap::new(),
        }
    }
}

impl Listener {
    pub fn open(address: SocketAddr) -> Self {
        Listener { address, sources: None }
    }

    /// Whether a connection from here is taken.
    pub fn takes(&self, from: IpAddr) -> bool {
        self.sources.as_ref().is_none_or(|ranges| ranges.iter().any(|r| r.contains(from)))
    }
}

impl Range {
    pub fn new(address: IpAddr, bits: u8) -> Self {
        Range { address, bits }
    }

    /// Just this address.
    pub fn host(address: IpAddr) -> Self {
        Range { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// `10.0.0.0/24` or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let Some((address, bits)) = text.split_once('/') else { return text.parse().ok().map(Range::host) };
        let (address, bits): (IpAddr, u8) = (address.parse().ok()?, bits.parse().ok()?);
        (bits <= Range::host(address).bits).then_some(Range { address, bits })
    }

    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                same_prefix(u32::from(a).into(), u32::from(b).into(), 32 - u32::from(self.bits.min(32)))
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => same_prefix(a.into(), b.into(), 128 - u32::from(self.bits.min(128))),
            _ => false,
        }
    }
}

fn same_prefix(a: u128, b: u128, drop: u32) -> bool {
    a.checked_shr(drop).unwrap_or(0) == b.checked_shr(drop).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_takes_only_its_sources() {
        let ranges = ["10.88.0.0/16", "127.0.0.1"].map(|r| Range::parse(r).unwrap());
        let listener = Listener { address: "127.0.0.1:443".parse().unwrap(), sources: Some(ranges.to_vec()) };
        for (from, want) in
            [("10.88.3.4", true), ("::ffff:10.88.3.4", true), ("127.0.0.1", true), ("10.89.0.1", false), ("::1", false)]
        {
            assert_eq!(listener.takes(from.parse().unwrap()), want, "{from}");
        }
        assert!(Range::parse("0.0.0.0/0").unwrap().contains("9.9.9.9".parse().unwrap()));
        assert!(Range::parse("1.2.3.4/33").is_none());
    }
}
