//! The syscall filter.

use crate::sys::Instruction;

/// The filter's program.
pub fn program() -> Vec<Instruction> {
    vec![Instruction { code: 0x06, if_true: 0, if_false: 0, operand: 0x7fff_0000 }]
}
