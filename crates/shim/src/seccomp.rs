//! The default seccomp profile, compiled to a BPF program that is a binary search over system call numbers.
//!
//! No C library and no JSON: the profile is `profile::rules`, the program ≈ 150 instructions, the search ≈ 8 of them.

mod profile;

use std::{collections::BTreeMap, io};

/// What happens to one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Let through.
    Allow,
    /// Answered with this errno.
    Errno(i32),
    /// Let through if `args[index] & mask == value` (low 32 bits), else EPERM.
    Masked { index: u32, mask: u32, value: u32 },
    /// Let through if `args[index]` (low 32 bits) is one of these, else EPERM.
    OneOf { index: u32, values: &'static [u32] },
    /// Let through unless `args[index]` (low 32 bits) is this, then EPERM.
    NotOne { index: u32, value: u32 },
}

const LD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JEQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JGE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RET: u16 = 0x06; // BPF_RET | BPF_K
const JA: u16 = 0x05; // BPF_JMP | BPF_JA

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// The program for a process that holds these capabilities.
pub(crate) fn program(capabilities: u64) -> Vec<libc::sock_filter> {
    compile(&profile::rules(capabilities))
}

/// Puts the calling process under the program. Needs CAP_SYS_ADMIN or no_new_privs.
pub(crate) fn load(program: &[libc::sock_filter]) -> io::Result<()> {
    let fprog = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: fprog points to `len` instructions that live through the call.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &fprog) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn compile(rules: &BTreeMap<u32, Rule>) -> Vec<libc::sock_filter> {
    let mut out = vec![op(LD, 4), jump(JEQ, ARCH, 1, 0), op(RET, RET_ERRNO | libc::EPERM as u32), op(LD, 0)];
    out.extend(tree(&segments(rules)));
    out
}

/// The number line cut into runs of one rule: (first number, rule).
fn segments(rules: &BTreeMap<u32, Rule>) -> Vec<(u32, Rule)> {
    let refuse = Rule::Errno(libc::EPERM);
    let mut out = vec![(0, refuse.clone())];
    let mut push = |start: u32, rule: Rule| match out.last_mut() {
        Some(last) if last.0 == start => last.1 = rule,
        Some(last) if last.1 == rule => {}
        _ => out.push((start, rule)),
    };
    let mut next = 0;
    for (&number, rule) in rules {
        if number > next {
            push(next, refuse.clone());
        }
        push(number, rule.clone());
        next = number + 1;
    }
    push(next, refuse);
    out
}

fn tree(segments: &[(u32, Rule)]) -> Vec<libc::sock_filter> {
    if let [(_, rule)] = segments {
        return leaf(rule);
    }
    let (low, high) = segments.split_at(segments.len() / 2);
    let (low_code, high_code) = (tree(low), tree(high));
    let boundary = high[0].0;
    let mut out = Vec::with_capacity(low_code.len() + high_code.len() + 2);
    match u8::try_from(low_code.len()) {
        Ok(distance) => out.push(jump(JGE, boundary, distance, 0)),
        Err(_) => out.extend([jump(JGE, boundary, 0, 1), op(JA, low_code.len() as u32)]),
    }
    out.extend(low_code);
    out.extend(high_code);
    out
}

fn leaf(rule: &Rule) -> Vec<libc::sock_filter> {
    let (allow, refuse) = (op(RET, RET_ALLOW), op(RET, RET_ERRNO | libc::EPERM as u32));
    match rule {
        Rule::Allow => vec![allow],
        Rule::Errno(errno) => vec![op(RET, RET_ERRNO | *errno as u32)],
        Rule::Masked { index, mask, value } => {
            vec![argument(*index), op(AND, *mask), jump(JEQ, *value, 0, 1), allow, refuse]
        }
        Rule::NotOne { index, value } => vec![argument(*index), jump(JEQ, *value, 1, 0), allow, refuse],
        Rule::OneOf { index, values } => {
            let mut out = vec![argument(*index)];
            for (position, value) in values.iter().enumerate() {
                out.push(jump(JEQ, *value, (values.len() - position) as u8, 0));
            }
            out.extend([refuse, allow]);
            out
        }
    }
}

fn argument(index: u32) -> libc::sock_filter {
    op(LD, 16 + 8 * index) // little endian: the low half comes first
}

fn op(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

#[cfg(test)]
mod tests;
