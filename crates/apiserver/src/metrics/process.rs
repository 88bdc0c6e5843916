//! `process_*`: what the kernel says of this process, under the names of the Prometheus libraries.

use super::text::Page;

/// Ticks of the clock in `/proc/self/stat` per second: fixed in the kernel's interface.
const TICKS: f64 = 100.0;
const PAGE_SIZE: f64 = 4096.0;

pub(super) fn add(page: &mut Page) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
    if let Some(stat) = Stat::parse(&read("stat")) {
        page.number(
            "counter",
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            stat.cpu,
        );
        page.number("gauge", "process_resident_memory_bytes", "Resident memory size in bytes.", stat.resident);
        page.number("gauge", "process_virtual_memory_bytes", "Virtual memory size in bytes.", stat.virtual_);
    }
    if let Some(start) = start_time() {
        let help = "Start time of the process since unix epoch in seconds.";
        page.number("gauge", "process_start_time_seconds", help, start);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.number("gauge", "process_open_fds", "Number of open file descriptors.", open.count() as f64);
    }
    let limits = read("limits");
    if let Some(most) = limit(&limits, "Max open files") {
        page.number("gauge", "process_max_fds", "Maximum number of open file descriptors.", most);
    }
    if let Some(most) = limit(&limits, "Max address space") {
        let help = "Maximum amount of virtual memory available in bytes.";
        page.number("gauge", "process_virtual_memory_max_bytes", help, most);
    }
    network(page, &read("net/netstat"));
}

/// Seconds since 1970 at which this process started.
pub(crate) fn start_time() -> Option<f64> {
    let stat = Stat::parse(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = boot.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat.started)
}

struct Stat {
    cpu: f64,
    /// Seconds after the boot.
    started: f64,
    virtual_: f64,
    resident: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Stat> {
        // the name in parentheses may hold spaces
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |n: usize| fields.get(n - 3)?.parse::<f64>().ok();
        Some(Stat {
            cpu: (number(14)? + number(15)?) / TICKS,
            started: number(22)? / TICKS,
            virtual_: number(23)?,
            resident: number(24)? * PAGE_SIZE,
        })
    }
}

fn limit(limits: &str, name: &str) -> Option<f64> {
    let soft = limits.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?;
    // upstream prints no limit as the largest number
    if soft == "unlimited" { Some(u64::MAX as f64) } else { soft.parse().ok() }
}

fn network(page: &mut Page, netstat: &str) {
    let mut lines = netstat.lines().filter_map(|l| l.strip_prefix("IpExt: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return };
    let find = |name: &str| {
        let at = names.split_whitespace().position(|n| n == name)?;
        values.split_whitespace().nth(at)?.parse::<f64>().ok()
    };
    for (field, name, help) in [
        (
            "InOctets",
            "process_network_receive_bytes_total",
            "Number of bytes received by the process over the network.",
        ),
        ("OutOctets", "process_network_transmit_bytes_total", "Number of bytes sent by the process over the network."),
    ] {
        if let Some(value) = find(field) {
            page.number("counter", name, help, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "7 (a b) c) S 1 1 1 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1200 4096000 10 18446744073709551615";
        let stat = Stat::parse(stat).unwrap();
        assert_eq!((stat.cpu, stat.started, stat.virtual_, stat.resident), (2.0, 12.0, 4_096_000.0, 40_960.0));
        let limits = "Max open files            1024                 4096                 files     \n";
        assert_eq!(limit(limits, "Max open files"), Some(1024.0));
        assert!(start_time().unwrap() > 1.0e9);
    }
}
