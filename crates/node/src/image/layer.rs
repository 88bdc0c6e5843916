//! Unpacks one layer: a tar that nobody vouches for, into a folder that becomes an overlayfs layer.
//!
//! Every entry is placed by descriptor and name without following symlinks, so nothing lands outside; `.wh.` names
//! become overlayfs whiteouts. Owner, mode, times and the harmless extended attributes are kept; directory times are
//! set last.

use std::{
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::{
        stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, fstatat, makedev, mkdirat, mknodat, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, LinkatFlags, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat},
};
use tar::{Archive, Entry, EntryType};

use super::inroot::Tree;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const XATTR_PREFIX: &str = "SCHILY.xattr.";

/// What a layer may amount to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of all files.
    pub(super) bytes: u64,
    /// Entries.
    pub(super) entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 4_000_000 }
    }
}

/// Unpacks the tar into `target`, which exists; answers the bytes of its files.
pub(super) fn unpack(reader: impl Read, target: &Path, limits: Limits) -> io::Result<u64> {
    let tree = Tree::open(target)?;
    let mut archive = Archive::new(reader);
    let (mut bytes, mut entries, mut folders) = (0u64, 0u64, Vec::new());
    for entry in archive.entries()? {
        let mut entry = entry?;
        entries += 1;
        bytes = bytes.saturating_add(entry.size());
        if entries > limits.entries || bytes > limits.bytes {
            return Err(io::Error::other("layer is larger than what is allowed"));
        }
        place(&tree, &mut entry, &mut folders).map_err(|error| {
            let path = entry.path_bytes();
            io::Error::new(error.kind(), format!("layer entry {:?}: {error}", String::from_utf8_lossy(&path)))
        })?;
    }
    for (path, time) in folders.into_iter().rev() {
        if let Some((parent, name)) = tree.parent(&path)? {
            set_time(&parent, &name, time)?;
        }
    }
    Ok(bytes)
}

fn place<R: Read>(tree: &Tree, entry: &mut Entry<'_, R>, folders: &mut Vec<(PathBuf, i64)>) -> io::Result<()> {
    let path = PathBuf::from(OsString::from_vec(entry.path_bytes().into_owned()));
    let Some((parent, name)) = tree.parent(&path)? else { return Ok(()) };
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
        return whiteout(&parent, name.as_bytes(), OsStr::from_bytes(hidden));
    }
    let kind = entry.header().entry_type();
    if kind == EntryType::Directory {
        folder(&parent, &name)?;
        folders.push((path, modified(entry)));
    } else {
        clear(&parent, &name)?;
        node(tree, entry, kind, &parent, &name)?;
    }
    match kind {
        EntryType::Link | EntryType::XGlobalHeader => Ok(()),
        _ => finish(entry, kind, &parent, &name),
    }
}

fn node<R: Read>(
    tree: &Tree,
    entry: &mut Entry<'_, R>,
    kind: EntryType,
    parent: &OwnedFd,
    name: &OsStr,
) -> io::Result<()> {
    let mode = Mode::from_bits_truncate(0o600);
    match kind {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut file = File::from(openat(parent, name, flags, mode)?);
            io::copy(entry, &mut file)?;
        }
        EntryType::Symlink => symlinkat(link_name(entry)?.as_os_str(), parent, name)?,
        EntryType::Link => {
            let target = link_name(entry)?;
            let found = tree.parent(Path::new(&target))?;
            let (folder, target) = found.ok_or_else(|| io::Error::other("hard link to the root"))?;
            linkat(&folder, target.as_os_str(), parent, name, LinkatFlags::empty())?;
        }
        EntryType::Fifo => mknodat(parent, name, SFlag::S_IFIFO, mode, 0)?,
        EntryType::Char => mknodat(parent, name, SFlag::S_IFCHR, mode, device(entry)?)?,
        EntryType::Block => mknodat(parent, name, SFlag::S_IFBLK, mode, device(entry)?)?,
        EntryType::XGlobalHeader => {}
        other => return Err(io::Error::other(format!("unknown type {:?}", other.as_byte() as char))),
    }
    Ok(())
}

/// Owner, then mode (changing the owner clears setuid), attributes, time.
fn finish<R: Read>(entry: &mut Entry<'_, R>, kind: EntryType, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let header = entry.header();
    let old = header.as_old();
    let uid = number(&old.uid, header.uid())? as u32;
    let gid = number(&old.gid, header.gid())? as u32;
    let mode = header.mode()?;
    fchownat(parent, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    if kind != EntryType::Symlink {
        fchmodat(parent, name, Mode::from_bits_truncate(mode & 0o7777), FchmodatFlags::FollowSymlink)?;
    }
    attributes(entry, parent, name)?;
    if kind != EntryType::Directory {
        set_time(parent, name, modified(entry))?;
    }
    Ok(())
}

/// File capabilities and user attributes; `trusted.overlay.*` would steer overlayfs and the rest is not ours to set.
fn attributes<R: Read>(entry: &mut Entry<'_, R>, parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let Some(key) = extension.key().ok().and_then(|key| key.strip_prefix(XATTR_PREFIX)) else { continue };
        if key == "security.capability" || key.starts_with("user.") {
            set_attribute(parent, name, key, extension.value_bytes())?;
        }
    }
    Ok(())
}

fn set_attribute(parent: &OwnedFd, name: &OsStr, key: &str, value: &[u8]) -> io::Result<()> {
    let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    let (path, key) = (CString::new(path)?, CString::new(key)?);
    // SAFETY: both strings and the value live through the call.
    let done = unsafe { libc::lsetxattr(path.as_ptr(), key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    match (done, Errno::last()) {
        (0, _) | (_, Errno::ENOTSUP) => Ok(()),
        (_, error) => Err(error.into()),
    }
}

/// overlayfs' own form: a 0/0 character device hides a name, an attribute makes a folder opaque.
fn whiteout(parent: &OwnedFd, name: &[u8], hidden: &OsStr) -> io::Result<()> {
    if name == OPAQUE {
        return set_attribute(parent, OsStr::new("."), "trusted.overlay.opaque", b"y");
    }
    if hidden.is_empty() || hidden == "." || hidden == ".." || hidden.as_bytes().starts_with(WHITEOUT) {
        return Err(io::Error::other("not a whiteout"));
    }
    clear(parent, hidden)?;
    Ok(mknodat(parent, hidden, SFlag::S_IFCHR, Mode::empty(), makedev(0, 0))?)
}

fn folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let is_folder = |mode: u32| SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) if is_folder(stat.st_mode) => return Ok(()),
        Ok(_) => unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?,
        Err(_) => {}
    }
    Ok(mkdirat(parent, name, Mode::from_bits_truncate(0o755))?)
}

/// Removes what an earlier entry of the same layer left at this name.
fn clear(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR | Errno::EPERM) => {
            // the parent is held open and the name is one component: this stays inside
            let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
            std::fs::remove_dir_all(path)
        }
        Err(error) => Err(error.into()),
    }
}

fn link_name<R: Read>(entry: &Entry<'_, R>) -> io::Result<OsString> {
    let name = entry.link_name_bytes().ok_or_else(|| io::Error::other("link without target"))?;
    Ok(OsString::from_vec(name.into_owned()))
}

fn device<R: Read>(entry: &Entry<'_, R>) -> io::Result<u64> {
    let header = entry.header();
    match (header.device_major()?, header.device_minor()?) {
        (Some(major), Some(minor)) => Ok(makedev(major.into(), minor.into())),
        _ => Err(io::Error::other("device without number")),
    }
}

fn modified<R: Read>(entry: &Entry<'_, R>) -> i64 {
    entry.header().mtime().unwrap_or_default().min(i64::MAX as u64) as i64
}

fn set_time(parent: &OwnedFd, name: &OsStr, seconds: i64) -> io::Result<()> {
    let time = TimeSpec::new(seconds, 0);
    Ok(utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)?)
}

/// A blank field is 0, as GNU tar and Go read it.
fn number(field: &[u8], parsed: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|b| matches!(b, 0 | b' ')) { Ok(0) } else { parsed }
}

#[cfg(test)]
mod tests;
