//! The syscall filter of a sandboxed command, and the small assembler it is written with.
//!
//! One program serves the machine's own architecture and its 32-bit one, so that i386 programs run in amd64 images.
//! The answers are those container runtimes give by default: "not permitted" for what takes more rights than a
//! command has, "no such call" for what is newer than the table, so that programs fall back instead of failing.
//!
//! On the rung `userns1` some calls are neither allowed nor refused but handed to Kiln ([`notifying`]).
//!
//! [`table`] which calls, by number     [`told`] which calls are handed over     [`asked`] the rung `emulated`

pub mod asked;
mod table;
pub mod told;

use table::{CLONE, CLONE3, NEWEST, NONE, PERSONALITY, REFUSED, SOCKET};

use crate::sys::Instruction;

const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Offsets into the kernel's `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// `CLONE_NEW*`: cgroup, mount, host name, IPC, user, process, network.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// Families that reach outside the namespaces (VM sockets) or need a driver no build uses (kernel cryptography).
const REFUSED_FAMILIES: [u32; 2] = [38, 40];

/// Linux, 32-bit Linux, both with `UNAME26`, and the question for the current one.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// An architecture: the kernel's name for it, its column in the table, and calls of its own beyond the numbering.
struct Abi {
    audit: u32,
    column: usize,
    private: &'static [u32],
}

const X86_64: Abi = Abi { audit: 0xc000_003e, column: 0, private: &[] };
const I386: Abi = Abi { audit: 0x4000_0003, column: 1, private: &[] };
const AARCH64: Abi = Abi { audit: 0xc000_00b7, column: 2, private: &[] };
const ARM: Abi = Abi { audit: 0x4000_0028, column: 3, private: &[0xf_0001, 0xf_0002, 0xf_0005] };

/// The program for this machine; `None` on one there is no table for.
pub fn program() -> Option<Vec<Instruction>> {
    abis().map(|abis| assemble(&abis, |abi| block(abi, true, &[])))
}

/// The same, handing the calls of [`told`] over; without `refuse` it does nothing else. Programs of the machine's 32-bit
/// architecture are killed: their calls look different, and would go by unseen.
pub fn notifying(refuse: bool) -> Option<Vec<Instruction>> {
    let abis = abis()?;
    let told = told::numbers(std::env::consts::ARCH)?;
    let native = abis[0].audit;
    Some(assemble(&abis, |abi| match abi.audit == native {
        true => block(abi, refuse, &told),
        false => vec![Line::Return(KILL)],
    }))
}

fn abis() -> Option<[Abi; 2]> {
    match std::env::consts::ARCH {
        "x86_64" => Some([X86_64, I386]),
        "aarch64" => Some([AARCH64, ARM]),
        _ => None,
    }
}

/// Where a jump leads, resolved when all code is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Label {
    Clone,
    Personality,
    Socket,
    Allow,
    Refuse,
    Missing,
    Notify,
    /// Handed over when the argument of this number has a flag that creates.
    Creates(u32),
    Next,
}

enum Line {
    Load(u32),
    /// Jump when equal.
    Equal(u32, Label),
    /// Jump when greater, as unsigned numbers.
    Greater(u32, Label),
    /// Jump when any of these bits is set.
    AnyBit(u32, Label),
    Return(u32),
    Mark(Label),
}

/// The code of each architecture, one after the other: a block ends where the next begins.
fn assemble(abis: &[Abi], block: impl Fn(&Abi) -> Vec<Line>) -> Vec<Instruction> {
    let mut program = vec![instruction(0x20, ARCHITECTURE, 0, 0)];
    for abi in abis {
        let block = resolve(&block(abi));
        let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
        // Not this one: over the block, by the jump whose distance is not limited to a byte.
        program.push(instruction(0x15, abi.audit, 1, 0));
        program.push(instruction(0x05, length, 0, 0));
        program.extend(block);
    }
    program.push(instruction(0x06, ERRNO | ENOSYS, 0, 0));
    program
}

fn block(abi: &Abi, refuse: bool, told: &[(u32, told::When)]) -> Vec<Line> {
    let number = |row: &table::Row| row.1[abi.column];
    let mut lines = vec![Line::Load(NUMBER)];
    lines.extend(abi.private.iter().map(|call| Line::Equal(*call, Label::Allow)));
    lines.extend(told.iter().map(|(call, when)| match when {
        told::When::Always => Line::Equal(*call, Label::Notify),
        told::When::Creates(argument) => Line::Equal(*call, Label::Creates(*argument)),
    }));
    if !refuse {
        lines.push(Line::Return(ALLOW));
        lines.extend(handing_over());
        return lines;
    }
    lines.extend([Line::Greater(NEWEST, Label::Missing), Line::Equal(number(&CLONE3), Label::Missing)]);
    lines.extend(REFUSED.iter().map(number).filter(|call| *call != NONE).map(|call| Line::Equal(call, Label::Refuse)));
    lines.extend([
        Line::Equal(number(&CLONE), Label::Clone),
        Line::Equal(number(&PERSONALITY), Label::Personality),
        Line::Equal(number(&SOCKET), Label::Socket),
        Line::Return(ALLOW),
        Line::Mark(Label::Clone),
        Line::Load(FIRST_ARGUMENT),
        Line::AnyBit(NEW_NAMESPACES, Label::Refuse),
        Line::Return(ALLOW),
        Line::Mark(Label::Personality),
        Line::Load(FIRST_ARGUMENT),
    ]);
    lines.extend(PERSONALITIES.map(|personality| Line::Equal(personality, Label::Allow)));
    lines.extend([Line::Return(ERRNO | EPERM), Line::Mark(Label::Socket), Line::Load(FIRST_ARGUMENT)]);
    lines.extend(REFUSED_FAMILIES.map(|family| Line::Equal(family, Label::Refuse)));
    lines.extend([
        Line::Mark(Label::Allow),
        Line::Return(ALLOW),
        Line::Mark(Label::Refuse),
        Line::Return(ERRNO | EPERM),
        Line::Mark(Label::Missing),
        Line::Return(ERRNO | ENOSYS),
    ]);
    if !told.is_empty() {
        lines.extend(handing_over());
    }
    lines
}

fn handing_over() -> Vec<Line> {
    let mut lines = Vec::new();
    for argument in [1, 2] {
        lines.extend([
            Line::Mark(Label::Creates(argument)),
            Line::Load(FIRST_ARGUMENT + 8 * argument),
            Line::AnyBit(told::CREATING, Label::Notify),
            Line::Return(ALLOW),
        ]);
    }
    lines.extend([Line::Mark(Label::Notify), Line::Return(NOTIFY)]);
    lines
}

fn resolve(lines: &[Line]) -> Vec<Instruction> {
    let is_code = |line: &&Line| !matches!(line, Line::Mark(_));
    let position = |label: Label| {
        let mark = lines.iter().position(|line| matches!(line, Line::Mark(name) if *name == label));
        lines[..mark.unwrap_or(lines.len())].iter().filter(is_code).count()
    };
    let jump = |at: usize, label: Label| match label {
        Label::Next => 0,
        // A table too long for a byte's distance is caught by the tests, which run every path.
        label => u8::try_from(position(label) - at - 1).unwrap_or(u8::MAX),
    };
    let compile = |(at, line): (usize, &Line)| match line {
        Line::Load(offset) => instruction(0x20, *offset, 0, 0),
        Line::Equal(value, label) => instruction(0x15, *value, jump(at, *label), jump(at, Label::Next)),
        Line::Greater(value, label) => instruction(0x25, *value, jump(at, *label), jump(at, Label::Next)),
        Line::AnyBit(bits, label) => instruction(0x45, *bits, jump(at, *label), jump(at, Label::Next)),
        Line::Return(value) => instruction(0x06, *value, 0, 0),
        Line::Mark(_) => instruction(0x06, ERRNO | ENOSYS, 0, 0),
    };
    lines.iter().filter(is_code).enumerate().map(compile).collect()
}

fn instruction(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, operand }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's machine, as far as the filter uses it.
    fn decide(program: &[Instruction], audit: u32, number: u32, argument: u32) -> u32 {
        decide_at(program, audit, number, FIRST_ARGUMENT, argument)
    }

    fn decide_at(program: &[Instruction], audit: u32, number: u32, offset: u32, argument: u32) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let line = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { line.if_true } else { line.if_false });
            match line.code {
                0x20 => {
                    value = match line.operand {
                        NUMBER => number,
                        ARCHITECTURE => audit,
                        at if at == offset => argument,
                        other => panic!("load of {other}"),
                    }
                }
                0x05 => at += line.operand as usize,
                0x15 => at += jump(value == line.operand),
                0x25 => at += jump(value > line.operand),
                0x45 => at += jump(value & line.operand != 0),
                0x06 => return line.operand,
                other => panic!("code {other:#x}"),
            }
        }
    }

    const REFUSE: u32 = ERRNO | EPERM;
    const MISSING: u32 = ERRNO | ENOSYS;

    #[test]
    fn every_call_gets_the_answer_of_its_row_on_every_architecture() {
        for pair in [[X86_64, I386], [AARCH64, ARM]] {
            let program = assemble(&pair, |abi| block(abi, true, &[]));
            assert!(program.len() < 4096);
            for abi in pair {
                let refused: Vec<u32> = REFUSED.iter().map(|row| row.1[abi.column]).collect();
                for number in 0..=NEWEST {
                    let want = if refused.contains(&number) {
                        REFUSE
                    } else if number == CLONE3.1[abi.column] {
                        MISSING
                    } else {
                        ALLOW
                    };
                    assert_eq!(decide(&program, abi.audit, number, 0), want, "{number} on {:#x}", abi.audit);
                }
                for number in [NEWEST + 1, 0x4000_0000, 0x4000_0038, u32::MAX] {
                    assert_eq!(decide(&program, abi.audit, number, 0), MISSING);
                }
                for number in abi.private {
                    assert_eq!(decide(&program, abi.audit, *number, 0), ALLOW);
                }
            }
            assert_eq!(decide(&program, 0x16, 0, 0), MISSING);
        }
    }

    #[test]
    fn arguments_decide_on_clone_personality_and_socket() {
        let program = assemble(&[X86_64, I386], |abi| block(abi, true, &[]));
        for abi in [X86_64, I386] {
            let call = |row: table::Row, argument| decide(&program, abi.audit, row.1[abi.column], argument);
            assert_eq!(call(CLONE, 0x0120_0011), ALLOW);
            for bit in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
                assert_eq!(call(CLONE, bit | 0x11), REFUSE);
            }
            for personality in PERSONALITIES {
                assert_eq!(call(PERSONALITY, personality), ALLOW);
            }
            assert_eq!(call(PERSONALITY, 0x4_0000), REFUSE);
            assert_eq!(call(SOCKET, 1), ALLOW);
            assert_eq!(call(SOCKET, 40), REFUSE);
        }
    }

    #[test]
    fn what_is_handed_over_is_so_whether_the_rest_is_refused_or_not() {
        let told = told::numbers(std::env::consts::ARCH).unwrap();
        let native = abis().unwrap()[0].audit;
        let offsets = |at: u32| FIRST_ARGUMENT + 8 * at;
        for refuse in [true, false] {
            let program = notifying(refuse).unwrap();
            for (number, when) in &told {
                match when {
                    told::When::Always => assert_eq!(decide(&program, native, *number, 0), NOTIFY, "{number}"),
                    told::When::Creates(at) => {
                        for (flags, answer) in [(0, ALLOW), (told::CREATING, NOTIFY), (0x40, NOTIFY)] {
                            assert_eq!(decide_at(&program, native, *number, offsets(*at), flags), answer, "{number}");
                        }
                    }
                }
            }
            let other = abis().unwrap()[1].audit;
            assert_eq!(decide(&program, other, 1, 0), KILL);
            let mount = REFUSED.iter().find(|row| row.0 == "mount").unwrap().1[abis().unwrap()[0].column];
            assert_eq!(decide(&program, native, mount, 0), if refuse { REFUSE } else { ALLOW });
        }
    }
}
