//! Device rules on cgroup v2: a program on the container's cgroup. (On v1 libcontainer writes devices.list.)

use std::{fs::File, io, os::fd::AsRawFd, path::Path};

/// What every container may open: null zero full random urandom tty console ptmx pts.
const ALLOWED: &[(u32, Option<u32>)] = &[
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

const CHARACTER: u32 = 2; // BPF_DEVCG_DEV_CHAR
const MKNOD: u32 = 1; // BPF_DEVCG_ACC_MKNOD

#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Attaches the program to the cgroup at `folder`.
pub(crate) fn restrict(folder: &Path) -> io::Result<()> {
    let cgroup = File::open(folder)?;
    let program = load(&compile())?;
    attach(cgroup.as_raw_fd(), program)
}

/// mknod is harmless without access; all else only for `ALLOWED`.
fn compile() -> Vec<Instruction> {
    let ins =
        |code, dst: u8, src: u8, offset, immediate| Instruction { code, registers: src << 4 | dst, offset, immediate };
    let load = |dst, offset| ins(0x61, dst, 1, offset, 0);
    let jump_if_not = |register, value: u32, distance| ins(0x55, register, 0, distance, value as i32);
    let answer = |value| [ins(0xb7, 0, 0, 0, value), ins(0x95, 0, 0, 0, 0)];
    let mut out = vec![
        load(2, 0),
        ins(0xbf, 3, 2, 0, 0),      // r3 = r2
        ins(0x57, 2, 0, 0, 0xffff), // r2: device type
        ins(0x77, 3, 0, 0, 16),     // r3: access
        load(4, 4),
        load(5, 8),
        jump_if_not(3, MKNOD, 2),
    ];
    out.extend(answer(1));
    out.push(jump_if_not(
        2,
        CHARACTER,
        (ALLOWED.len() * 4) as i16 - ALLOWED.iter().filter(|d| d.1.is_none()).count() as i16,
    ));
    for (major, minor) in ALLOWED {
        match minor {
            Some(minor) => out.extend([jump_if_not(4, *major, 3), jump_if_not(5, *minor, 2)]),
            None => out.push(jump_if_not(4, *major, 2)),
        }
        out.extend(answer(1));
    }
    out.extend(answer(0));
    out
}

fn load(program: &[Instruction]) -> io::Result<i32> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        rest: [u64; 14],
    }
    let license = c"Apache-2.0";
    let attributes = Load {
        kind: 15, // BPF_PROG_TYPE_CGROUP_DEVICE
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        rest: [0; 14],
    };
    bpf(5, &attributes)
}

fn attach(cgroup: i32, program: i32) -> io::Result<()> {
    #[repr(C)]
    struct Attach {
        target: i32,
        program: i32,
        kind: u32,
        flags: u32,
        rest: [u64; 14],
    }
    // BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI
    bpf(8, &Attach { target: cgroup, program, kind: 6, flags: 2, rest: [0; 14] }).map(|_| ())
}

fn bpf<T>(command: i32, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes have the kernel's layout, zeroed beyond what is used, and live through the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers: a tiny eBPF interpreter.
    fn run(kind: u32, access: u32, major: u32, minor: u32) -> u64 {
        let context = [kind | access << 16, major, minor];
        let (mut r, program, mut at) = ([0u64; 11], compile(), 0usize);
        loop {
            let i = program[at];
            let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            at += 1;
            match i.code {
                0x61 => r[dst] = context[i.offset as usize / 4].into(),
                0xbf => r[dst] = r[src],
                0x57 => r[dst] &= i.immediate as u64,
                0x77 => r[dst] >>= i.immediate,
                0x55 if r[dst] != i.immediate as u64 => at += i.offset as usize,
                0x55 => {}
                0xb7 => r[dst] = i.immediate as u64,
                0x95 => return r[0],
                code => panic!("unknown instruction {code:#x}"),
            }
        }
    }

    #[track_caller]
    fn check(kind: u32, access: u32, device: (u32, u32), allowed: bool) {
        assert_eq!(run(kind, access, device.0, device.1), u64::from(allowed), "{kind} {access} {device:?}");
    }

    #[test]
    fn only_the_usual_devices_open() {
        check(CHARACTER, 2, (1, 3), true);
        check(CHARACTER, 6, (136, 77), true);
        check(CHARACTER, 2, (5, 2), true);
        check(CHARACTER, 2, (4, 64), false);
        check(CHARACTER, 2, (1, 1), false);
        check(1, 2, (1, 3), false);
        check(1, 2, (254, 0), false);
    }

    #[test]
    fn nodes_can_be_made_but_not_used() {
        check(1, MKNOD, (254, 0), true);
        check(CHARACTER, MKNOD | 2, (4, 64), false);
    }

    /// With the kernel's own verifier, where a unified hierarchy is mounted.
    #[test]
    fn the_kernel_takes_the_program_and_refuses_devices() {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mount =
            mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|fields| fields[2] == "cgroup2");
        let Some(mount) = mount.filter(|_| unsafe { libc::geteuid() } == 0) else {
            eprintln!("SKIPPED: needs root and cgroup2");
            return;
        };
        let cgroup = Path::new(mount[1]).join(format!("lanyard-test-{}", std::process::id()));
        std::fs::create_dir(&cgroup).unwrap();
        let restricted = restrict(&cgroup);
        let node = std::env::temp_dir().join(format!("lanyard-kmsg-{}", std::process::id()));
        let script = format!(
            "echo $$ > {}/cgroup.procs; echo > /dev/null && mknod {1} c 1 11 && ! cat {1} 2>&1 > /dev/null | grep -v 'not permitted'",
            cgroup.display(),
            node.display()
        );
        let status = std::process::Command::new("/bin/sh").args(["-c", &script]).status();
        let _ = std::fs::remove_file(node);
        let _ = std::fs::remove_dir(&cgroup);
        restricted.unwrap();
        assert!(status.unwrap().success());
    }
}
