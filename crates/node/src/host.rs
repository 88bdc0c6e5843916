//! What `up` changes on the host besides pods, and how it is undone: addresses on `lo`. Also: whether this host can run
//! pods at all. Pods' own traces are `runtime`'s.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use futures::TryStreamExt as _;

/// Why an address could not be put on or taken off.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {address} on lo: {cause}")]
pub struct HostError {
    step: &'static str,
    address: Ipv4Addr,
    cause: String,
}

/// What this host lacks to run pods, in one sentence; `None` when nothing is missing.
pub fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("running pods needs root".into());
    }
    if !Path::new("/proc/self/ns/net").exists() || !Path::new("/proc/self/ns/pid").exists() {
        return Some("this kernel has no network or process namespaces".into());
    }
    if !Path::new("/sys/fs/cgroup").join("cgroup.controllers").exists() && !Path::new("/sys/fs/cgroup/memory").exists() {
        return Some("no cgroup hierarchy is mounted at /sys/fs/cgroup".into());
    }
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !filesystems.lines().any(|l| l.ends_with("overlay")) {
        return Some("this kernel has no overlayfs".into());
    }
    match std::thread::spawn(|| nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET | nix::sched::CloneFlags::CLONE_NEWNS)).join() {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("this process may not make namespaces ({error})")),
        Err(_) => Some("this process may not make namespaces".into()),
    }
}

/// Puts addresses on `lo` as /32; those that are there already stay as they are. `lo` is brought up.
///
/// # Errors
/// The kernel refuses; the error names the address.
pub async fn add_to_loopback(addresses: &[IpAddr]) -> Result<(), HostError> {
    for address in v4(addresses) {
        let fail = |cause: String| HostError { step: "put", address, cause };
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| fail(e.to_string()))?;
        let driver = tokio::spawn(connection);
        let index = loopback_index(&handle).await.map_err(fail)?;
        let up = rtnetlink::LinkUnspec::new_with_index(index).up().build();
        handle.link().set(up).execute().await.map_err(|e| fail(e.to_string()))?;
        let added = handle.address().add(index, IpAddr::V4(address), 32).execute().await;
        driver.abort();
        if let Err(error) = added
            && !is_exists(&error)
        {
            return Err(fail(error.to_string()));
        }
    }
    Ok(())
}

/// Takes addresses off `lo` again; those that are gone already are no error.
///
/// # Errors
/// The kernel refuses; the error names the address.
pub async fn remove_from_loopback(addresses: &[IpAddr]) -> Result<(), HostError> {
    for address in v4(addresses) {
        let fail = |cause: String| HostError { step: "take off", address, cause };
        let (connection, handle, _) = rtnetlink::new_connection().map_err(|e| fail(e.to_string()))?;
        let driver = tokio::spawn(connection);
        let index = loopback_index(&handle).await.map_err(fail)?;
        let found = handle.address().get().set_link_index_filter(index).set_address_filter(IpAddr::V4(address)).execute();
        let messages: Vec<_> = found.try_collect().await.map_err(|e| fail(e.to_string()))?;
        for message in messages {
            handle.address().del(message).execute().await.map_err(|e| fail(e.to_string()))?;
        }
        driver.abort();
    }
    Ok(())
}

fn v4(addresses: &[IpAddr]) -> impl Iterator<Item = Ipv4Addr> {
    addresses.iter().filter_map(|a| if let IpAddr::V4(v4) = a { Some(*v4) } else { None })
}

async fn loopback_index(handle: &rtnetlink::Handle) -> Result<u32, String> {
    let found = handle.link().get().match_name("lo".into()).execute().try_next().await.map_err(|e| e.to_string())?;
    found.map(|link| link.header.index).ok_or_else(|| "there is no lo".into())
}

fn is_exists(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -libc::EEXIST)
}
