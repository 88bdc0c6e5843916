//! A disk below SQLite that can be watched and broken: SQLite's own file system layer with three functions replaced. It
//! keeps the order of writes and syncs, so that what a power cut leaves can be made for every point in time, and it
//! refuses to write or to sync when it is told to.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard};

use rusqlite::ffi;

/// What reached the disk, in order.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        size: usize,
    },
    /// All before it is on disk.
    Sync {
        file: String,
    },
    Delete {
        file: String,
    },
    /// This revision was acknowledged.
    Acknowledged(u64),
}

/// What a folder's disk does.
#[derive(Default)]
struct Folder {
    operations: Vec<Operation>,
    full: bool,
    syncs_fail: bool,
}

struct Open {
    folder: PathBuf,
    file: String,
    original: &'static ffi::sqlite3_io_methods,
}

#[derive(Default)]
struct Disks {
    folders: HashMap<PathBuf, Folder>,
    /// By the address of SQLite's file.
    open: HashMap<usize, Open>,
}

static DISKS: LazyLock<Mutex<Disks>> = LazyLock::new(|| {
    // SAFETY: called once, before any connection is opened on a watched folder; the copy is never freed.
    unsafe {
        let original = ffi::sqlite3_vfs_find(std::ptr::null());
        let mut watched = std::ptr::read(original);
        watched.zName = c"watched".as_ptr();
        watched.xOpen = Some(open);
        watched.xDelete = Some(delete);
        ffi::sqlite3_vfs_register(Box::leak(Box::new(watched)), 1);
    }
    Mutex::default()
});

fn disks() -> MutexGuard<'static, Disks> {
    DISKS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A folder on such a disk. Nothing is really synced there.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn new(folder: &Path) -> Disk {
        disks().folders.insert(folder.to_owned(), Folder::default());
        Disk(folder.to_owned())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Folder) -> T) -> T {
        work(disks().folders.get_mut(&self.0).expect("it lives as long as its disk"))
    }

    pub(crate) fn acknowledged(&self, revision: u64) {
        self.with(|f| f.operations.push(Operation::Acknowledged(revision)));
    }

    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.with(|f| f.operations.clone())
    }

    pub(crate) fn is_full(&self, full: bool) {
        self.with(|f| f.full = full);
    }

    pub(crate) fn syncs_fail(&self) {
        self.with(|f| f.syncs_fail = true);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        disks().folders.remove(&self.0);
    }
}

fn original_vfs() -> &'static ffi::sqlite3_vfs {
    // SAFETY: SQLite's own layer is registered for as long as the process lives.
    unsafe { &*ffi::sqlite3_vfs_find(c"unix".as_ptr()) }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let original = original_vfs().xOpen.expect("a layer can open");
    // SAFETY: the arguments are SQLite's, `vfs` is a copy of the original with the same data.
    let outcome = unsafe { original(vfs, name, file, flags, out) };
    if outcome != ffi::SQLITE_OK || name.is_null() {
        return outcome;
    }
    // SAFETY: SQLite's names end with a zero.
    let path = PathBuf::from(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    let mut disks = disks();
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    if !disks.folders.contains_key(&folder) {
        return outcome;
    }
    // SAFETY: a file that was opened has methods, which are static.
    let original: &'static ffi::sqlite3_io_methods = unsafe { &*(*file).pMethods };
    let mut methods = *original;
    methods.xWrite = Some(write);
    methods.xTruncate = Some(truncate);
    methods.xSync = Some(sync);
    methods.xClose = Some(close);
    // SAFETY: the file is ours until we return; its methods are never freed.
    unsafe { (*file).pMethods = Box::leak(Box::new(methods)) };
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    disks.open.insert(file as usize, Open { folder, file: file_name, original });
    outcome
}

/// Notes an operation, unless the disk refuses it.
fn note(
    file: *mut ffi::sqlite3_file,
    operation: impl FnOnce(String) -> Operation,
) -> Result<&'static ffi::sqlite3_io_methods, c_int> {
    let mut disks = disks();
    let Disks { folders, open } = &mut *disks;
    let Open { folder, file, original } = &open[&(file as usize)];
    let Some(folder) = folders.get_mut(folder) else { return Ok(original) };
    let operation = operation(file.clone());
    match operation {
        Operation::Write { .. } if folder.full => return Err(ffi::SQLITE_FULL),
        Operation::Sync { .. } if folder.syncs_fail => return Err(ffi::SQLITE_IOERR_FSYNC),
        _ => folder.operations.push(operation),
    }
    Ok(original)
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, length: c_int, at: i64) -> c_int {
    // SAFETY: SQLite gives so many bytes.
    let copy = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize) }.to_vec();
    match note(file, |file| Operation::Write { file, at: at as usize, bytes: copy }) {
        // SAFETY: the arguments are SQLite's.
        Ok(original) => unsafe { original.xWrite.expect("a file can be written")(file, bytes, length, at) },
        Err(code) => code,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    match note(file, |file| Operation::Truncate { file, size: size as usize }) {
        // SAFETY: the arguments are SQLite's.
        Ok(original) => unsafe { original.xTruncate.expect("a file can be cut")(file, size) },
        Err(code) => code,
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    note(file, |file| Operation::Sync { file }).err().unwrap_or(ffi::SQLITE_OK)
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, mut sync_folder: c_int) -> c_int {
    // SAFETY: SQLite's names end with a zero.
    let path = PathBuf::from(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    if let (Some(folder), Some(file)) = (path.parent(), path.file_name())
        && let Some(folder) = disks().folders.get_mut(folder)
    {
        sync_folder = 0;
        folder.operations.push(Operation::Delete { file: file.to_string_lossy().into_owned() });
    }
    // SAFETY: the arguments are SQLite's, `vfs` is a copy of the original with the same data.
    unsafe { original_vfs().xDelete.expect("a layer can delete")(vfs, name, sync_folder) }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    let open = disks().open.remove(&(file as usize)).expect("it was opened");
    // SAFETY: the arguments are SQLite's.
    unsafe { open.original.xClose.expect("a file can be closed")(file) }
}
