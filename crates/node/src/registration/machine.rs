//! What this machine is: read once, but for its pressures.

use std::path::Path;

use crate::resources::Capacity;

const MIN_MEMORY: i64 = 100 << 20;

/// Facts of nodeInfo.
pub(super) struct Machine {
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    pub architecture: &'static str,
}

impl Machine {
    pub(super) fn read() -> Self {
        let line = |path: &str| std::fs::read_to_string(path).map(|t| t.trim().to_owned()).unwrap_or_default();
        let machine_id = line("/etc/machine-id");
        let uuid = line("/sys/class/dmi/id/product_uuid");
        Machine {
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid },
            machine_id,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: os_image(),
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            },
        }
    }

    /// Memory, disk, process ids: whether they are short. Upstream's default thresholds.
    pub(super) fn pressures(&self) -> (bool, bool, bool) {
        let memory = memory_info("MemAvailable").is_some_and(|free| free < MIN_MEMORY);
        let disk = nix::sys::statvfs::statvfs("/").is_ok_and(|fs| {
            let (free, all) = (fs.blocks_available(), fs.blocks());
            all > 0 && free * 100 / all < 5
        });
        (memory, disk, false)
    }
}

impl Capacity {
    /// What this machine has; `data` is the folder whose file system holds images and emptyDirs.
    pub fn of_this_machine(data: &Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let disk = nix::sys::statvfs::statvfs(data).map_or(0, |fs| fs.blocks() * fs.fragment_size());
        Capacity {
            milli_cpu: i64::try_from(cpus).unwrap_or(1) * 1000,
            memory: memory_info("MemTotal").unwrap_or(0),
            ephemeral_storage: i64::try_from(disk).unwrap_or(i64::MAX),
            pods: 110,
        }
    }
}

/// A line of /proc/meminfo in bytes.
fn memory_info(name: &str) -> Option<i64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.split(':').next() == Some(name))?;
    let kibibytes: i64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn os_image() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |n| n.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_something() {
        let capacity = Capacity::of_this_machine(Path::new("/"));
        assert!(capacity.milli_cpu >= 1000 && capacity.memory > MIN_MEMORY && capacity.ephemeral_storage > 0);
        assert!(!Machine::read().kernel.is_empty());
    }
}
