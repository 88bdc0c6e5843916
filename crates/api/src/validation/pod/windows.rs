//! Options of Windows containers: whose name they run under and with which credential specification.

use document::Value;
use meta::field::{Path, Shown};
use meta::names;

use crate::validation::check::Check;

const SPEC_KIB: usize = 64;
const DOMAIN_MOST: usize = 256;
const USER_MOST: usize = 104;

pub(super) fn options(check: &mut Check, options: &Value, path: &Path) {
    // the values are pointers, which print as JSON
    if let Some(name) = options["gmsaCredentialSpecName"].as_str() {
        let at = path.child("gmsaCredentialSpecName");
        names::dns1123_subdomain(name).iter().for_each(|m| check.invalid(&at, Shown::json_string(name), m));
    }
    if let Some(spec) = options["gmsaCredentialSpec"].as_str() {
        let at = path.child("gmsaCredentialSpec");
        if spec.is_empty() {
            check.invalid(&at, Shown::json_string(spec), "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > SPEC_KIB << 10 {
            let detail = format!("gmsaCredentialSpec size must be under {SPEC_KIB} KiB");
            check.invalid(&at, Shown::json_string(spec), &detail);
        }
    }
    if let Some(name) = options["runAsUserName"].as_str() {
        let at = path.child("runAsUserName");
        user_name(name).iter().for_each(|m| check.invalid(&at, Shown::json_string(name), m));
    }
}

/// What is wrong with `USER` or `DOMAIN\USER`.
fn user_name(name: &str) -> Vec<String> {
    let one = |text: &str| vec![text.to_owned()];
    if name.is_empty() {
        return one("runAsUserName cannot be an empty string");
    }
    if name.bytes().any(|c| c.is_ascii_control()) {
        return one("runAsUserName cannot contain control characters");
    }
    let (domain, user) = match name.split('\\').collect::<Vec<_>>()[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return one("runAsUserName cannot contain more than one backslash"),
    };
    let mut wrong = Vec::new();
    if domain.is_some_and(|d| d.len() >= DOMAIN_MOST) {
        wrong.push(format!("runAsUserName's Domain length must be under {DOMAIN_MOST} characters"));
    }
    if domain.is_some_and(|d| !is_net_bios(d) && !is_dns(d)) {
        wrong.push("runAsUserName's Domain doesn't match the NetBios nor the DNS format".into());
    }
    if user.is_empty() {
        wrong.push("runAsUserName's User cannot be empty".into());
    } else if user.len() > USER_MOST {
        wrong.push(format!("runAsUserName's User length must not be longer than {USER_MOST} characters"));
    }
    if !user.is_empty() && user.bytes().all(|c| c == b'.' || c == b' ') {
        wrong.push("runAsUserName's User cannot contain only periods or spaces".into());
    }
    if user.contains(|c: char| "\"/\\:;|=,+*?<>@[]".contains(c)) {
        wrong.push("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".into());
    }
    wrong
}

fn is_net_bios(domain: &str) -> bool {
    let length = domain.chars().count();
    (1..=15).contains(&length) && !domain.starts_with('.') && !domain.contains(|c: char| "\\/:*?\"<>|".contains(c))
}

fn is_dns(domain: &str) -> bool {
    let label = |l: &str| {
        let b = l.as_bytes();
        let ends = [b.first(), b.last()].iter().all(|c| c.is_some_and(u8::is_ascii_alphanumeric));
        ends && b.len() <= 63 && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-')
    };
    domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_may_have_a_domain() {
        let check = |name: &str, wrong: usize| assert_eq!(user_name(name).len(), wrong, "{name}");
        check("bob", 0);
        check("NT AUTHORITY\\SYSTEM", 0);
        check("a.example.com\\bob", 0);
        check("", 1);
        check("a\\b\\c", 1);
        check(".\\bob", 1);
        check("a\\", 1);
        check("...", 1);
        check("a@b", 1);
    }
}
