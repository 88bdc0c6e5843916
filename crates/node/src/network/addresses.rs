//! Which pod has which address: out of the node's range, kept on disk by pod uid.

use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// A range of IPv4 addresses in CIDR form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    base: u32,
    prefix: u8,
}

impl Range {
    /// Parses `a.b.c.d/n`, n from 8 to 30; host bits are cleared.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix) = (address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?);
        (8..=30).contains(&prefix).then(|| Self { base: u32::from(address) & mask(prefix), prefix })
    }

    /// Whether it holds the address.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == self.base
    }

    /// Without the network's own, the first (a gateway's by custom) and the broadcast address.
    fn usable(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let last = self.base | !mask(self.prefix);
        (self.base + 2..last).map(Ipv4Addr::from)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX << (32 - u32::from(prefix))
}

/// The addresses that are given out.
pub(super) struct Addresses {
    file: PathBuf,
    range: Range,
    given: BTreeMap<String, Ipv4Addr>,
    last: Option<Ipv4Addr>,
}

impl Addresses {
    /// Reads what was given out before. Addresses outside the range (it was changed) are forgotten.
    pub(super) fn open(file: &Path, range: Range) -> io::Result<Self> {
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(error) => return Err(error),
        };
        let mut given: BTreeMap<String, Ipv4Addr> = serde_json::from_slice(&text)?;
        given.retain(|_, address| range.contains(*address));
        Ok(Self { file: file.into(), range, given, last: None })
    }

    /// The pod's address, a new one if it has none; none when the range is used up. An address that was given back is
    /// used again as late as possible, so that old connections do not reach a new pod.
    pub(super) fn give(&mut self, uid: &str) -> io::Result<Option<Ipv4Addr>> {
        if let Some(address) = self.given.get(uid) {
            return Ok(Some(*address));
        }
        let free = |address: &Ipv4Addr| !self.given.values().any(|taken| taken == address);
        let after = self.range.usable().filter(|address| self.last.is_none_or(|last| *address > last)).find(free);
        let Some(address) = after.or_else(|| self.range.usable().find(free)) else { return Ok(None) };
        self.given.insert(uid.into(), address);
        self.last = Some(address);
        self.save().map(|()| Some(address))
    }

    /// Takes an address back.
    pub(super) fn take(&mut self, uid: &str) -> io::Result<()> {
        match self.given.remove(uid) {
            Some(_) => self.save(),
            None => Ok(()),
        }
    }

    fn save(&self) -> io::Result<()> {
        let aside = self.file.with_extension("new");
        fs::write(&aside, serde_json::to_vec(&self.given)?)?;
        fs::rename(aside, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir, range: &str) -> Addresses {
        Addresses::open(&folder.path().join("ips.json"), Range::parse(range).unwrap()).unwrap()
    }

    #[test]
    fn a_pod_keeps_its_address_over_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(&folder, "10.1.0.0/24").give("a").unwrap();
        assert_eq!(first, Some(Ipv4Addr::new(10, 1, 0, 2)));
        let mut again = open(&folder, "10.1.0.0/24");
        assert_eq!(again.give("a").unwrap(), first);
        assert_eq!(again.give("b").unwrap(), Some(Ipv4Addr::new(10, 1, 0, 3)));
    }

    #[test]
    fn an_address_is_reused_late_and_the_range_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut addresses = open(&folder, "10.1.0.0/29"); // usable: .2 to .6
        for uid in ["a", "b", "c", "d"] {
            addresses.give(uid).unwrap().unwrap();
        }
        addresses.take("a").unwrap();
        assert_eq!(addresses.give("e").unwrap(), Some(Ipv4Addr::new(10, 1, 0, 6)));
        assert_eq!(addresses.give("f").unwrap(), Some(Ipv4Addr::new(10, 1, 0, 2)));
        assert_eq!(addresses.give("g").unwrap(), None);
    }

    #[test]
    fn a_range_is_parsed_strictly() {
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/31", "x/24", "10.0.0/24", "::/64"] {
            assert_eq!(Range::parse(bad), None, "{bad}");
        }
        assert_eq!(Range::parse("10.1.2.3/16").unwrap().to_string(), "10.1.0.0/16");
    }
}
