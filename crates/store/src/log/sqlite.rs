//! The log in one SQLite file: an append-only table, synced at every batch. `current` shows the newest of each key.
//!
//! A second connection, on a thread of its own, checkpoints and deletes what nobody needs, so that neither is in the
//! way of a commit for long. A lock file beside the database keeps a second process out.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use meta::{Key, ResourceId, Revision};
use rusqlite::types::FromSqlError;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use super::{Garbage, Log, LogError, OpenError, Record, Replayed, wal};

/// The format that this version writes; it reads no other.
const FORMAT: i64 = 1;
/// "Lany": what SQLite's header says about whose file it is.
const APPLICATION: i64 = 0x4c61_6e79;

/// Most objects fit into a page.
const PAGE: u64 = 8192;

/// A row's id is its revision, and its position in the transaction in the lower bits.
const POSITION_BITS: u32 = 16;

const SCHEMA: &str = "
    CREATE TABLE log (id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB);
    CREATE TABLE floor (resource TEXT PRIMARY KEY, revision INTEGER NOT NULL);
    CREATE TABLE newest (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
    CREATE VIEW current AS
        SELECT id >> 16 AS revision, key, value FROM log
        WHERE id IN (SELECT max(id) FROM log GROUP BY key) AND value IS NOT NULL;
";

/// A store's file, open and locked.
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
    janitor: Option<Janitor>,
    tidying: Tidying,
    /// Bytes of records since the janitor was last told to look.
    written: u64,
    turn: Arc<Turn>,
    _lock: File,
}

/// When the janitor works. The defaults are what a server wants; tests want to see all of it soon.
#[derive(Clone, Copy, Debug)]
pub struct Tidying {
    pub every: Duration,
    /// So many bytes of the write-ahead log that are not in the database yet are moved there.
    pub worth_it: u64,
    /// At so many bytes in all a commit waits until it has begun anew.
    pub too_large: u64,
    /// A file that became so long is cut: else it keeps its length, since to overwrite costs the file system a third of
    /// what it costs to grow.
    pub too_long: u64,
}

impl Default for Tidying {
    fn default() -> Self {
        Tidying { every: Duration::from_secs(1), worth_it: 4 << 20, too_large: 16 << 20, too_long: 64 << 20 }
    }
}

/// The thread that tidies up.
struct Janitor {
    queue: Sender<Task>,
    thread: JoinHandle<()>,
}

/// What the commits and the janitor leave for each other.
#[derive(Default)]
struct Turn {
    /// The janitor has moved most of the write-ahead log: before the next commit it is to begin anew.
    anew: AtomicBool,
    /// The database could not be synced. What the kernel then drops is nowhere else once the log is written over.
    lost: AtomicBool,
}

enum Task {
    Delete(Garbage),
    /// Much was written: do not wait for the next time.
    Look,
}

impl Sqlite {
    /// Opens or creates the file; only this user may read it.
    ///
    /// # Errors
    /// In use by another process, from a newer version, damaged, or not a store at all.
    pub fn open(path: impl AsRef<Path>) -> Result<Sqlite, OpenError> {
        Self::open_with(path, Tidying::default())
    }

    /// # Errors
    /// As `open`.
    pub fn open_with(path: impl AsRef<Path>, tidying: Tidying) -> Result<Sqlite, OpenError> {
        let path = path.as_ref();
        let lock = lock(path)?;
        private().open(path).map_err(|e| failed(path, e))?;
        wal::check(&suffixed(path, "-wal"))?;
        let left_behind = std::fs::metadata(suffixed(path, "-wal")).is_ok_and(|m| m.len() > 0);
        let connection = connect(path).map_err(|e| foreign(path, &e))?;
        prepare(&connection, path)?;
        if left_behind {
            // a torn transaction may have left a frame that ends one behind the tear: with another one before it that
            // is torn as well, two ends would follow, which reads as damage
            match has_room(path) {
                true => drop(wal_checkpoint(&connection, "TRUNCATE").map_err(|e| failed(path, e))?),
                // what is there can be read and served; the janitor does it when there is room
                false => {
                    tracing::warn!(path = %path.display(), "the write-ahead log stays as it is: the disk is nearly full")
                }
            }
        }
        let turn = Arc::<Turn>::default();
        let janitor = Janitor::start(path, tidying, turn.clone())?;
        Ok(Sqlite { path: path.to_owned(), connection, janitor: Some(janitor), tidying, written: 0, turn, _lock: lock })
    }
}

impl Log for Sqlite {
    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<Replayed, LogError> {
        replay(&self.connection, each).map_err(|e| e.of(&self.path))
    }

    fn append(&mut self, records: &[Record]) -> Result<(), LogError> {
        if self.turn.anew.swap(false, Ordering::Relaxed) {
            self.turn.begin_anew(&self.connection, &self.path, self.tidying);
        }
        if self.turn.lost.load(Ordering::Relaxed) {
            return Err(LogError::Failed("failed to sync the database".into()).of(&self.path));
        }
        let outcome = append(&self.connection, records);
        if outcome.is_err() && !self.connection.is_autocommit() {
            // a failed rollback shows at the next append
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        // a batch writes a page at least
        self.written += PAGE + records.iter().map(|r| r.value.as_ref().map_or(0, |v| v.len() as u64)).sum::<u64>();
        if self.written >= self.tidying.worth_it {
            self.written = 0;
            self.tell(Task::Look);
        }
        outcome.map_err(|e| e.of(&self.path))
    }

    fn compact(&mut self, garbage: Garbage) {
        self.tell(Task::Delete(garbage));
    }
}

impl Sqlite {
    fn tell(&self, task: Task) {
        if let Some(janitor) = &self.janitor {
            // its thread ends only with this log
            let _ = janitor.queue.send(task);
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if let Some(Janitor { queue, thread }) = self.janitor.take() {
            drop(queue);
            let _ = thread.join();
        }
    }
}

fn replay(connection: &Connection, each: &mut dyn FnMut(Record)) -> Result<Replayed, LogError> {
    let mut statement = connection.prepare("SELECT id, key, value FROM log ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let path = row.get_ref(1)?.as_str()?;
        let key = Key::from_path(path).ok_or_else(|| LogError::Failed(format!("{path:?} is no key")))?;
        let value = row.get_ref(2)?.as_blob_or_null()?.map(Bytes::copy_from_slice);
        each(Record { revision: revision_of(row.get(0)?), key, value });
    }
    let mut statement = connection.prepare("SELECT resource, revision FROM floor")?;
    let floors = statement
        .query_map([], |row| Ok((ResourceId::from_text(row.get_ref(0)?.as_str()?), Revision(unsigned(row.get(1)?)))))?
        .collect::<Result<Vec<_>, _>>()?;
    let mut statement = connection.prepare("SELECT max(revision) FROM newest")?;
    let newest: Option<i64> = statement.query_row([], |row| row.get(0))?;
    Ok(Replayed { revision: Revision(newest.map_or(0, unsigned)), floors })
}

fn append(connection: &Connection, records: &[Record]) -> Result<(), LogError> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    {
        let mut insert = connection.prepare_cached("INSERT INTO log (id, key, value) VALUES (?1, ?2, ?3)")?;
        let (mut revision, mut position) = (Revision(0), 0_i64);
        for record in records {
            position = if record.revision == revision { position + 1 } else { 0 };
            revision = record.revision;
            if position >> POSITION_BITS != 0 {
                return Err(LogError::Full("a transaction has too many writes".into()));
            }
            let id = first_id(revision) + position;
            insert.execute(params![id, record.key.to_path(), record.value.as_deref()])?;
        }
    }
    connection.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

fn first_id(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX >> POSITION_BITS) << POSITION_BITS
}

fn revision_of(id: i64) -> Revision {
    Revision(unsigned(id >> POSITION_BITS))
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

impl LogError {
    /// Names the file.
    fn of(self, path: &Path) -> Self {
        let path = path.display();
        match self {
            LogError::Full(why) => LogError::Full(format!("{path}: {why}")),
            LogError::Failed(why) => LogError::Failed(format!("{path}: {why}")),
        }
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => LogError::Full(error.to_string()),
            _ => LogError::Failed(error.to_string()),
        }
    }
}

impl From<FromSqlError> for LogError {
    fn from(error: FromSqlError) -> Self {
        LogError::Failed(error.to_string())
    }
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let beside = suffixed(path, "-lock");
    let file = private().open(&beside).map_err(|e| failed(&beside, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.display().to_string())),
        Err(TryLockError::Error(e)) => Err(failed(&beside, e)),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Every transaction is synced before the next one begins, the janitor's too: so a power cut can spoil the last one only,
/// and whatever else is missing from the write-ahead log is damage (`wal`).
fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    // of a new file
    connection.execute_batch(&format!("PRAGMA page_size = {PAGE}"))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;")?;
    Ok(connection)
}

/// Checks whose file it is and of which format; makes the tables in an empty one.
fn prepare(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let read =
        || Ok::<_, rusqlite::Error>((number("schema_version")?, number("application_id")?, number("user_version")?));
    match read().map_err(|e| foreign(path, &e))? {
        (0, _, _) => create(connection).map_err(|e| failed(path, e)),
        (_, APPLICATION, FORMAT) => Ok(()),
        (_, APPLICATION, found) => Err(OpenError::Newer { path: path.display().to_string(), found, known: FORMAT }),
        _ => Err(OpenError::Foreign {
            path: path.display().to_string(),
            why: "it is another program's SQLite database".into(),
        }),
    }
}

fn create(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(&format!(
        "BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {FORMAT}; {SCHEMA} COMMIT;"
    ))
}

fn foreign(path: &Path, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Foreign { path: path.display().to_string(), why: error.to_string() }
        }
        _ => failed(path, error),
    }
}

fn failed(path: &Path, why: impl std::fmt::Display) -> OpenError {
    OpenError::Failed { path: path.display().to_string(), why: why.to_string() }
}

impl Janitor {
    fn start(path: &Path, tidying: Tidying, turn: Arc<Turn>) -> Result<Janitor, OpenError> {
        let connection = connect(path).map_err(|e| failed(path, e))?;
        let (queue, tasks) = mpsc::channel();
        let own = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("tidy".into())
            .spawn(move || tidy(&connection, &own, tidying, &turn, &tasks))
            .map_err(|e| failed(path, e))?;
        Ok(Janitor { queue, thread })
    }
}

fn tidy(connection: &Connection, path: &Path, tidying: Tidying, turn: &Turn, queue: &mpsc::Receiver<Task>) {
    let mut owed: VecDeque<Garbage> = VecDeque::new();
    loop {
        let mut quiet = false;
        match queue.recv_timeout(tidying.every) {
            Ok(Task::Delete(garbage)) => owed.push_back(garbage),
            Ok(Task::Look) => {}
            Err(RecvTimeoutError::Timeout) => quiet = true,
            Err(RecvTimeoutError::Disconnected) => return,
        }
        // strictly in order, and what failed is tried again before anything later: a removal's record must outlive all
        // earlier records of its key, or the next start brings the object back
        while let Some(garbage) = owed.front() {
            if let Err(error) = delete(connection, garbage, || turn.look(connection, path, tidying, false)) {
                tracing::warn!("failed to delete superseded records, they are deleted later: {error}");
                break;
            }
            owed.pop_front();
        }
        turn.look(connection, path, tidying, quiet);
    }
}

impl Turn {
    /// Checkpoints if that is worth it. `quiet`: nobody commits.
    fn look(&self, connection: &Connection, path: &Path, tidying: Tidying, quiet: bool) {
        if self.anew.load(Ordering::Relaxed) {
            // the next commit does it, if one comes
            if quiet && self.anew.swap(false, Ordering::Relaxed) {
                self.begin_anew(connection, path, tidying);
            }
            return;
        }
        match checkpoint(connection, path, tidying) {
            Ok(due) => self.anew.store(due, Ordering::Relaxed),
            Err(error) => self.failed("checkpoint the store", &error),
        }
    }

    fn begin_anew(&self, connection: &Connection, path: &Path, tidying: Tidying) {
        let mode = if is_too_long(path, tidying) { "TRUNCATE" } else { "RESTART" };
        if let Err(error) = wal_checkpoint(connection, mode) {
            self.failed("begin the write-ahead log anew", &error);
        }
    }

    fn failed(&self, what: &str, error: &rusqlite::Error) {
        let unsynced = error.sqlite_error().is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_IOERR_FSYNC);
        self.lost.fetch_or(unsynced, Ordering::Relaxed);
        tracing::warn!("failed to {what}: {error}");
    }
}

/// In small transactions, so that commits wait only for a moment; between some of them, `breathe`.
fn delete(connection: &Connection, garbage: &Garbage, breathe: impl Fn()) -> Result<(), rusqlite::Error> {
    const AT_ONCE: usize = 256;
    const BREATH: usize = 16;
    for (n, dead) in garbage.dead.chunks(AT_ONCE).enumerate() {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        for (resource, floor) in &garbage.floors {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO floor VALUES (?1, ?2)")?
                .execute(params![resource.as_str(), signed(*floor)])?;
        }
        transaction
            .prepare_cached("INSERT OR REPLACE INTO newest VALUES (1, ?1)")?
            .execute([signed(garbage.revision)])?;
        for (revision, key) in dead {
            let first = first_id(*revision);
            let last = first + ((1 << POSITION_BITS) - 1);
            transaction.prepare_cached("DELETE FROM log WHERE id BETWEEN ?1 AND ?2 AND key = ?3")?.execute(params![
                first,
                last,
                key.to_path()
            ])?;
        }
        transaction.commit()?;
        if n % BREATH == BREATH - 1 {
            breathe();
        }
        std::thread::yield_now();
    }
    Ok(())
}

/// Whether the whole write-ahead log fits beside what is there, and the rest of the server still has some room.
fn has_room(path: &Path) -> bool {
    const SPARE: u64 = 8 << 20;
    let log = std::fs::metadata(suffixed(path, "-wal")).map_or(0, |m| m.len());
    let free =
        nix::sys::statvfs::statvfs(path).map_or(0, |fs| fs.blocks_available().saturating_mul(fs.fragment_size()));
    free >= log.saturating_add(SPARE)
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// Moves the write-ahead log into the database, but for what is written meanwhile. True: it is to begin anew, which is
/// best done between two commits, since a writer that never pauses leaves another connection no moment for it.
fn checkpoint(connection: &Connection, path: &Path, tidying: Tidying) -> Result<bool, rusqlite::Error> {
    let page: i64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    let bytes = |frames: i64| unsigned(frames.saturating_mul(page));
    let (mut used, mut moved) = wal_checkpoint(connection, "NOOP")?;
    if bytes(used - moved) >= tidying.worth_it {
        (used, moved) = wal_checkpoint(connection, "PASSIVE")?;
    }
    // one that is moved whole begins anew by itself
    Ok((used > moved && bytes(used) >= tidying.too_large) || is_too_long(path, tidying))
}

fn is_too_long(path: &Path, tidying: Tidying) -> bool {
    std::fs::metadata(suffixed(path, "-wal")).is_ok_and(|m| m.len() >= tidying.too_long)
}

/// The frames of the write-ahead log, and how many of them are in the database. One that another connection is in the way of
/// does nothing, and is tried again later.
fn wal_checkpoint(connection: &Connection, mode: &str) -> Result<(i64, i64), rusqlite::Error> {
    let sql = format!("PRAGMA wal_checkpoint({mode})");
    connection.query_row(&sql, [], |row| {
        if row.get::<_, bool>(0)? {
            tracing::debug!(mode, "a checkpoint was in the way of another");
        }
        Ok((row.get(1)?, row.get(2)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opening_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let _first = Sqlite::open(&path).unwrap();
        let error = Sqlite::open(&path).err().unwrap();
        assert_eq!(error.to_string(), format!("{} is in use by another process", path.display()));
    }

    #[test]
    fn a_newer_format_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        drop(Sqlite::open(&path).unwrap());
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 7").unwrap();
        let error = Sqlite::open(&path).err().unwrap();
        assert!(matches!(error, OpenError::Newer { found: 7, known: 1, .. }), "{error}");
    }

    #[test]
    fn another_files_content_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (text, other) = (dir.path().join("text"), dir.path().join("other"));
        std::fs::write(&text, "not a database, but long enough to look at it ".repeat(50)).unwrap();
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
        for path in [text, other] {
            assert!(matches!(Sqlite::open(&path), Err(OpenError::Foreign { .. })), "{path:?}");
        }
    }

    #[test]
    fn only_the_owner_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let _log = Sqlite::open(&path).unwrap();
        for suffix in ["", "-wal", "-lock"] {
            let mode = std::fs::metadata(suffixed(&path, suffix)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{suffix}");
        }
    }

    #[test]
    fn the_write_ahead_log_is_written_over_and_cut_when_it_is_too_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        let length = || std::fs::metadata(suffixed(&path, "-wal")).unwrap().len();
        // the janitor sleeps: each step is taken here
        let never =
            Tidying { every: Duration::from_secs(3600), worth_it: u64::MAX, too_large: 200_000, too_long: 400_000 };
        let mut log = Sqlite::open_with(&path, never).unwrap();
        let mut revision = 1;
        let mut append = |log: &mut Sqlite, until| {
            let mut appended = 0;
            while appended == 0 || length() < until {
                (revision, appended) = (revision + 1, appended + 1);
                let key = Key::new(ResourceId::new("", "pods"), "a", "b");
                log.append(&[Record { revision: Revision(revision), key, value: Some(vec![7; 20_000].into()) }])
                    .unwrap();
            }
            revision
        };
        append(&mut log, 100_000);
        assert!(!checkpoint(&log.connection, &path, never).unwrap(), "not worth it");
        append(&mut log, 300_000);
        assert!(checkpoint(&log.connection, &path, never).unwrap());
        let before = length();
        for _ in 0..5 {
            log.turn.anew.store(true, Ordering::Relaxed);
            append(&mut log, 0);
            assert_eq!(length(), before, "it keeps its length");
        }
        append(&mut log, 400_000);
        log.turn.anew.store(true, Ordering::Relaxed);
        let last = append(&mut log, 0);
        assert!(length() < 100_000, "it was cut");
        drop(log);
        let mut found = 0;
        Sqlite::open(&path).unwrap().replay(&mut |_| found += 1).unwrap();
        assert_eq!(found, last - 1);
    }

    #[test]
    fn nothing_is_acknowledged_once_a_checkpoint_could_not_sync() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Sqlite::open(dir.path().join("s.db")).unwrap();
        let error = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        log.turn.failed("checkpoint", &error(rusqlite::ffi::SQLITE_FULL));
        log.append(&[]).unwrap();
        log.turn.failed("checkpoint", &error(rusqlite::ffi::SQLITE_IOERR_FSYNC));
        assert!(matches!(log.append(&[]), Err(LogError::Failed(_))));
    }

    #[test]
    fn a_full_disk_refuses_the_batch_and_leaves_the_rest_readable() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Sqlite::open(dir.path().join("s.db")).unwrap();
        log.connection.execute_batch("PRAGMA max_page_count = 20").unwrap();
        let record = |revision, size| Record {
            revision: Revision(revision),
            key: Key::new(ResourceId::new("", "pods"), "a", "b"),
            value: Some(vec![0; size].into()),
        };
        log.append(&[record(2, 10)]).unwrap();
        assert!(matches!(log.append(&[record(3, 1 << 20)]), Err(LogError::Full(_))));
        log.append(&[record(3, 11)]).unwrap();
        let mut seen = Vec::new();
        log.replay(&mut |r| seen.push(r.revision.0)).unwrap();
        assert_eq!(seen, [2, 3]);
    }
}
