//! The end.

use crate::cpu;

/// Says why, and ends the machine with a status that is an error.
macro_rules! fail {
    ($($what:tt)*) => {{
        $crate::console::say!("error: {}", format_args!($($what)*));
        $crate::exit::exit(1)
    }};
}
pub(crate) use fail;

/// Ends the machine: by qemu's device for that, if it is there, whose status is `code` doubled and one; otherwise by
/// turning the power off as qemu's boards do, or by a reset.
pub(crate) fn exit(code: u8) -> ! {
    cpu::DEBUG_EXIT.write8(code);
    cpu::POWER.write16(0x2000);
    cpu::reset()
}
