//! Time: the processor's time stamps, measured once against the interval timer, and a timer to sleep by.
//!
//! Two milliseconds of the timer that every PC has (1,193,182 Hz) say how fast time stamps count, and how fast the
//! processor's own timer does, which wakes it from its sleep.

use core::ptr;

use smoltcp::time::Instant;

use crate::{cpu, faults};

/// How often the interval timer counts in a second.
const HERTZ: u64 = 1_193_182;
/// How long is measured, in its counts.
const MEASURE: u16 = 2386;
/// So many looks at a timer that stands still, and there is none.
const PATIENCE: u32 = 100_000;

/// The registers of the processor's own timer and interrupts.
const LOCAL: usize = 0xfee0_0000;
const SPURIOUS: usize = 0xf0;
const TIMER: usize = 0x320;
const LINE_0: usize = 0x350;
const LINE_1: usize = 0x360;
const INITIAL: usize = 0x380;
const CURRENT: usize = 0x390;
const DIVIDE: usize = 0x3e0;

/// The clock.
pub(crate) struct Clock {
    entered: u64,
    /// Time stamps in a millisecond.
    stamps: u64,
    /// Counts of the processor's timer in a millisecond.
    counts: u32,
}

/// Some time, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Micros(pub(crate) u64);

impl core::fmt::Display for Micros {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1000, self.0 % 1000)
    }
}

impl Clock {
    /// Measures; none when there is nothing to measure by.
    pub(crate) fn calibrate(entered: u64) -> Option<Clock> {
        local(SPURIOUS).write(0x100 | u32::from(faults::SPURIOUS));
        for line in [LINE_0, LINE_1] {
            local(line).write(1 << 16);
        }
        local(TIMER).write(u32::from(faults::TIMER));
        local(DIVIDE).write(0xb);
        start_interval();
        let first = sample();
        local(INITIAL).write(u32::MAX);
        let enough = |last: &Sample| first.count.wrapping_sub(last.count) >= MEASURE;
        let last = (0..PATIENCE).map(|_| sample()).find(enough)?;
        let counted = u64::from(u32::MAX - local(CURRENT).read());
        local(INITIAL).write(0);
        let passed = u64::from(first.count.wrapping_sub(last.count));
        let in_a_millisecond = |count: u64| count.saturating_mul(HERTZ) / (passed * 1000);
        let stamps = in_a_millisecond(last.stamp.saturating_sub(first.stamp)).max(1);
        let counts = u32::try_from(in_a_millisecond(counted)).unwrap_or(u32::MAX).max(1);
        Some(Clock { entered, stamps, counts })
    }

    /// How long it is since the first instruction.
    pub(crate) fn since_entry(&self) -> Micros {
        let passed = cpu::time_stamp().saturating_sub(self.entered);
        Micros(passed / self.stamps * 1000 + passed % self.stamps * 1000 / self.stamps)
    }

    /// The same, as the network wants it.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.since_entry().0).unwrap_or(i64::MAX))
    }

    /// Sleeps for some milliseconds.
    pub(crate) fn sleep(&self, milliseconds: u32) {
        local(INITIAL).write(self.counts.saturating_mul(milliseconds));
        cpu::sleep();
    }
}

/// A register of the processor's own timer.
struct Register(*mut u32);

fn local(offset: usize) -> Register {
    Register(ptr::with_exposed_provenance_mut(LOCAL + offset))
}

impl Register {
    fn read(&self) -> u32 {
        // SAFETY: `local` makes these of the registers above, which every such processor has there, mapped uncached.
        unsafe { self.0.read_volatile() }
    }

    fn write(&self, value: u32) {
        // SAFETY: as for reading; what is written only starts a timer and names entries of `faults`.
        unsafe { self.0.write_volatile(value) }
    }
}

/// What the interval timer and the time stamps show at nearly the same moment.
struct Sample {
    count: u16,
    stamp: u64,
}

/// Lets the third interval timer count down from its greatest value, once, without a sound.
fn start_interval() {
    cpu::TIMER_2_GATE.write8((cpu::TIMER_2_GATE.read8() & !2) | 1);
    cpu::TIMER_COMMAND.write8(0b1011_0000);
    cpu::TIMER_2.write8(0xff);
    cpu::TIMER_2.write8(0xff);
}

/// The best of a few looks: one during which the host did something else is of no use.
fn sample() -> Sample {
    let look = || {
        let before = cpu::time_stamp();
        let count = interval();
        let took = cpu::time_stamp().saturating_sub(before);
        (took, Sample { count, stamp: before + took / 2 })
    };
    let (mut least, mut best) = look();
    for _ in 0..3 {
        let (took, sample) = look();
        if took < least {
            (least, best) = (took, sample);
        }
    }
    best
}

fn interval() -> u16 {
    cpu::TIMER_COMMAND.write8(0b1000_0000);
    u16::from_le_bytes([cpu::TIMER_2.read8(), cpu::TIMER_2.read8()])
}
