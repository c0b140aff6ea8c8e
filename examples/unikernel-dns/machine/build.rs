//! How the machine is linked: at the addresses of `link.ld`, without a C library and without anything that starts one.

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    println!("cargo::rerun-if-changed=src/boot.s");
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if !flags.contains("relocation-model=static") {
        println!(
            "cargo::error=the flags of .cargo/config.toml are missing: run cargo in examples/unikernel-dns, without RUSTFLAGS"
        );
    }
    let script = format!("-Wl,-T,{here}/link.ld");
    let words = ["-nostdlib", "-nostartfiles", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-z,norelro", &script];
    for word in words {
        println!("cargo::rustc-link-arg-bins={word}");
    }
}
