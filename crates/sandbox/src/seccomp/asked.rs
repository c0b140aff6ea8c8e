//! The calls of the rung `emulated`: all that name a file, and all that are about owners and users.
//!
//! Kiln does them in the command's stead, below its root. What may not be done there is refused by the filter itself.
//! Numbers are those of x86-64.

use super::table::{CLONE, CLONE3, NEWEST, PERSONALITY, REFUSED, SOCKET};
use super::{
    ALLOW, ARCHITECTURE, ENOSYS, EPERM, ERRNO, FIRST_ARGUMENT, KILL, NEW_NAMESPACES, NOTIFY, NUMBER, PERSONALITIES,
    REFUSED_FAMILIES, X86_64, instruction,
};
use crate::sys::Instruction;

/// Stops the caller for whoever follows it.
const TRACE: u32 = 0x7ff0_0000;

const EOPNOTSUPP: u32 = 95;

/// A call that Kiln answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Open,
    Creat,
    OpenAt,
    OpenAt2,
    Stat,
    Lstat,
    Fstat,
    StatAt,
    Statx,
    Access,
    AccessAt,
    AccessAt2,
    Truncate,
    Rename,
    RenameAt,
    RenameAt2,
    Mkdir,
    MkdirAt,
    Rmdir,
    Link,
    LinkAt,
    Unlink,
    UnlinkAt,
    Symlink,
    SymlinkAt,
    Readlink,
    ReadlinkAt,
    Chmod,
    Fchmod,
    ChmodAt,
    ChmodAt2,
    Chown,
    Fchown,
    Lchown,
    ChownAt,
    Utime,
    Utimes,
    FutimesAt,
    UtimensAt,
    Mknod,
    MknodAt,
    Statfs,
    SetXattr,
    LsetXattr,
    FsetXattr,
    GetXattr,
    LgetXattr,
    FgetXattr,
    ListXattr,
    LlistXattr,
    FlistXattr,
    RemoveXattr,
    LremoveXattr,
    FremoveXattr,
    Chdir,
    Fchdir,
    Getcwd,
    Umask,
    Uname,
    Bind,
    Connect,
    SendTo,
    GetUid,
    GetGid,
    SetUid,
    SetGid,
    GetEuid,
    GetEgid,
    SetReUid,
    SetReGid,
    GetGroups,
    SetGroups,
    SetResUid,
    GetResUid,
    SetResGid,
    GetResGid,
    SetFsUid,
    SetFsGid,
}

/// Each with its number.
const CALLS: [(Asked, u32); 78] = [
    (Asked::Open, 2),
    (Asked::Creat, 85),
    (Asked::OpenAt, 257),
    (Asked::OpenAt2, 437),
    (Asked::Stat, 4),
    (Asked::Lstat, 6),
    (Asked::Fstat, 5),
    (Asked::StatAt, 262),
    (Asked::Statx, 332),
    (Asked::Access, 21),
    (Asked::AccessAt, 269),
    (Asked::AccessAt2, 439),
    (Asked::Truncate, 76),
    (Asked::Rename, 82),
    (Asked::RenameAt, 264),
    (Asked::RenameAt2, 316),
    (Asked::Mkdir, 83),
    (Asked::MkdirAt, 258),
    (Asked::Rmdir, 84),
    (Asked::Link, 86),
    (Asked::LinkAt, 265),
    (Asked::Unlink, 87),
    (Asked::UnlinkAt, 263),
    (Asked::Symlink, 88),
    (Asked::SymlinkAt, 266),
    (Asked::Readlink, 89),
    (Asked::ReadlinkAt, 267),
    (Asked::Chmod, 90),
    (Asked::Fchmod, 91),
    (Asked::ChmodAt, 268),
    (Asked::ChmodAt2, 452),
    (Asked::Chown, 92),
    (Asked::Fchown, 93),
    (Asked::Lchown, 94),
    (Asked::ChownAt, 260),
    (Asked::Utime, 132),
    (Asked::Utimes, 235),
    (Asked::FutimesAt, 261),
    (Asked::UtimensAt, 280),
    (Asked::Mknod, 133),
    (Asked::MknodAt, 259),
    (Asked::Statfs, 137),
    (Asked::SetXattr, 188),
    (Asked::LsetXattr, 189),
    (Asked::FsetXattr, 190),
    (Asked::GetXattr, 191),
    (Asked::LgetXattr, 192),
    (Asked::FgetXattr, 193),
    (Asked::ListXattr, 194),
    (Asked::LlistXattr, 195),
    (Asked::FlistXattr, 196),
    (Asked::RemoveXattr, 197),
    (Asked::LremoveXattr, 198),
    (Asked::FremoveXattr, 199),
    (Asked::Chdir, 80),
    (Asked::Fchdir, 81),
    (Asked::Getcwd, 79),
    (Asked::Umask, 95),
    (Asked::Uname, 63),
    (Asked::Bind, 49),
    (Asked::Connect, 42),
    (Asked::SendTo, SENDTO),
    (Asked::GetUid, 102),
    (Asked::GetGid, 104),
    (Asked::SetUid, 105),
    (Asked::SetGid, 106),
    (Asked::GetEuid, 107),
    (Asked::GetEgid, 108),
    (Asked::SetReUid, 113),
    (Asked::SetReGid, 114),
    (Asked::GetGroups, 115),
    (Asked::SetGroups, 116),
    (Asked::SetResUid, 117),
    (Asked::GetResUid, 118),
    (Asked::SetResGid, 119),
    (Asked::GetResGid, 120),
    (Asked::SetFsUid, 122),
    (Asked::SetFsGid, 123),
];

/// Asked about only with an address.
const SENDTO: u32 = 44;

/// Becoming another program.
pub const EXECVE: u64 = 59;
/// The same by a descriptor.
pub const EXECVEAT: u64 = 322;
/// Messages whose address lies in memory.
pub const SENDMSG: u64 = 46;
/// Several of them.
pub const SENDMMSG: u64 = 307;

/// Where the caller is stopped, for what is to be changed is in its registers, or because it is seldom more than looked at.
const STOPPED: [u64; 4] = [EXECVE, EXECVEAT, SENDMSG, SENDMMSG];

/// Refused besides those of the table: number and error. They name files of the machine, or tell of its mounts.
const REFUSED_TOO: [(u32, u32); 13] = [
    (161, EPERM),      // chroot
    (254, ENOSYS),     // inotify_add_watch
    (303, EOPNOTSUPP), // name_to_handle_at
    (457, ENOSYS),     // statmount
    (458, ENOSYS),     // listmount
    (463, ENOSYS),     // setxattrat
    (464, ENOSYS),     // getxattrat
    (465, ENOSYS),     // listxattrat
    (466, ENOSYS),     // removexattrat
    (301, EPERM),      // fanotify_mark
    (101, EPERM),      // ptrace: who traces a process of its own answers for it
    (310, EPERM),      // process_vm_readv
    (311, EPERM),      // process_vm_writev
];

/// The flag of `clone` by which a new process would not be followed.
const UNTRACED: u32 = 0x0080_0000;

const SOCKETPAIR: u32 = 53;
const UNIX: u32 = 1;
/// Kinds of Unix sockets that name their receiver in each message, in memory that is read again after it was looked at.
const DATAGRAMS: [u32; 2] = [2, 3];
/// The kind of a socket without its flags.
const KIND: u32 = 0xf;

const PRCTL: u32 = 157;

/// Requests of `prctl` that succeed without being done, or answer no: set dumpable, drop from the bounding set, get
/// no-new-privileges. Memory has to stay readable for who answers; of the rest a command that is root sees a root's.
const PRETENDED: [u32; 3] = [4, 24, 39];

/// Which call has this number.
pub fn asked(number: i32) -> Option<Asked> {
    let number = u32::try_from(number).ok()?;
    CALLS.iter().find(|(_, own)| *own == number).map(|(asked, _)| *asked)
}

/// The filter; `None` on machines whose calls and registers are not known here.
pub fn emulating() -> Option<Vec<Instruction>> {
    if std::env::consts::ARCH != "x86_64" {
        return None;
    }
    let column = X86_64.column;
    let mut filter = Filter(vec![instruction(0x20, ARCHITECTURE, 0, 0)]);
    filter.unless(X86_64.audit, KILL);
    filter.load(NUMBER);
    filter.0.extend([instruction(0x25, NEWEST, 0, 1), instruction(0x06, ERRNO | ENOSYS, 0, 0)]);
    for (_, number) in CALLS.iter().filter(|(_, number)| *number != SENDTO) {
        filter.on(*number, NOTIFY);
    }
    for number in STOPPED {
        filter.on(u32::try_from(number).unwrap_or(0), TRACE);
    }
    for (number, error) in REFUSED_TOO {
        filter.on(number, ERRNO | error);
    }
    filter.on(CLONE3.1[column], ERRNO | ENOSYS);
    for (_, numbers) in REFUSED {
        filter.on(numbers[column], ERRNO | EPERM);
    }
    filter.when(CLONE.1[column], |then| {
        then.load(FIRST_ARGUMENT);
        then.0.extend([instruction(0x45, NEW_NAMESPACES | UNTRACED, 0, 1), instruction(0x06, ERRNO | EPERM, 0, 0)]);
    });
    filter.when(PERSONALITY.1[column], |then| {
        then.load(FIRST_ARGUMENT);
        PERSONALITIES.iter().for_each(|personality| then.on(*personality, ALLOW));
        then.0.push(instruction(0x06, ERRNO | EPERM, 0, 0));
    });
    filter.when(SOCKET.1[column], |then| {
        then.load(FIRST_ARGUMENT);
        REFUSED_FAMILIES.iter().for_each(|family| then.on(*family, ERRNO | EPERM));
        then.when(UNIX, Filter::no_datagrams);
    });
    filter.when(SOCKETPAIR, |then| {
        then.load(FIRST_ARGUMENT);
        then.when(UNIX, Filter::no_datagrams);
    });
    filter.when(PRCTL, |then| {
        then.load(FIRST_ARGUMENT);
        PRETENDED.iter().for_each(|request| then.on(*request, ERRNO));
    });
    filter.when(SENDTO, |then| {
        for half in [0, 4] {
            then.load(FIRST_ARGUMENT + 8 * 4 + half);
            then.unless(0, NOTIFY);
        }
    });
    filter.0.push(instruction(0x06, ALLOW, 0, 0));
    Some(filter.0)
}

/// A program that is written from its start to its end, without far jumps but one.
struct Filter(Vec<Instruction>);

impl Filter {
    fn load(&mut self, offset: u32) {
        self.0.push(instruction(0x20, offset, 0, 0));
    }

    /// Answers when what was loaded is this.
    fn on(&mut self, value: u32, answer: u32) {
        self.0.extend([instruction(0x15, value, 0, 1), instruction(0x06, answer, 0, 0)]);
    }

    /// Answers when it is not.
    fn unless(&mut self, value: u32, answer: u32) {
        self.0.extend([instruction(0x15, value, 1, 0), instruction(0x06, answer, 0, 0)]);
    }

    /// Of Unix sockets, none that name their receivers.
    fn no_datagrams(&mut self) {
        self.load(FIRST_ARGUMENT + 8);
        self.0.push(instruction(0x54, KIND, 0, 0));
        DATAGRAMS.iter().for_each(|kind| self.on(*kind, ERRNO | EPERM));
    }

    /// More to look at for one call; what is not answered there is allowed.
    fn when(&mut self, number: u32, then: impl FnOnce(&mut Filter)) {
        let mut inner = Filter(Vec::new());
        then(&mut inner);
        inner.0.push(instruction(0x06, ALLOW, 0, 0));
        let length = u8::try_from(inner.0.len()).unwrap_or(u8::MAX);
        self.0.push(instruction(0x15, number, 0, length));
        self.0.extend(inner.0);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// The kernel's machine, as far as this filter uses it.
    fn decide(audit: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let program = emulating().unwrap();
        let (mut at, mut value) = (0, 0);
        loop {
            let line = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { line.if_true } else { line.if_false });
            let argument = |offset: u32| {
                let word = arguments[(offset as usize - 16) / 8];
                u32::try_from(if offset.is_multiple_of(8) { word & 0xffff_ffff } else { word >> 32 }).unwrap()
            };
            match line.code {
                0x20 if line.operand == NUMBER => value = number,
                0x20 if line.operand == ARCHITECTURE => value = audit,
                0x20 => value = argument(line.operand),
                0x15 => at += jump(value == line.operand),
                0x25 => at += jump(value > line.operand),
                0x45 => at += jump(value & line.operand != 0),
                0x54 => value &= line.operand,
                0x06 => return line.operand,
                other => panic!("code {other:#x}"),
            }
        }
    }

    #[test]
    fn each_call_gets_the_answer_of_its_row() {
        let call = |number: u32| decide(X86_64.audit, number, [0; 6]);
        for (asked, number) in CALLS.iter().filter(|(_, number)| *number != SENDTO) {
            assert_eq!(call(*number), NOTIFY, "{asked:?}");
        }
        for number in STOPPED {
            assert_eq!(call(u32::try_from(number).unwrap()), TRACE, "{number}");
        }
        for (name, numbers) in REFUSED.iter().filter(|row| row.1[0] <= NEWEST) {
            assert_eq!(call(numbers[0]), ERRNO | EPERM, "{name}");
        }
        for (number, error) in REFUSED_TOO {
            assert_eq!(call(number), ERRNO | error, "{number}");
        }
        for number in [NEWEST + 1, 0x4000_0002, u32::MAX, 435] {
            assert_eq!(call(number), ERRNO | ENOSYS, "{number}");
        }
        // read, mmap, getpid, exit_group
        for number in [0, 9, 39, 231] {
            assert_eq!(call(number), ALLOW, "{number}");
        }
        assert_eq!(decide(0x4000_0003, 5, [0; 6]), KILL, "open of 32 bits");
    }

    #[test]
    fn arguments_decide_where_they_matter() {
        let call = |number: u32, arguments: [u64; 6]| decide(X86_64.audit, number, arguments);
        assert_eq!(call(SENDTO, [0; 6]), ALLOW);
        for address in [1, 1 << 32, u64::MAX] {
            assert_eq!(call(SENDTO, [3, 0, 0, 0, address, 0]), NOTIFY);
        }
        for request in PRETENDED {
            assert_eq!(call(PRCTL, [u64::from(request), 0, 0, 0, 0, 0]), ERRNO);
        }
        assert_eq!(call(PRCTL, [15, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(call(56, [0x11, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(call(56, [0x1000_0011, 0, 0, 0, 0, 0]), ERRNO | EPERM);
        assert_eq!(call(135, [0, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(call(135, [0x4_0000, 0, 0, 0, 0, 0]), ERRNO | EPERM);
        assert_eq!(call(41, [40, 0, 0, 0, 0, 0]), ERRNO | EPERM);
        assert_eq!(call(56, [0x0080_0011, 0, 0, 0, 0, 0]), ERRNO | EPERM, "a process that nobody would follow");
        for number in [41, SOCKETPAIR] {
            for (kind, answer) in [(1, ALLOW), (5, ALLOW), (2, ERRNO | EPERM), (3, ERRNO | EPERM)] {
                assert_eq!(call(number, [1, kind, 0, 0, 0, 0]), answer, "{number} {kind}");
                assert_eq!(call(number, [1, kind | 0x8_0800, 0, 0, 0, 0]), answer, "{number} {kind} with flags");
                assert_eq!(call(number, [2, kind, 0, 0, 0, 0]), ALLOW, "{number} {kind} of the Internet");
            }
        }
    }

    #[test]
    fn numbers_are_not_twice() {
        for (at, (asked, number)) in CALLS.iter().enumerate() {
            assert!(CALLS.iter().skip(at + 1).all(|(_, other)| other != number), "{asked:?}");
            assert_eq!(super::asked(i32::try_from(*number).unwrap()), Some(*asked));
        }
        assert_eq!(super::asked(-1), None);
    }
}
