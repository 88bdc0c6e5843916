//! The routed pod network: a veth pair per pod, /32 addresses, 169.254.1.1 as everybody's gateway, host routes.
//!
//! Work is done in threads of its own that enter the pod's namespace and end there: a thread that changed its namespace
//! must not go back to a pool.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::BoxFuture;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use parking_lot::Mutex;

use super::{
    Attachment, NetworkError, PodNetwork, Range,
    addresses::Addresses,
    netlink::{End, Netlink, index},
};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY_LINK: [u8; 6] = [0xee; 6];

/// What the network needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Short name of the instance (`[a-z0-9]{4,8}`): interfaces are `ly<hash of it>-<hash of the pod>`.
    pub instance: String,
    /// Folder for what is kept over a restart.
    pub state: PathBuf,
    /// Folder for namespaces, below /run.
    pub netns: PathBuf,
    /// The node's pod range.
    pub range: Range,
    /// MTU of pod interfaces; 1400 at most is kept.
    pub mtu: u32,
}

/// The routed network of one instance.
#[derive(Clone)]
pub struct Routed(Arc<Inner>);

struct Inner {
    config: Config,
    addresses: Mutex<Addresses>,
}

impl Routed {
    /// Opens what is kept; changes nothing on the host yet.
    pub fn open(config: Config) -> Result<Self, NetworkError> {
        fs::create_dir_all(&config.state).map_err(step("create network folder"))?;
        let addresses =
            Addresses::open(&config.state.join("ips.json"), config.range).map_err(step("read pod addresses"))?;
        Ok(Self(Arc::new(Inner { config, addresses: Mutex::new(addresses) })))
    }
}

impl PodNetwork for Routed {
    fn add<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, Result<Attachment, NetworkError>> {
        let (inner, uid) = (self.0.clone(), pod_uid.to_owned());
        in_thread(move || inner.add(&uid))
    }

    fn del<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, Result<(), NetworkError>> {
        let (inner, uid) = (self.0.clone(), pod_uid.to_owned());
        in_thread(move || inner.del(&uid))
    }

    fn netns(&self, pod_uid: &str) -> PathBuf {
        self.0.netns(pod_uid)
    }

    fn folder(&self) -> &Path {
        &self.0.config.netns
    }

    fn teardown_all(&self) -> BoxFuture<'_, Result<(), NetworkError>> {
        let inner = self.0.clone();
        in_thread(move || inner.teardown())
    }
}

fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> BoxFuture<'static, Result<T, NetworkError>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let spawned = std::thread::Builder::new().name("netns".into()).spawn(move || {
        let _ = sender.send(work());
    });
    Box::pin(async move {
        spawned.map_err(step("start a thread"))?;
        let gone = |_| NetworkError::Step { step: "set up pod network".into(), cause: "its thread died".into() };
        receiver.await.map_err(gone)?
    })
}

pub(super) fn step<E: std::fmt::Display>(step: impl Into<String>) -> impl FnOnce(E) -> NetworkError {
    let step = step.into();
    move |cause| NetworkError::Step { step, cause: cause.to_string() }
}

impl Inner {
    fn netns(&self, uid: &str) -> PathBuf {
        self.config.netns.join(uid)
    }

    fn prefix(&self) -> String {
        format!("ly{:04x}-", hash(&self.config.instance) as u16)
    }

    /// The host's end of a pod's pair.
    fn interface(&self, uid: &str) -> String {
        format!("{}{:08x}", self.prefix(), hash(uid))
    }

    fn add(&self, uid: &str) -> Result<Attachment, NetworkError> {
        let given = self.addresses.lock().give(uid).map_err(step("keep the pod's address"))?;
        let address = given.ok_or_else(|| NetworkError::Exhausted(self.config.range.to_string()))?;
        let (netns, name) = (self.netns(uid), self.interface(uid));
        let attachment = Attachment { ips: vec![IpAddr::V4(address)], netns: netns.clone() };
        if is_namespace(&netns) && index(&name).is_some() {
            return Ok(attachment);
        }
        self.remove(uid)?;
        match self.connect(&netns, &name, address) {
            Ok(()) => Ok(attachment),
            Err(error) => {
                let _ = self.del(uid);
                Err(error)
            }
        }
    }

    fn connect(&self, netns: &Path, name: &str, address: Ipv4Addr) -> Result<(), NetworkError> {
        let host = Netlink::open().map_err(step("open netlink"))?;
        pin_new_namespace(netns)?;
        let file = File::open(netns).map_err(step("open network namespace"))?;
        let [_, b, c, d] = address.octets();
        let inside = End { name: "eth0", address: [0x0a, 0x58, 0x0a, b, c, d] };
        let outside = End { name, address: GATEWAY_LINK };
        let mtu = self.config.mtu.clamp(576, 1400);
        host.add_veth(&outside, &inside, file.as_raw_fd(), mtu).map_err(step("create veth pair"))?;
        let link = index(name).ok_or("it is gone").map_err(step("find veth pair"))?;
        // what comes in by this link may go on; nothing else on the host changes
        let forwarding = format!("/proc/sys/net/ipv4/conf/{name}/forwarding");
        fs::write(forwarding, "1").map_err(step("let the host route for the pod"))?;
        host.add_host_route(link, address).map_err(step("add route to pod"))?;
        let inside = std::thread::spawn(move || configure_inside(&file, address));
        inside.join().map_err(|_| "its thread died").map_err(step("configure pod namespace"))?
    }

    fn del(&self, uid: &str) -> Result<(), NetworkError> {
        self.remove(uid)?;
        self.addresses.lock().take(uid).map_err(step("give back the pod's address"))
    }

    fn remove(&self, uid: &str) -> Result<(), NetworkError> {
        if let Some(link) = index(&self.interface(uid)) {
            let deleted = Netlink::open().and_then(|netlink| netlink.delete(link));
            match deleted {
                Err(error) if error.raw_os_error() != Some(libc::ENODEV) => {
                    return Err(step("delete veth pair")(error));
                }
                _ => {}
            }
        }
        unpin(&self.netns(uid))
    }

    fn teardown(&self) -> Result<(), NetworkError> {
        let netlink = Netlink::open().map_err(step("open netlink"))?;
        let links = nix::net::if_::if_nameindex().map_err(step("list links"))?;
        let prefix = self.prefix();
        for link in links.iter().filter(|link| link.name().to_bytes().starts_with(prefix.as_bytes())) {
            let _ = netlink.delete(link.index());
        }
        for entry in fs::read_dir(&self.config.netns).into_iter().flatten().flatten() {
            unpin(&entry.path())?;
        }
        let _ = fs::remove_dir(&self.config.netns);
        let _ = fs::remove_file(self.config.state.join("ips.json"));
        Ok(())
    }
}

/// FNV-1a: names must be the same in every version.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn configure_inside(netns: &File, address: Ipv4Addr) -> Result<(), NetworkError> {
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(step("enter pod namespace"))?;
    let netlink = Netlink::open().map_err(step("open netlink"))?;
    netlink.set_up(1).map_err(step("set loopback up"))?;
    let link = index("eth0").ok_or("it is not there").map_err(step("find eth0"))?;
    netlink.add_address(link, address).map_err(step("add the pod's address"))?;
    netlink.set_up(link).map_err(step("set eth0 up"))?;
    netlink.add_neighbour(link, GATEWAY, GATEWAY_LINK).map_err(step("add the gateway"))?;
    netlink.add_default_route(link, GATEWAY).map_err(step("add the default route"))
}

/// Makes a network namespace that lives as long as the bind mount on `path`.
fn pin_new_namespace(path: &Path) -> Result<(), NetworkError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(step("create netns folder"))?;
    }
    File::create(path).map_err(step("create netns file"))?;
    let target = path.to_owned();
    let thread = std::thread::spawn(move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        Ok(())
    });
    let done = thread.join().map_err(|_| "its thread died").map_err(step("create network namespace"))?;
    done.map_err(step("create network namespace"))
}

fn unpin(path: &Path) -> Result<(), NetworkError> {
    while umount2(path, MntFlags::MNT_DETACH).is_ok() {}
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(step("remove netns file")(error)),
        _ => Ok(()),
    }
}

fn is_namespace(path: &Path) -> bool {
    const NSFS_MAGIC: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x6e73_6673);
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type() == NSFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_fit_and_carry_the_instance() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            instance: "a1b2c3".into(),
            state: folder.path().into(),
            netns: folder.path().join("netns"),
            range: Range::parse("10.1.0.0/24").unwrap(),
            mtu: 1500,
        };
        let network = Routed::open(config).unwrap();
        let name = network.0.interface("0b5c9d7e-1111-2222-3333-444455556666");
        assert!(name.starts_with("ly") && name.len() == 15, "{name}");
        assert_ne!(name, network.0.interface("another"));
    }
}
