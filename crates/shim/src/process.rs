//! The last steps inside a container: find the command, put on seccomp, ids and capabilities, execute.
//!
//! Used by the container's first process and by exec, so both run under exactly the same restrictions. The filter is
//! loaded while CAP_SYS_ADMIN is still held, since without no_new_privs the kernel asks for it.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{contract::Process, seccomp};

const LAST_CAPABILITY: u64 = 40;

/// Why a command does not start, in the words of runc.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Exit code that a shell would give: 126 or 127.
    pub(crate) code: i32,
    /// `exec: "foo": executable file not found in $PATH`
    pub(crate) message: String,
}

impl Refusal {
    fn step(step: &str, error: io::Error) -> Self {
        Self { code: 126, message: format!("{step}: {}", describe(&error)) }
    }
}

/// What is executed, ready to go: nothing is allocated between the restrictions and execve.
pub(crate) struct Prepared {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    filter: Option<Vec<libc::sock_filter>>,
}

/// Finds the command below the current root and compiles the filter.
pub(crate) fn prepare(process: &Process) -> Result<Prepared, Refusal> {
    let filter = process.seccomp.then(|| seccomp::program(process.capabilities));
    let program = find(process)?;
    let invalid = |_| Refusal { code: 126, message: "invalid argument: NUL byte in command or environment".into() };
    Ok(Prepared {
        program: CString::new(program.as_os_str().as_bytes()).map_err(invalid)?,
        args: process.args.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<_, _>>().map_err(invalid)?,
        env: environment(process).into_iter().map(CString::new).collect::<Result<_, _>>().map_err(invalid)?,
        filter,
    })
}

/// Puts on the restrictions and executes. Returns only on failure.
pub(crate) fn become_process(process: &Process, prepared: &Prepared) -> Refusal {
    match restrict(process, prepared) {
        Ok(()) => execute(process, prepared),
        Err(refusal) => refusal,
    }
}

fn restrict(process: &Process, prepared: &Prepared) -> Result<(), Refusal> {
    reset_signals();
    if [process.uid, process.gid].contains(&u32::MAX) {
        // to the kernel this number means: stay who you are
        return Err(Refusal { code: 126, message: "4294967295 is no user or group".into() });
    }
    // SAFETY: plain system calls without pointers, but for setgroups, whose array lives through the call.
    unsafe {
        for stdio in 0..3 {
            // a pipe or terminal made by root: /dev/stdout must open for its user; read-only things may say no
            if !is_null(stdio) {
                libc::fchown(stdio, process.uid, u32::MAX);
            }
        }
        let groups = process.groups.as_ptr();
        check("setgroups", libc::setgroups(process.groups.len(), groups))?;
        if process.no_new_privs {
            check("set no_new_privs", libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        }
        drop_bounding(process.capabilities)?;
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    }
    let entered = process.uid != 0 && std::env::set_current_dir(cwd(process)).is_ok();
    if let Some(filter) = &prepared.filter {
        seccomp::load(filter).map_err(|error| Refusal::step("load seccomp filter", error))?;
    }
    // SAFETY: as above.
    unsafe {
        check("setresgid", libc::setresgid(process.gid, process.gid, process.gid))?;
        check("setresuid", libc::setresuid(process.uid, process.uid, process.uid))?;
    }
    let held = if process.uid == 0 { process.capabilities } else { 0 };
    set_capabilities(held)?;
    change_directory(process, entered)
}

/// Whether this is `/dev/null`: it is the host's own node, which must not come to belong to a container's user.
fn is_null(fd: libc::c_int) -> bool {
    // SAFETY: a zeroed stat is valid and lives through the call.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        libc::fstat(fd, &mut stat) == 0
            && stat.st_mode & libc::S_IFMT == libc::S_IFCHR
            && stat.st_rdev == libc::makedev(1, 3)
    }
}

/// Root tried first, since the folder may be closed to the user; the user may see more of a network file system. The
/// working directory must lie below this root: a leaked descriptor could lead elsewhere.
fn change_directory(process: &Process, entered: bool) -> Result<(), Refusal> {
    let cwd = cwd(process);
    if let Err(error) = std::env::set_current_dir(cwd)
        && !entered
    {
        return Err(Refusal { code: 126, message: format!("chdir to cwd ({cwd:?}): {}", describe(&error)) });
    }
    match std::env::current_dir() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(Refusal { code: 126, message: "current working directory is outside of container root".into() }),
    }
}

fn cwd(process: &Process) -> &str {
    if process.cwd.is_empty() { "/" } else { &process.cwd }
}

fn execute(process: &Process, prepared: &Prepared) -> Refusal {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(&prepared.args), pointers(&prepared.env));
    // SAFETY: both arrays end with null and their strings live in `prepared`.
    unsafe { libc::execve(prepared.program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    let error = io::Error::last_os_error();
    let code = if error.raw_os_error() == Some(libc::ENOENT) { 127 } else { 126 };
    Refusal { code, message: format!("exec {}: {}", prepared.program.to_string_lossy(), describe(&error)) }
        .for_command(process)
}

impl Refusal {
    fn for_command(self, process: &Process) -> Self {
        let name = process.args.first().map(String::as_str).unwrap_or_default();
        let cause = self.message.rsplit_once(": ").map_or(self.message.as_str(), |(_, cause)| cause);
        Self { code: self.code, message: format!("exec: {name:?}: {cause}") }
    }
}

fn environment(process: &Process) -> Vec<String> {
    let mut env = process.env.clone();
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={}", home(process.uid).unwrap_or_else(|| "/".into())));
    }
    env
}

fn home(uid: u32) -> Option<String> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find_map(|fields| match fields[..] {
        [_, _, id, _, _, home, ..] if id.parse() == Ok(uid) && !home.is_empty() => Some(home.to_owned()),
        _ => None,
    })
}

fn find(process: &Process) -> Result<PathBuf, Refusal> {
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    let refuse = |code, cause: String| Refusal { code, message: format!("exec: {name:?}: {cause}") };
    if name.contains('/') {
        let path = Path::new(cwd(process)).join(name);
        return match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(refuse(127, format!("stat {name}: no such file or directory")))
            }
            Err(error) => Err(refuse(126, format!("stat {name}: {}", describe(&error)))),
            Ok(meta) if meta.is_dir() => Err(refuse(126, "is a directory".into())),
            Ok(meta) if meta.permissions().mode() & 0o111 == 0 => Err(refuse(126, "permission denied".into())),
            Ok(_) => Ok(path),
        };
    }
    let path = process.env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let runs = |candidate: &PathBuf| {
        fs::metadata(candidate).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let absolute = path.split(':').filter(|folder| folder.starts_with('/'));
    absolute
        .map(|folder| Path::new(folder).join(name))
        .find(|candidate| !name.is_empty() && runs(candidate))
        .ok_or_else(|| refuse(127, "executable file not found in $PATH".into()))
}

/// Ignored signals and a blocked mask would be inherited by the container.
fn reset_signals() {
    // SAFETY: zeroed sets and actions are valid; SIGKILL and SIGSTOP just answer EINVAL.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

fn drop_bounding(keep: u64) -> Result<(), Refusal> {
    for capability in 0..=LAST_CAPABILITY {
        if keep & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: a system call without pointers.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        if done != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            return Err(Refusal::step("drop bounding capability", io::Error::last_os_error()));
        }
    }
    Ok(())
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Permitted and effective become `held` as far as they are permitted now; inheritable becomes empty.
fn set_capabilities(held: u64) -> Result<(), Refusal> {
    let header = CapHeader { version: 0x2008_0522, pid: 0 };
    let mut now = [CapData::default(); 2];
    // SAFETY: header and data have the layout of version 3 of capget and capset, and live through the calls.
    unsafe {
        check("capget", libc::syscall(libc::SYS_capget, &header, now.as_mut_ptr()) as libc::c_int)?;
        let half = |index: usize| {
            let bits = (held >> (32 * index)) as u32 & now[index].permitted;
            CapData { effective: bits, permitted: bits, inheritable: 0 }
        };
        let data = [half(0), half(1)];
        check("capset", libc::syscall(libc::SYS_capset, &header, data.as_ptr()) as libc::c_int)
    }
}

fn check(step: &str, result: libc::c_int) -> Result<(), Refusal> {
    if result < 0 { Err(Refusal::step(step, io::Error::last_os_error())) } else { Ok(()) }
}

/// The error as Go prints it: lowercase, without number.
pub(crate) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_missing(command: &str, message: &str) {
        let process =
            Process { args: vec![command.into()], env: vec!["PATH=/bin:/usr/bin".into()], ..Default::default() };
        match find(&process) {
            Err(refusal) => assert_eq!(refusal.message, message),
            Ok(path) => panic!("found {path:?}"),
        }
    }

    #[test]
    fn a_missing_command_is_told_as_runc_tells_it() {
        check_missing("nosuch", r#"exec: "nosuch": executable file not found in $PATH"#);
        check_missing("", r#"exec: "": executable file not found in $PATH"#);
        check_missing("/no/such", r#"exec: "/no/such": stat /no/such: no such file or directory"#);
        check_missing("/etc/passwd", r#"exec: "/etc/passwd": permission denied"#);
        check_missing("/etc", r#"exec: "/etc": is a directory"#);
    }

    #[test]
    fn home_is_filled_in_from_passwd() {
        let process = Process::default();
        assert!(environment(&process).contains(&"HOME=/root".to_owned()));
        let process = Process { env: vec!["HOME=/x".into()], ..Default::default() };
        assert_eq!(environment(&process), ["HOME=/x"]);
    }
}
