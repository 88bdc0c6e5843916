//! subPath: a file or folder inside a volume, bound to a place of the pod's own. The volume's content may be hostile (a
//! container of the same pod can plant links), so the path is opened beneath the volume and bound by file descriptor.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use super::Mounter;

/// Refuses what can never be beneath a volume.
pub(super) fn check(sub_path: &str) -> Result<(), String> {
    if sub_path.starts_with('/') {
        return Err(format!("error SubPath `{sub_path}` must not be an absolute path"));
    }
    if sub_path.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{sub_path}`: must not contain '..'"));
    }
    Ok(())
}

/// Binds `volume/sub_path` on `target`; a missing folder is made.
pub(super) fn bind(volume: &Path, sub_path: &str, target: &Path, mounter: &dyn Mounter) -> io::Result<()> {
    let root = open(None, volume, libc::O_DIRECTORY)?;
    let found = match open(Some(&root), Path::new(sub_path), 0) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(&root, sub_path)?,
        other => other?,
    };
    mounter.unmount(target)?;
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    make_target(Path::new(&source), target)?;
    mounter.bind(Path::new(&source), target)
}

fn make_target(source: &Path, target: &Path) -> io::Result<()> {
    if target.is_dir() {
        std::fs::remove_dir(target)?;
    } else if std::fs::symlink_metadata(target).is_ok() {
        std::fs::remove_file(target)?;
    }
    if std::fs::metadata(source)?.is_dir() {
        std::fs::create_dir(target)
    } else {
        std::fs::OpenOptions::new().write(true).create_new(true).open(target).map(drop)
    }
}

/// Makes the folders one by one, each beneath the one before.
fn make(root: &OwnedFd, sub_path: &str) -> io::Result<OwnedFd> {
    let mut dir = root.try_clone()?;
    // as open to the pod as the volume itself, its group included
    let permissions = std::fs::metadata(format!("/proc/self/fd/{}", root.as_raw_fd()))?.permissions();
    for part in sub_path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        let name = CString::new(part)?;
        // SAFETY: `dir` is open and `name` ends with a zero byte.
        let made = unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), 0o777) };
        if made != 0 && io::Error::last_os_error().kind() != io::ErrorKind::AlreadyExists {
            return Err(io::Error::last_os_error());
        }
        let inner = open(Some(&dir), Path::new(part), libc::O_DIRECTORY)?;
        if made == 0 {
            // the process's umask does not narrow what a container is given
            std::fs::set_permissions(format!("/proc/self/fd/{}", inner.as_raw_fd()), permissions.clone())?;
        }
        dir = inner;
    }
    Ok(dir)
}

/// openat2; with a root nothing outside of it is reached, by no link.
fn open(root: Option<&OwnedFd>, path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: open_how is plain numbers, for which zero is a value.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::try_from(libc::O_PATH | libc::O_CLOEXEC | flags).unwrap_or(0);
    if root.is_some() {
        how.resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_MAGICLINKS;
    }
    let at = root.map_or(libc::AT_FDCWD, AsRawFd::as_raw_fd);
    // SAFETY: path ends with a zero byte, `how` lives through the call and its size is said.
    let fd = unsafe {
        libc::syscall(libc::SYS_openat2, at, path.as_ptr(), std::ptr::from_ref(&how), size_of::<libc::open_how>())
    };
    let fd = i32::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor, nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
