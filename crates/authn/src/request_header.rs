//! The front proxy: a client whose certificate is of the request-header authority says in headers who the user is.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use meta::{Time, UserInfo};

use crate::bearer::text;
use crate::chain::{Authenticated, Finding, Refusal};
use crate::x509::{Authorities, BadAuthority, Peer, Purpose};

/// The `--requestheader-*` flags. Only headers named here are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestHeader {
    /// DER.
    pub authorities: Vec<Vec<u8>>,
    /// Empty: any name.
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

pub(crate) struct Link {
    authorities: Authorities,
    names: RequestHeader,
}

impl Link {
    pub(crate) fn new(names: RequestHeader) -> Result<Self, BadAuthority> {
        Ok(Link { authorities: Authorities::new(&names.authorities, Purpose::Proxy)?, names })
    }

    pub(crate) fn names(&self) -> &RequestHeader {
        &self.names
    }

    pub(crate) fn authenticate(&self, peer: &Peer, headers: &HeaderMap, now: Time) -> Finding {
        let verified = match self.authorities.verify(peer, now) {
            Ok(verified) => verified,
            Err(refusal) => return Finding::Refused(refusal),
        };
        let allowed = &self.names.allowed_names;
        if !allowed.is_empty() && !allowed.contains(&verified.common_name) {
            return Finding::Refused(Refusal::new(format!(
                "x509: subject with cn={} is not in the allowed list",
                verified.common_name
            )));
        }
        match self.user(headers) {
            Some(user) => Finding::Known(Authenticated::new(Arc::new(user))),
            None => Finding::NotMine,
        }
    }

    fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let first = |names: &[String]| names.iter().flat_map(|n| values(headers, n)).find(|v| !v.is_empty());
        let name = first(&self.names.username_headers)?;
        let uid = first(&self.names.uid_headers).unwrap_or_default();
        let groups = self.names.group_headers.iter().flat_map(|n| values(headers, n)).collect();
        Some(UserInfo { name, uid, groups, extra: self.extra(headers) })
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for prefix in self.names.extra_prefixes.iter().map(|p| p.to_ascii_lowercase()) {
            for name in headers.keys() {
                let Some(rest) = name.as_str().strip_prefix(prefix.as_str()) else { continue };
                let key = percent_decode(&rest.to_ascii_lowercase());
                extra.entry(key).or_default().extend(values(headers, name.as_str()));
            }
        }
        extra
    }
}

fn values(headers: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    headers.get_all(name.to_ascii_lowercase()).iter().map(|v| text(v).into_owned())
}

/// `%2f` → `/`; a text with a bad escape stays as it is, as does one that is not UTF-8.
pub fn percent_decode(text: &str) -> String {
    let decode = || {
        let (mut out, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((first, tail)) = rest.split_first() {
            if *first != b'%' {
                out.push(*first);
                rest = tail;
                continue;
            }
            let digit = |b: u8| (b as char).to_digit(16);
            let (high, low) = (digit(*tail.first()?)?, digit(*tail.get(1)?)?);
            out.push((high * 16 + low) as u8);
            rest = &tail[2..];
        }
        String::from_utf8(out).ok()
    };
    decode().unwrap_or_else(|| text.to_owned())
}
