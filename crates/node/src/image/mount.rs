//! overlayfs: read-only layers below, one writable folder above.

use std::{fs, io, path::Path};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// Mounts on `target`; `layers` are folder names below `folder`, the topmost first. Upper and work folder are made in
/// `scratch`.
pub(super) fn overlay(folder: &Path, layers: &[u64], target: &Path, scratch: &Path) -> io::Result<()> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for path in [target, &upper, &work] {
        fs::create_dir_all(path)?;
    }
    let empty = scratch.join("empty");
    let lower = match layers {
        [] => {
            fs::create_dir_all(&empty)?; // an image without layers: overlayfs wants one
            empty.display().to_string()
        }
        layers => layers.iter().map(u64::to_string).collect::<Vec<_>>().join(":"),
    };
    for path in [&upper, &work] {
        if path.to_string_lossy().contains([',', ':', '\\']) {
            return Err(io::Error::other(format!("the folder's path may not contain , : or \\: {}", path.display())));
        }
    }
    let options = format!("lowerdir={lower},upperdir={},workdir={}", upper.display(), work.display());
    let (folder, target) = (folder.to_owned(), target.to_owned());
    // relative layer names keep the options below one page; the working folder is this thread's own
    let thread = std::thread::spawn(move || -> io::Result<()> {
        unshare(CloneFlags::CLONE_FS)?;
        std::env::set_current_dir(&folder)?;
        mount(Some("overlay"), &target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
        Ok(())
    });
    thread.join().map_err(|_| io::Error::other("the mounting thread died"))?
}

/// Unmounts whatever is mounted there; nothing mounted is fine.
pub(crate) fn unmount(target: &Path) {
    while umount2(target, MntFlags::MNT_DETACH).is_ok() {}
}
