//! What only the processor's own instructions do.

use core::arch::asm;
use core::arch::x86_64::{__cpuid, _rdtsc};

/// A place that devices listen at.
pub(crate) struct Port(u16);

/// Ports by name.
macro_rules! ports {
    ($($name:ident $number:literal)*) => {$(
        // SAFETY: no device behind these touches memory by itself, or is told to by what this program writes; a port
        // without a device swallows what is written.
        pub(crate) const $name: Port = unsafe { Port::new($number) };
    )*};
}

ports! {
    SERIAL 0x3f8
    SERIAL_STATUS 0x3fd
    TIMER_2 0x42
    TIMER_COMMAND 0x43
    TIMER_2_GATE 0x61
    INTERRUPTS_1 0x21
    INTERRUPTS_2 0xa1
    DEBUG_EXIT 0xf4
    POWER 0x604
    PCI_ADDRESS 0xcf8
    PCI_DATA 0xcfc
}

impl Port {
    /// # Safety
    /// Nothing that is written or read there changes memory that Rust knows of.
    const unsafe fn new(number: u16) -> Port {
        Port(number)
    }

    pub(crate) fn read8(&self) -> u8 {
        let value: u8;
        // SAFETY: promised by `new`.
        unsafe { asm!("in al, dx", in("dx") self.0, out("al") value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub(crate) fn write8(&self, value: u8) {
        // SAFETY: promised by `new`.
        unsafe { asm!("out dx, al", in("dx") self.0, in("al") value, options(nomem, nostack, preserves_flags)) };
    }

    pub(crate) fn write16(&self, value: u16) {
        // SAFETY: promised by `new`.
        unsafe { asm!("out dx, ax", in("dx") self.0, in("ax") value, options(nomem, nostack, preserves_flags)) };
    }

    pub(crate) fn read32(&self) -> u32 {
        let value: u32;
        // SAFETY: promised by `new`.
        unsafe { asm!("in eax, dx", in("dx") self.0, out("eax") value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub(crate) fn write32(&self, value: u32) {
        // SAFETY: promised by `new`.
        unsafe { asm!("out dx, eax", in("dx") self.0, in("eax") value, options(nomem, nostack, preserves_flags)) };
    }
}

/// The time stamp counter.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: every processor with 64 bits has it, and nobody forbids it here.
    unsafe { _rdtsc() }
}

/// A number that others cannot guess, as far as the processor helps; the time stamp is in it in any case.
pub(crate) fn random() -> u64 {
    let mut number = 0u64;
    if __cpuid(1).ecx & (1 << 30) != 0 {
        // SAFETY: the processor says that it has the instruction, which only writes a register.
        unsafe { asm!("rdrand {}", inout(reg) number, options(nomem, nostack)) };
    }
    number ^ time_stamp().rotate_left(17)
}

/// Sleeps until an interrupt. They come nowhere else: the one that `sti` lets in comes after `hlt` has begun.
pub(crate) fn sleep() {
    // SAFETY: the entries of `faults` save what they use. Without `nostack`, the compiler keeps nothing below the stack's
    // end, where an interrupt writes.
    unsafe { asm!("sti", "hlt", "cli") };
}

/// Starts the machine again; qemu ends it instead when it was told so.
pub(crate) fn reset() -> ! {
    let nothing = [0u16; 5];
    // SAFETY: a fault without a table of handlers resets the processor, and nothing comes after that.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) nothing.as_ptr(), options(noreturn)) };
}
