//! Capability names and bit sets.

use crate::runtime::{Result, RuntimeError, SecurityContext};

/// By number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container gets that asks for nothing.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

const ALL: u64 = (1 << NAMES.len()) - 1;

/// The set that a container asks for, as far as this host has it.
pub(super) fn set(security: &SecurityContext, host: u64) -> Result<u64> {
    if security.privileged {
        return Ok(host);
    }
    let mut set = DEFAULT.iter().filter_map(|name| bit(name)).fold(0, |set, bit| set | bit);
    let lists = [("add", &security.add_capabilities), ("drop", &security.drop_capabilities)];
    // ALL first, so that `drop: [ALL], add: [X]` leaves X
    for (action, list) in lists {
        if list.iter().any(|name| name.eq_ignore_ascii_case("ALL")) {
            set = if action == "add" { ALL } else { 0 };
        }
    }
    for (action, list) in lists {
        for name in list.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
            let bit = bit(name).ok_or_else(|| {
                RuntimeError::InvalidSpec(format!("unknown capability to {action}: {:?}", format!("CAP_{name}")))
            })?;
            set = if action == "add" { set | bit } else { set & !bit };
        }
    }
    Ok(set & host)
}

fn bit(name: &str) -> Option<u64> {
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == name).map(|index| 1 << index)
}

/// `CAP_…` names, for the OCI spec.
pub(super) fn names(set: u64) -> Vec<String> {
    let held = NAMES.iter().enumerate().filter(|(index, _)| set & (1 << index) != 0);
    held.map(|(_, name)| format!("CAP_{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(add: &[&str], drop: &[&str], expected: &[&str]) {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let security =
            SecurityContext { add_capabilities: list(add), drop_capabilities: list(drop), ..Default::default() };
        let expected: u64 = expected.iter().filter_map(|name| bit(name)).sum();
        assert_eq!(set(&security, u64::MAX).unwrap(), expected);
    }

    #[test]
    fn sets_are_as_kubernetes_users_expect() {
        check(&[], &[], &DEFAULT);
        assert_eq!(set(&SecurityContext::default(), u64::MAX).unwrap(), 0xa804_25fb);
        check(&[], &["ALL"], &[]);
        check(&["NET_ADMIN"], &["ALL"], &["NET_ADMIN"]);
        check(&["ALL"], &[], &NAMES);
        let without: Vec<_> = NAMES.into_iter().filter(|name| *name != "SYS_ADMIN").collect();
        check(&["ALL"], &["CAP_SYS_ADMIN"], &without);
    }

    #[test]
    fn unknown_names_are_refused_and_missing_ones_left_out() {
        let security = SecurityContext { add_capabilities: vec!["FLY".into()], ..Default::default() };
        let error = set(&security, u64::MAX).unwrap_err().to_string();
        assert_eq!(error, "unknown capability to add: \"CAP_FLY\"");
        let security = SecurityContext { privileged: true, ..Default::default() };
        assert_eq!(set(&security, 5).unwrap(), 5);
    }
}
