//! The serial line, on which the machine tells what it does.

use core::fmt::{self, Write};

use crate::cpu;

/// How often it is asked whether the line takes another byte; one that never does is nobody's.
const PATIENCE: u32 = 100_000;

/// Says a line.
macro_rules! say {
    ($($what:tt)*) => { $crate::console::line(format_args!($($what)*)) };
}
pub(crate) use say;

/// Writes a line. What comes from outside is in it: control characters are not.
pub(crate) fn line(what: fmt::Arguments<'_>) {
    // Nothing can be done about a line that cannot be written.
    let _ = Console.write_str("unikernel-dns: ");
    let _ = Console.write_fmt(what);
    put(b'\r');
    put(b'\n');
}

struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            put(match byte {
                b'\n' => b' ',
                0..b' ' | 0x7f => b'?',
                _ => byte,
            });
        }
        Ok(())
    }
}

fn put(byte: u8) {
    for _ in 0..PATIENCE {
        if cpu::SERIAL_STATUS.read8() & 0x20 != 0 {
            break;
        }
    }
    cpu::SERIAL.write8(byte);
}
