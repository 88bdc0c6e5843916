//! Paths inside a folder that somebody else filled: no component leads out of it.
//!
//! `Tree` never follows a symlink (unpacking layers); `read`, `create_dirs` follow them as the container would, but
//! with the folder as their root.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat},
    sys::stat::{Mode, mkdirat},
};

/// A folder in which paths are walked one component at a time, without following symlinks.
pub(crate) struct Tree(OwnedFd);

impl Tree {
    /// Opens the folder.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(File::open(path)?.into()))
    }

    /// The folder that holds `path`, made if missing, and the last component; `None` for the root itself.
    pub(crate) fn parent(&self, path: &Path) -> io::Result<Option<(OwnedFd, OsString)>> {
        let mut parts = components(path)?;
        let Some(name) = parts.pop() else { return Ok(None) };
        let mut folder = self.0.try_clone()?;
        for part in parts {
            folder = enter(&folder, part)?;
        }
        Ok(Some((folder, name.to_owned())))
    }
}

fn enter(folder: &OwnedFd, part: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    match openat(folder, part, flags, Mode::empty()) {
        Err(Errno::ENOENT) => {
            mkdirat(folder, part, Mode::from_bits_truncate(0o755))?;
            Ok(openat(folder, part, flags, Mode::empty())?)
        }
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            Err(io::Error::other(format!("path component {part:?} is not a directory")))
        }
        opened => Ok(opened?),
    }
}

/// Relative components; `..` is refused, a leading `/` and `.` are dropped.
fn components(path: &Path) -> io::Result<Vec<&OsStr>> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(Ok(name)),
        Component::ParentDir => Some(Err(io::Error::other(format!("path {path:?} leads out of the layer")))),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

fn in_root() -> ResolveFlag {
    ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS
}

/// The content of a regular file below `root`, at most `limit` bytes; symlinks are resolved inside.
pub(crate) fn read(root: &Path, path: &str, limit: u64) -> io::Result<String> {
    let root = File::open(root)?;
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).resolve(in_root());
    let file = File::from(openat2(root.as_fd(), path, how)?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{path} is not a regular file")));
    }
    let mut text = Vec::new();
    file.take(limit).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Makes a folder and its parents below `root`; symlinks are resolved inside, those that lead nowhere included
/// (`/var/run` to a `/run` that the image does not have).
pub(crate) fn create_dirs(root: &Path, path: &str) -> io::Result<()> {
    create_dirs_through(&File::open(root)?, path, 8)
}

fn create_dirs_through(root: &File, path: &str, links: u8) -> io::Result<()> {
    let how = || OpenHow::new().flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).resolve(in_root());
    let (mut at, mut parent) = (String::from("/"), openat2(root.as_fd(), "/", how())?);
    for part in components(Path::new(path))? {
        let whole = format!("{at}{}", part.to_string_lossy());
        parent = match openat2(root.as_fd(), whole.as_str(), how()) {
            Err(Errno::ENOENT) => {
                match mkdirat(&parent, part, Mode::from_bits_truncate(0o755)) {
                    Err(Errno::EEXIST) if links > 0 => {
                        let target = readlinkat(&parent, part)?;
                        let target = Path::new(&at).join(target); // an absolute one replaces the path
                        create_dirs_through(root, &target.to_string_lossy(), links - 1)?;
                    }
                    made => made?,
                }
                openat2(root.as_fd(), whole.as_str(), how())?
            }
            opened => opened?,
        };
        at = whole + "/";
    }
    Ok(())
}

/// Makes an empty file and its parents below `root`, if nothing is there.
pub(crate) fn create_file(root: &Path, path: &str) -> io::Result<()> {
    let parent = Path::new(path).parent().map(Path::to_string_lossy).unwrap_or_default();
    create_dirs(root, &parent)?;
    let flags = OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let how = OpenHow::new().flags(flags).mode(Mode::from_bits_truncate(0o644)).resolve(in_root());
    openat2(File::open(root)?.as_fd(), path, how)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn symlinks_are_resolved_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        symlink("/etc/real", root.path().join("etc/passwd")).unwrap();
        symlink("../../../../../../etc/shadow", root.path().join("etc/evil")).unwrap();
        fs::write(root.path().join("etc/real"), "inside").unwrap();
        assert_eq!(read(root.path(), "/etc/passwd", 100).unwrap(), "inside");
        assert!(read(root.path(), "/etc/evil", 100).is_err());
        assert_eq!(read(root.path(), "/etc/real", 3).unwrap(), "ins");
        assert!(read(root.path(), "/etc", 3).is_err());
    }

    #[test]
    fn folders_are_made_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        symlink("/srv", root.path().join("data")).unwrap();
        fs::create_dir(root.path().join("srv")).unwrap();
        create_dirs(root.path(), "/data/a/b").unwrap();
        assert!(root.path().join("srv/a/b").is_dir());
        assert!(create_dirs(root.path(), "/a/../../b").is_err());
        fs::create_dir(root.path().join("var")).unwrap();
        symlink("/run", root.path().join("var/run")).unwrap();
        create_file(root.path(), "/var/run/secrets/token").unwrap();
        assert!(root.path().join("run/secrets/token").is_file());
        symlink("loop", root.path().join("loop")).unwrap();
        assert!(create_dirs(root.path(), "/loop/x").is_err());
    }

    #[test]
    fn a_tree_does_not_follow_symlinks_nor_leave() {
        let root = tempfile::tempdir().unwrap();
        symlink("/tmp", root.path().join("link")).unwrap();
        let tree = Tree::open(root.path()).unwrap();
        assert!(tree.parent(Path::new("link/x")).is_err());
        assert!(tree.parent(Path::new("a/../../x")).is_err());
        assert!(tree.parent(Path::new("/")).unwrap().is_none());
        let (_, name) = tree.parent(Path::new("/a/b/c")).unwrap().unwrap();
        assert_eq!(name, "c");
        assert!(root.path().join("a/b").is_dir());
    }
}
