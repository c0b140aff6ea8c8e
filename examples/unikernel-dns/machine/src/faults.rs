//! Interrupts and faults. One interrupt is wanted, the timer that ends a sleep; a fault ends the machine.

use core::arch::asm;
use core::ptr::addr_of_mut;

use crate::cpu;
use crate::exit::fail;

/// The number of the timer's interrupt, behind those of faults.
pub(crate) const TIMER: u8 = 32;
/// The number of interrupts that were taken back before they came.
pub(crate) const SPURIOUS: u8 = 255;

unsafe extern "C" {
    // In boot.s: 32 entries of 16 bytes, and two single ones.
    fn faults();
    fn timer_entry();
    fn spurious_entry();
}

static mut TABLE: [[u64; 2]; 256] = [[0; 2]; 256];

#[repr(C, packed)]
struct Place {
    limit: u16,
    address: u64,
}

/// Fills in the table and hands it to the processor; called once.
pub(crate) fn install() {
    // The old interrupt controllers stay silent.
    cpu::INTERRUPTS_1.write8(0xff);
    cpu::INTERRUPTS_2.write8(0xff);
    let table = addr_of_mut!(TABLE);
    let entry = |number: u8| match number {
        0..32 => gate(faults as *const () as u64 + 16 * u64::from(number), 1),
        TIMER => gate(timer_entry as *const () as u64, 0),
        _ => gate(spurious_entry as *const () as u64, 0),
    };
    let place = Place { limit: 256 * 16 - 1, address: table.addr() as u64 };
    // SAFETY: nobody else uses the table, which stays where it is; each entry leads to one of boot.s.
    unsafe {
        for number in 0..=255 {
            (*table)[usize::from(number)] = entry(number);
        }
        asm!("lidt [{}]", in(reg) &raw const place, options(nostack, preserves_flags));
    }
}

/// An entry of the table: a gate for interrupts, to 64-bit code, on the stack for faults or the one that is in use.
fn gate(address: u64, stack: u64) -> [u64; 2] {
    let low = (address & 0xffff) | 8 << 16 | stack << 32 | 0x8e << 40 | (address >> 16 & 0xffff) << 48;
    [low, address >> 32]
}

/// Called by boot.s on a stack of its own.
#[unsafe(no_mangle)]
extern "C" fn fault(number: u64, error: u64, place: u64, address: u64) -> ! {
    match number {
        14 => fail!("a mistake of the machine's own: page fault at {address:#x}, error {error:#x}, code at {place:#x}"),
        _ => fail!("a mistake of the machine's own: fault {number}, error {error:#x}, code at {place:#x}"),
    }
}
