//! One target under libFuzzer: `KILN_FUZZ_TARGET=NAME kiln-fuzz [libFuzzer arguments]`, as `cargo xtask fuzz` starts it.
#![no_main]

use std::sync::OnceLock;

use kiln_fuzz::Target;

static CHOSEN: OnceLock<&'static Target> = OnceLock::new();

fn choose() {
    let name = std::env::var("KILN_FUZZ_TARGET").expect("KILN_FUZZ_TARGET names a target");
    CHOSEN.get_or_init(|| kiln_fuzz::target(&name).expect("KILN_FUZZ_TARGET names one of the targets"));
}

libfuzzer_sys::fuzz_target!(
    init: choose(),
    |data: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            (target.run)(data);
        }
    }
);
