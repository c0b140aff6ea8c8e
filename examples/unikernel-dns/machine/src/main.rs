//! A machine that does nothing but answer DNS: no operating system under it, no other program beside it.
//!
//! ```text
//! boot.s      the first instructions, page tables, faults             cpu       ports, time stamps, sleep
//! given       what the loader hands over: zone file, command line     memory    the heap; memory that devices share
//! faults      what the processor cannot go on from                    clock     how fast time stamps count
//! console     the serial line                                         card      virtio-net
//! network     an address, datagrams and connections                   exit      the end, with a status
//! ```
//!
//! What it knows of DNS is the crate `dns-server`, which has no `unsafe` and is tested on the host. `unsafe` is here for
//! what a processor and its devices demand, in `cpu`, `memory`, `given`, `faults` and `card`, a few lines each.

#![no_std]
#![no_main]

extern crate alloc;

mod card;
mod clock;
mod connections;
mod console;
mod cpu;
mod exit;
mod faults;
mod given;
mod memory;
mod network;

use core::panic::PanicInfo;

use dns_server::words::Words;
use dns_server::zone::Zone;

use crate::clock::Clock;
use crate::console::say;
use crate::exit::fail;
use crate::given::Given;

core::arch::global_asm!(include_str!("boot.s"), options(raw));

/// Called by boot.s, once, on a stack of its own; `entered` is the time stamp of the first instruction.
#[unsafe(no_mangle)]
extern "C" fn start(start_info: u32, entered: u64) -> ! {
    faults::install();
    let given = Given::read(start_info).unwrap_or_else(|why| fail!("{why}"));
    memory::init();
    let words = match Words::parse(given.command_line) {
        Ok(words) => words,
        Err(bad) => fail!("command line: `{}`: expected {}", bad.word, bad.expected),
    };
    if words.unused > 0 {
        say!("{} words of the command line mean nothing here", words.unused);
    }
    let zone = zone(&given);
    let clock = Clock::calibrate(entered).unwrap_or_else(|| fail!("no interval timer (PIT) to measure the clock by"));
    let card = match card::find(words.devices()) {
        Some(Ok(card)) => card,
        Some(Err(why)) => fail!("network card: {why}"),
        None => fail!("no network card: virtio-net on PCI bus 0, or as virtio-mmio, is needed"),
    };
    network::serve(card, &zone, &words, &clock)
}

fn zone(given: &Given) -> Zone {
    let Some(text) = given.module else {
        fail!("no zone file: hand one over as the initial RAM disk (qemu: -initrd FILE)")
    };
    match Zone::parse(text) {
        Ok(zone) => {
            say!("zone {} with {} records, serial {}", zone.origin(), zone.records(), zone.serial().unwrap_or(0));
            zone
        }
        Err(e) => fail!("zone file, {e}"),
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fail!("this is a mistake of the machine's own: {info}")
}

/// Named by what is precompiled of `core`, and never called: a panic ends the machine.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
