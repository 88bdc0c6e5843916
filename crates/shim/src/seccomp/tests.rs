//! The compiled program is run by a small interpreter and compared with the rules.

use super::*;

/// What the kernel would do with system call `number`.
fn run(program: &[libc::sock_filter], arch: u32, number: u32, args: [u32; 6]) -> u32 {
    let (mut at, mut acc) = (0, 0u32);
    loop {
        let ins = &program[at];
        at += 1;
        match ins.code {
            LD => {
                acc = match ins.k {
                    0 => number,
                    4 => arch,
                    k => args[((k - 16) / 8) as usize],
                }
            }
            AND => acc &= ins.k,
            JEQ | JGE => {
                let taken = if ins.code == JEQ { acc == ins.k } else { acc >= ins.k };
                at += usize::from(if taken { ins.jt } else { ins.jf });
            }
            JA => at += ins.k as usize,
            RET => return ins.k,
            code => panic!("unknown instruction {code}"),
        }
    }
}

const EPERM: u32 = RET_ERRNO | libc::EPERM as u32;
const SYS_ADMIN: u64 = 1 << 21;

#[track_caller]
fn check(capabilities: u64, number: i64, args: [u32; 6], expected: u32) {
    assert_eq!(run(&program(capabilities), ARCH, number as u32, args), expected, "system call {number} {args:?}");
}

#[test]
fn every_number_gets_what_the_rules_say() {
    for capabilities in [0, SYS_ADMIN, u64::MAX] {
        let (rules, program) = (profile::rules(capabilities), program(capabilities));
        assert!(program.len() < 4096);
        for number in (0..1000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
            let got = run(&program, ARCH, number, [0; 6]);
            let expected = match rules.get(&number) {
                None => EPERM,
                Some(Rule::Errno(errno)) => RET_ERRNO | *errno as u32,
                Some(_) => RET_ALLOW, // every argument rule lets zero through
            };
            assert_eq!(got, expected, "{number}");
        }
    }
}

#[test]
fn another_architecture_is_refused() {
    assert_eq!(run(&program(0), 0x4000_0003, 1, [0; 6]), EPERM);
}

#[test]
fn namespaces_mounts_and_kernel_programs_are_refused() {
    for number in [
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_bpf,
        libc::SYS_pivot_root,
        libc::SYS_keyctl,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_open_by_handle_at,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_settimeofday,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
    ] {
        check(0, number, [0; 6], EPERM);
    }
}

#[test]
fn clone_may_not_make_namespaces() {
    check(0, libc::SYS_clone, [libc::SIGCHLD as u32, 0, 0, 0, 0, 0], RET_ALLOW);
    check(0, libc::SYS_clone, [libc::CLONE_NEWUSER as u32, 0, 0, 0, 0, 0], EPERM);
    check(0, libc::SYS_clone, [libc::CLONE_NEWNS as u32, 0, 0, 0, 0, 0], EPERM);
    check(SYS_ADMIN, libc::SYS_clone, [libc::CLONE_NEWNS as u32, 0, 0, 0, 0, 0], RET_ALLOW);
    check(0, libc::SYS_clone3, [0; 6], RET_ERRNO | libc::ENOSYS as u32);
}

#[test]
fn sys_admin_opens_what_it_needs() {
    check(SYS_ADMIN, libc::SYS_mount, [0; 6], RET_ALLOW);
    check(SYS_ADMIN, libc::SYS_unshare, [0; 6], RET_ALLOW);
}

#[test]
fn personality_and_socket_look_at_their_argument() {
    check(0, libc::SYS_personality, [8, 0, 0, 0, 0, 0], RET_ALLOW);
    check(0, libc::SYS_personality, [0x0400_0000, 0, 0, 0, 0, 0], EPERM);
    check(0, libc::SYS_socket, [libc::AF_INET as u32, 0, 0, 0, 0, 0], RET_ALLOW);
    check(0, libc::SYS_socket, [libc::AF_VSOCK as u32, 0, 0, 0, 0, 0], EPERM);
}
