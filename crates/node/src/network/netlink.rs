//! The few rtnetlink messages that a routed veth pair takes, blocking, on a socket of the calling thread's namespace.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const REQUEST_ACK: u16 = 1 | 4;
const REPLACE: u16 = 0x100;
const CREATE_EXCLUSIVE: u16 = 0x200 | 0x400;
const CREATE: u16 = 0x400;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;

/// A route netlink socket.
pub(super) struct Netlink(OwnedFd);

/// One end of a veth pair.
pub(super) struct End<'a> {
    pub(super) name: &'a str,
    pub(super) address: [u8; 6],
}

impl Netlink {
    /// A socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        // SAFETY: plain system calls; the descriptor is new and ours.
        unsafe {
            let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(OwnedFd::from_raw_fd(fd))) }
        }
    }

    /// A veth pair, the first end here and up, the second inside `netns`.
    pub(super) fn add_veth(&self, here: &End<'_>, there: &End<'_>, netns: RawFd, mtu: u32) -> io::Result<()> {
        let mut peer = Body::link(0, 0);
        peer.end(there, mtu);
        peer.attribute(IFLA_NET_NS_FD, &(netns as u32).to_ne_bytes());
        let mut body = Body::link(0, IFF_UP);
        body.end(here, mtu);
        body.nested(IFLA_LINKINFO, |info| {
            info.attribute(IFLA_INFO_KIND, b"veth");
            info.nested(IFLA_INFO_DATA, |data| data.attribute(VETH_INFO_PEER, &peer.0));
        });
        self.request(RTM_NEWLINK, CREATE_EXCLUSIVE, &body)
    }

    /// Sets a link up.
    pub(super) fn set_up(&self, index: u32) -> io::Result<()> {
        self.request(RTM_NEWLINK, 0, &Body::link(index, IFF_UP))
    }

    /// Removes a link, and with one end of a veth pair the other.
    pub(super) fn delete(&self, index: u32) -> io::Result<()> {
        self.request(RTM_DELLINK, 0, &Body::link(index, 0))
    }

    /// Gives a link an address with a prefix of 32.
    pub(super) fn add_address(&self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        self.request(RTM_NEWADDR, CREATE | REPLACE, &Body::address(index, address))
    }

    /// Takes such an address off again.
    pub(super) fn delete_address(&self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        self.request(RTM_DELADDR, 0, &Body::address(index, address))
    }

    /// A route to one address, straight out of a link.
    pub(super) fn add_host_route(&self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        self.add_route(index, address, 32, None)
    }

    /// The default route, by a gateway that need not be in any subnet.
    pub(super) fn add_default_route(&self, index: u32, gateway: Ipv4Addr) -> io::Result<()> {
        self.add_route(index, Ipv4Addr::UNSPECIFIED, 0, Some(gateway))
    }

    fn add_route(&self, index: u32, to: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) -> io::Result<()> {
        let scope = if gateway.is_some() { 0 } else { libc::RT_SCOPE_LINK };
        let flags: u32 = if gateway.is_some() { 4 } else { 0 }; // RTNH_F_ONLINK
        // family, destination and source length, tos, main table, protocol boot, scope, unicast
        let mut body = Body(vec![libc::AF_INET as u8, prefix, 0, 0, 254, 3, scope, 1]);
        body.0.extend(flags.to_ne_bytes());
        if prefix > 0 {
            body.attribute(1, &to.octets()); // RTA_DST
        }
        if let Some(gateway) = gateway {
            body.attribute(5, &gateway.octets()); // RTA_GATEWAY
        }
        body.attribute(4, &index.to_ne_bytes()); // RTA_OIF
        self.request(RTM_NEWROUTE, CREATE | REPLACE, &body)
    }

    /// A permanent neighbour, so that nobody has to answer ARP for it.
    pub(super) fn add_neighbour(&self, index: u32, address: Ipv4Addr, link: [u8; 6]) -> io::Result<()> {
        let mut body = Body(vec![libc::AF_INET as u8, 0, 0, 0]);
        body.0.extend(index.to_ne_bytes());
        body.0.extend(0x80u16.to_ne_bytes()); // NUD_PERMANENT
        body.0.extend([0, 0]);
        body.attribute(1, &address.octets()); // NDA_DST
        body.attribute(2, &link); // NDA_LLADDR
        self.request(RTM_NEWNEIGH, CREATE | REPLACE, &body)
    }

    fn request(&self, kind: u16, flags: u16, body: &Body) -> io::Result<()> {
        let mut message = Vec::with_capacity(16 + body.0.len());
        message.extend((16 + body.0.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST_ACK | flags).to_ne_bytes());
        message.extend(1u32.to_ne_bytes()); // sequence
        message.extend(0u32.to_ne_bytes()); // port
        message.extend(&body.0);
        let mut answer = [0u8; 4096];
        // SAFETY: both buffers live through their calls.
        let length = unsafe {
            let fd = self.0.as_raw_fd();
            if libc::send(fd, message.as_ptr().cast(), message.len(), 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::recv(fd, answer.as_mut_ptr().cast(), answer.len(), 0)
        };
        if length < 20 {
            return Err(io::Error::last_os_error());
        }
        // an acknowledgement is an error message with code 0
        match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    }
}

/// A message's body: header of its kind, then attributes, each padded to four bytes.
struct Body(Vec<u8>);

impl Body {
    fn address(index: u32, address: Ipv4Addr) -> Self {
        let mut body = Body(vec![libc::AF_INET as u8, 32, 0, 0]);
        body.0.extend(index.to_ne_bytes());
        body.attribute(1, &address.octets()); // IFA_ADDRESS
        body.attribute(2, &address.octets()); // IFA_LOCAL
        body
    }

    fn link(index: u32, flags: u32) -> Self {
        let mut bytes = vec![0; 4]; // unspecified family
        bytes.extend(index.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes()); // which flags to change
        Self(bytes)
    }

    fn end(&mut self, end: &End<'_>, mtu: u32) {
        let mut name = end.name.as_bytes().to_vec();
        name.push(0);
        self.attribute(IFLA_IFNAME, &name);
        self.attribute(IFLA_MTU, &mtu.to_ne_bytes());
        self.attribute(IFLA_ADDRESS, &end.address);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self(Vec::new());
        fill(&mut inner);
        self.attribute(kind, &inner.0);
    }
}

/// The index of a link in the calling thread's namespace.
pub(super) fn index(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the string lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => None,
        index => Some(index),
    }
}
