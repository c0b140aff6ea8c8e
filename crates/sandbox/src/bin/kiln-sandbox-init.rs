//! The child side of the sandbox as a program of its own, for tests: it does what `kiln internal-init` does.

fn main() {
    kiln_sandbox::init_main_if_called();
    eprintln!("kiln-sandbox-init is started by Kiln itself, never by hand");
}
