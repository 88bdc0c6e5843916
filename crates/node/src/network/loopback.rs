//! Addresses on `lo`: the API server's in the service range, and the node's own. `up` puts them there, `down` takes them
//! away. Not pods' addresses: those are `routed`'s.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use super::{NetworkError, netlink, routed::step};

/// Puts addresses on `lo` as /32 and brings it up; those that are there already stay.
///
/// # Errors
/// The kernel refuses; the error names the address.
pub fn add(addresses: &[IpAddr]) -> Result<(), NetworkError> {
    let (socket, index) = open()?;
    socket.set_up(index).map_err(step("bring up lo"))?;
    for address in v4(addresses) {
        socket.add_address(index, address).map_err(step(format!("put {address} on lo")))?;
    }
    Ok(())
}

/// Takes addresses off `lo`; those that are gone already are no error.
///
/// # Errors
/// The kernel refuses; the error names the address.
pub fn remove(addresses: &[IpAddr]) -> Result<(), NetworkError> {
    let (socket, index) = open()?;
    for address in v4(addresses) {
        match socket.delete_address(index, address) {
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
            done => done.map_err(step(format!("take {address} off lo")))?,
        }
    }
    Ok(())
}

fn open() -> Result<(netlink::Netlink, u32), NetworkError> {
    let socket = netlink::Netlink::open().map_err(step("open a netlink socket"))?;
    let index =
        netlink::index("lo").ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)).map_err(step("find lo"))?;
    Ok((socket, index))
}

fn v4(addresses: &[IpAddr]) -> impl Iterator<Item = Ipv4Addr> {
    addresses.iter().filter_map(|a| if let IpAddr::V4(v4) = a { Some(*v4) } else { None })
}
