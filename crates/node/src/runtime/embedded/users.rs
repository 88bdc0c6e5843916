//! Who a container runs as: `securityContext` first, then the image's USER, looked up in the image's own files.

use std::path::Path;

use crate::{
    image::inroot,
    runtime::{Result, RuntimeError, SecurityContext},
};

/// Largest passwd or group file that is read.
const LARGEST: u64 = 4 << 20;

/// Largest user or group: upstream's. 4294967295 would mean "unchanged" to the kernel, which is root.
const LARGEST_ID: u32 = i32::MAX as u32;

/// Resolved ids.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

/// Resolves against the files below `root`.
pub(super) fn resolve(root: &Path, image_user: &str, security: &SecurityContext) -> Result<User> {
    let read = |path| inroot::read(root, path, LARGEST).unwrap_or_default();
    lookup(&read("/etc/passwd"), &read("/etc/group"), image_user, security)
}

fn lookup(passwd: &str, group: &str, image_user: &str, security: &SecurityContext) -> Result<User> {
    let (image_name, image_group) = match image_user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (image_user, None),
    };
    let unknown = |name: &str| {
        RuntimeError::InvalidSpec(format!("unable to find user {name}: no matching entries in passwd file"))
    };
    let (uid, account) = match security.run_as_user {
        Some(uid) => (uid, accounts(passwd).find(|account| account.uid == uid)),
        None if image_name.is_empty() => (0, accounts(passwd).find(|account| account.uid == 0)),
        // a number is always an id: an account that is called so must not turn it into root behind runAsNonRoot
        None => match image_name.parse() {
            Ok(uid) => (uid, accounts(passwd).find(|account| account.uid == uid)),
            Err(_) => {
                let account = accounts(passwd).find(|account| account.name == image_name);
                let account = account.ok_or_else(|| unknown(image_name))?;
                (account.uid, Some(account))
            }
        },
    };
    let gid = match (security.run_as_group, image_group) {
        (Some(gid), _) => gid,
        (None, Some(name)) if security.run_as_user.is_none() => group_id(group, name)?,
        _ => account.as_ref().map_or(0, |account| account.gid),
    };
    let member_of = account.iter().flat_map(|account| memberships(group, account.name));
    if uid > LARGEST_ID || gid > LARGEST_ID {
        return Err(RuntimeError::InvalidSpec(format!("user {uid} or group {gid} is larger than {LARGEST_ID}")));
    }
    let mut groups: Vec<_> = security.supplemental_groups.iter().copied().chain(member_of).chain([gid]).collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(User { uid, gid, groups })
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Account { name, uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

fn group_id(group: &str, name: &str) -> Result<u32> {
    let by_name = || groups(group).find(|(known, ..)| *known == name).map(|(_, gid, _)| gid);
    name.parse().ok().or_else(by_name).ok_or_else(|| {
        RuntimeError::InvalidSpec(format!("unable to find group {name}: no matching entries in group file"))
    })
}

fn memberships<'a>(group: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups(group).filter(move |(.., members)| members.split(',').any(|member| member == user)).map(|(_, gid, _)| gid)
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?.parse().ok()?);
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:app,root\nvideo:x:44:other\n";

    #[track_caller]
    fn check(image: &str, security: SecurityContext, expected: Option<(u32, u32, &[u32])>) {
        let got = lookup(PASSWD, GROUP, image, &security).ok();
        let expected = expected.map(|(uid, gid, groups)| User { uid, gid, groups: groups.to_vec() });
        assert_eq!(got, expected, "{image} {security:?}");
    }

    fn run_as(user: Option<u32>, group: Option<u32>, supplemental: &[u32]) -> SecurityContext {
        SecurityContext {
            run_as_user: user,
            run_as_group: group,
            supplemental_groups: supplemental.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn the_images_user_is_looked_up_in_the_image() {
        check("", run_as(None, None, &[]), Some((0, 0, &[0, 10])));
        check("app", run_as(None, None, &[]), Some((1000, 1001, &[10, 1001])));
        check("1000", run_as(None, None, &[]), Some((1000, 1001, &[10, 1001])));
        check("app:wheel", run_as(None, None, &[]), Some((1000, 10, &[10])));
        check("4000:5000", run_as(None, None, &[]), Some((4000, 5000, &[5000])));
        check("4000", run_as(None, None, &[]), Some((4000, 0, &[0])));
        check("nobody", run_as(None, None, &[]), None);
        check("app:nogroup", run_as(None, None, &[]), None);
        check("4294967295", run_as(None, None, &[]), None);
        check("1000:4294967295", run_as(None, None, &[]), None);
    }

    #[test]
    fn a_number_is_an_id_whatever_accounts_are_called() {
        let passwd = "1000:x:0:0::/:/bin/sh\n";
        let user = lookup(passwd, "", "1000", &run_as(None, None, &[])).unwrap();
        assert_eq!(user.uid, 1000);
    }

    #[test]
    fn the_security_context_wins() {
        check("app", run_as(Some(65534), None, &[]), Some((65534, 0, &[0])));
        check("app:wheel", run_as(Some(1000), None, &[7]), Some((1000, 1001, &[7, 10, 1001])));
        check("nobody", run_as(Some(5), Some(6), &[]), Some((5, 6, &[6])));
    }
}
