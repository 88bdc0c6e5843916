//! Files that change as one: a new folder is written in full, then `..data` is pointed at it by a rename. Readers see
//! the old files or the new ones, never a mixture.

use std::{
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Mounter, Owner, payload::Payload, set_mode};

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// Makes the folder show exactly these files. Does nothing when it does already.
pub(super) fn write(dir: &Path, payload: &Payload, owner: &Owner, mounter: &dyn Mounter) -> io::Result<()> {
    let current = std::fs::read_link(dir.join(DATA)).ok();
    if current.as_ref().is_some_and(|current| is_same(&dir.join(current), payload)) {
        return link_names(dir, payload);
    }
    let name = stamp();
    let fresh = dir.join(&name);
    write_files(&fresh, payload, mounter)?;
    set_mode(dir, 0o755)?;
    set_group(&fresh, owner.group, mounter)?;
    let next = dir.join(NEXT);
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&name, &next)?;
    std::fs::rename(&next, dir.join(DATA))?;
    link_names(dir, payload)?;
    remove_stale(dir, &name)
}

/// `..2026_01_02_03_04_05.123456789`
fn stamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = meta::Time(i64::try_from(now.as_secs()).unwrap_or(0)).to_string();
    let time: String = time.trim_end_matches('Z').chars().map(|c| if c.is_ascii_digit() { c } else { '_' }).collect();
    format!("..{time}.{:09}", now.subsec_nanos())
}

fn write_files(fresh: &Path, payload: &Payload, mounter: &dyn Mounter) -> io::Result<()> {
    std::fs::create_dir(fresh)?;
    set_mode(fresh, 0o755)?;
    for (path, entry) in payload {
        let target = fresh.join(path);
        let mut parent = fresh.to_path_buf();
        for part in Path::new(path).parent().into_iter().flat_map(Path::components) {
            parent.push(part);
            if !parent.is_dir() {
                std::fs::create_dir(&parent)?;
                set_mode(&parent, 0o755)?;
            }
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        file.write_all(&entry.data)?;
        if let Some(user) = entry.user {
            mounter.own(&target, Some(user), None)?;
        }
        set_mode(&target, entry.mode)?;
    }
    Ok(())
}

/// fsGroup owns the files and may read them.
fn set_group(path: &Path, group: Option<u32>, mounter: &dyn Mounter) -> io::Result<()> {
    let Some(gid) = group else { return Ok(()) };
    let meta = std::fs::symlink_metadata(path)?;
    mounter.own(path, None, group)?;
    let mode = meta.permissions().mode() & 0o7777;
    if !meta.is_dir() {
        return set_mode(path, mode | 0o440);
    }
    set_mode(path, mode | 0o2550)?;
    for entry in std::fs::read_dir(path)? {
        set_group(&entry?.path(), Some(gid), mounter)?;
    }
    Ok(())
}

fn is_same(current: &Path, payload: &Payload) -> bool {
    let same = |(path, entry): (&String, &super::payload::Entry)| {
        std::fs::read(current.join(path)).is_ok_and(|data| data == entry.data)
    };
    payload.iter().all(same) && count_files(current) == payload.len()
}

fn count_files(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().map(|e| if e.path().is_dir() { count_files(&e.path()) } else { 1 }).sum()
}

/// `name ▶ ..data/name` for every first part of a path; links to what is gone are removed.
fn link_names(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: std::collections::BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = dir.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(&*name) && entry.file_type()?.is_symlink() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_stale(dir: &Path, keep: &str) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("..") && name != keep && entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
