//! hostPath: the type that the pod asks for is checked, and made where the type says so.

use std::{io, os::unix::fs::FileTypeExt, path::Path};

use super::set_mode;
use crate::pod::HostPath;

pub(super) fn check(host: &HostPath) -> Result<(), String> {
    let path = Path::new(&host.path);
    let failed = |what: &str| format!("hostPath type check failed: {} is not {what}", host.path);
    let made = match host.kind.as_str() {
        // CRI runtimes make the folder when it is missing
        "" | "DirectoryOrCreate" if !path.exists() => make_dir(path),
        "FileOrCreate" if !path.exists() => make_file(path),
        _ => Ok(()),
    };
    made.map_err(|error| format!("failed to make {}: {error}", host.path))?;
    let Ok(meta) = std::fs::metadata(path) else {
        return match host.kind.as_str() {
            "Directory" => Err(failed("a directory")),
            "File" => Err(failed("a file")),
            "Socket" => Err(failed("a socket file")),
            "CharDevice" => Err(failed("a character device")),
            "BlockDevice" => Err(failed("a block device")),
            _ => Err(format!("{} does not exist", host.path)),
        };
    };
    let kind = meta.file_type();
    match host.kind.as_str() {
        "Directory" | "DirectoryOrCreate" if !kind.is_dir() => Err(failed("a directory")),
        "File" | "FileOrCreate" if !kind.is_file() => Err(failed("a file")),
        "Socket" if !kind.is_socket() => Err(failed("a socket file")),
        "CharDevice" if !kind.is_char_device() => Err(failed("a character device")),
        "BlockDevice" if !kind.is_block_device() => Err(failed("a block device")),
        _ => Ok(()),
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    set_mode(path, 0o755)
}

fn make_file(path: &Path) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    set_mode(path, 0o644)
}
