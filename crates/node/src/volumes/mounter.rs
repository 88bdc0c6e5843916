//! The few things that volumes ask of the kernel, behind a trait, so that tests need no privilege.

use std::{
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts and owners.
pub trait Mounter: Send + Sync {
    /// Mounts a tmpfs (nosuid, nodev) on a folder.
    fn tmpfs(&self, at: &Path, options: &str) -> io::Result<()>;
    /// Binds a file or folder on another of the same kind.
    fn bind(&self, source: &Path, target: &Path) -> io::Result<()>;
    /// Unmounts; what is not mounted is no error.
    fn unmount(&self, at: &Path) -> io::Result<()>;
    /// Whether something is mounted exactly there.
    fn is_mounted(&self, at: &Path) -> bool;
    /// Everything that is mounted below a folder, whoever mounted it, the deepest first.
    fn mounted_below(&self, _dir: &Path) -> Vec<PathBuf> {
        Vec::new()
    }
    /// Changes the owner of a file, not of what it links to.
    fn own(&self, path: &Path, user: Option<u32>, group: Option<u32>) -> io::Result<()>;
}

/// The real one.
pub struct HostMounter;

impl Mounter for HostMounter {
    fn tmpfs(&self, at: &Path, options: &str) -> io::Result<()> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options)).map_err(io::Error::from)
    }

    fn bind(&self, source: &Path, target: &Path) -> io::Result<()> {
        mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .map_err(io::Error::from)
    }

    fn unmount(&self, at: &Path) -> io::Result<()> {
        while self.is_mounted(at) {
            umount2(at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
        }
        Ok(())
    }

    fn is_mounted(&self, at: &Path) -> bool {
        let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return false };
        let at = std::fs::canonicalize(at).unwrap_or_else(|_| PathBuf::from(at));
        table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .any(|field| unescape(field) == at.as_os_str().as_bytes())
    }

    fn mounted_below(&self, dir: &Path) -> Vec<PathBuf> {
        use std::os::unix::ffi::OsStringExt as _;
        let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return Vec::new() };
        let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| PathBuf::from(dir));
        let points = table.lines().filter_map(|line| line.split(' ').nth(4));
        let paths = points.map(|field| PathBuf::from(std::ffi::OsString::from_vec(unescape(field))));
        let mut below: Vec<PathBuf> = paths.filter(|p| p.starts_with(&dir) && *p != dir).collect();
        below.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
        below
    }

    fn own(&self, path: &Path, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
        std::os::unix::fs::lchown(path, user, group)
    }
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|d| u8::from_str_radix(d, 8).ok());
        match code {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        assert_eq!(unescape(r"/a\040b\134c"), br"/a b\c");
        assert!(HostMounter.is_mounted(Path::new("/proc")));
        assert!(!HostMounter.is_mounted(Path::new("/proc/self")));
    }
}
