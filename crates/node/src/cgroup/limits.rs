//! Which file says what: limits and accounting of v1 and v2, as pure functions where possible.

use std::{fs, path::Path};

use super::Layout;
use crate::runtime::{CgroupMode, ContainerStats, Resources};

const DEFAULT_PERIOD: u64 = 100_000;

/// Controller, file and content for these limits.
pub(super) fn files(mode: CgroupMode, resources: &Resources) -> Vec<(&'static str, &'static str, String)> {
    let period = if resources.cpu_period == 0 { DEFAULT_PERIOD } else { resources.cpu_period };
    let mut out = Vec::new();
    match mode {
        CgroupMode::V1 => {
            push(&mut out, "cpu", "cpu.shares", resources.cpu_shares);
            if resources.cpu_quota > 0 {
                out.push(("cpu", "cpu.cfs_period_us", period.to_string()));
                out.push(("cpu", "cpu.cfs_quota_us", resources.cpu_quota.to_string()));
            }
            push(&mut out, "memory", "memory.limit_in_bytes", resources.memory_limit);
            push(&mut out, "memory", "memory.memsw.limit_in_bytes", resources.memory_limit);
        }
        CgroupMode::V2 => {
            if resources.cpu_shares > 0 {
                out.push(("cpu", "cpu.weight", weight(resources.cpu_shares).to_string()));
            }
            if resources.cpu_quota > 0 {
                out.push(("cpu", "cpu.max", format!("{} {period}", resources.cpu_quota)));
            }
            push(&mut out, "memory", "memory.max", resources.memory_limit);
            if resources.memory_limit > 0 {
                out.push(("memory", "memory.swap.max", "0".into()));
            }
        }
    }
    push(&mut out, "pids", "pids.max", resources.pids_limit);
    out
}

/// Files that a kernel may lack (swap accounting).
pub(super) fn is_optional(file: &str) -> bool {
    file.contains("swap") || file.contains("memsw")
}

fn push<N: PartialOrd + Default + ToString>(
    out: &mut Vec<(&'static str, &'static str, String)>,
    controller: &'static str,
    file: &'static str,
    value: N,
) {
    if value > N::default() {
        out.push((controller, file, value.to_string()));
    }
}

/// cpu.shares (2..262144) as cpu.weight (1..10000), by Kubernetes' formula.
fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}

/// Accounting of a cgroup; what cannot be read is zero.
pub(super) fn stats(layout: &Layout, path: &Path) -> ContainerStats {
    let read = |controller, file: &str| {
        let folder = layout.folder(controller, path)?;
        fs::read_to_string(folder.join(file)).ok()
    };
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or_default();
    let field = |text: Option<String>, name: &str| {
        let text = text.unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse::<u64>().ok()).unwrap_or_default()
    };
    let (cpu, usage, inactive) = match layout.mode() {
        CgroupMode::V1 => (
            number(read("cpuacct", "cpuacct.usage")),
            number(read("memory", "memory.usage_in_bytes")),
            field(read("memory", "memory.stat"), "total_inactive_file"),
        ),
        CgroupMode::V2 => (
            field(read("cpu", "cpu.stat"), "usage_usec") * 1000,
            number(read("memory", "memory.current")),
            field(read("memory", "memory.stat"), "inactive_file"),
        ),
    };
    ContainerStats {
        cpu_usage_nanoseconds: cpu,
        memory_usage_bytes: usage,
        memory_working_set_bytes: usage.saturating_sub(inactive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weight_by_kubernetes_formula() {
        let cases = [(0, 1), (2, 1), (102, 4), (1024, 39), (262_144, 10_000), (u64::MAX, 10_000)];
        for (shares, expected) in cases {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }

    #[test]
    fn what_is_not_limited_is_not_written() {
        assert!(files(CgroupMode::V1, &Resources::default()).is_empty());
        assert!(files(CgroupMode::V2, &Resources::default()).is_empty());
    }

    #[test]
    fn a_period_goes_before_its_quota() {
        let resources = Resources { cpu_quota: 1000, ..Resources::default() };
        let names: Vec<_> = files(CgroupMode::V1, &resources).into_iter().map(|(_, file, _)| file).collect();
        assert_eq!(names, ["cpu.cfs_period_us", "cpu.cfs_quota_us"]);
    }

    #[test]
    fn v2_accounting_is_read() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cpu.stat"), "usage_usec 5\nuser_usec 1\n").unwrap();
        fs::write(root.path().join("memory.current"), "100\n").unwrap();
        fs::write(root.path().join("memory.stat"), "anon 1\ninactive_file 30\n").unwrap();
        let stats = stats(&Layout::V2(root.path().into()), Path::new(""));
        let expected =
            ContainerStats { cpu_usage_nanoseconds: 5000, memory_usage_bytes: 100, memory_working_set_bytes: 70 };
        assert_eq!(stats, expected);
    }
}
