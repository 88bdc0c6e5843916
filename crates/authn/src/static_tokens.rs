//! The static token file: CSV lines `token,user,uid,"group,group"`, read once at start.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use meta::UserInfo;

/// Users by the hash of their token: the tokens themselves are not kept.
#[derive(Clone, Default)]
pub struct StaticTokens(HashMap<[u8; 32], Arc<UserInfo>>);

/// What is wrong with a token file. Names the line, never the token.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadTokenFile {
    #[error("token file line {0}: must have at least 3 columns (token, user name, user uid)")]
    Columns(usize),
    #[error("token file line {0}: empty token")]
    Empty(usize),
    #[error("token file line {0}: a quotation mark is not closed or stands inside a plain field")]
    Quote(usize),
}

impl StaticTokens {
    /// # Errors
    /// A line with fewer than three columns, an empty token, or bad quoting.
    pub fn parse(text: &str) -> Result<Self, BadTokenFile> {
        let mut users = HashMap::new();
        for (n, line) in text.lines().enumerate().map(|(n, l)| (n + 1, l)) {
            if line.is_empty() {
                continue;
            }
            let fields = split(line).ok_or(BadTokenFile::Quote(n))?;
            let [token, name, uid, rest @ ..] = fields.as_slice() else { return Err(BadTokenFile::Columns(n)) };
            if token.is_empty() {
                return Err(BadTokenFile::Empty(n));
            }
            let groups = rest.first().map(|g| g.split(',').map(str::to_owned).collect()).unwrap_or_default();
            let user = UserInfo { name: name.clone(), uid: uid.clone(), groups, ..Default::default() };
            users.insert(hash(token), Arc::new(user));
        }
        Ok(StaticTokens(users))
    }

    pub fn find(&self, token: &str) -> Option<Arc<UserInfo>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&hash(token)).cloned()
    }
}

impl std::fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StaticTokens({})", self.0.len())
    }
}

pub(crate) fn hash(token: &str) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    out
}

/// The fields of a CSV line: plain or in quotation marks (doubled inside), leading spaces dropped.
fn split(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut rest) = (Vec::new(), line);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let mut field = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let (before, after) = quoted.split_once('"')?;
                field.push_str(before);
                match after.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        quoted = more;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            if field.contains('"') {
                return None;
            }
            rest = &rest[end..];
        }
        fields.push(field);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return rest.is_empty().then_some(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_token_user_uid_and_groups() {
        let tokens =
            StaticTokens::parse("alice-token,alice,uid-alice,\"developers,ops\"\nbob-token,bob,uid-bob\n").unwrap();
        let alice = tokens.find("alice-token").unwrap();
        assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice", "uid-alice"));
        assert_eq!(alice.groups, ["developers", "ops"]);
        assert!(tokens.find("bob-token").unwrap().groups.is_empty());
        assert!(tokens.find("alice-toke").is_none());
    }

    #[test]
    fn a_bad_line_is_fatal_and_named() {
        let check = |text: &str, want: BadTokenFile| assert_eq!(StaticTokens::parse(text).unwrap_err(), want, "{text}");
        check("a,b", BadTokenFile::Columns(1));
        check("a,b,c\n,x,y", BadTokenFile::Empty(2));
        check("a,b,c,\"open", BadTokenFile::Quote(1));
    }
}
