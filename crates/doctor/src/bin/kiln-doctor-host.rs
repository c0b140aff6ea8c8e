//! What of Kiln runs on other hosts for `kiln doctor`, by the same words: facts, and packets that prove a path.
//!
//! `make release` compiles it to be small and puts it into the binary, which sends it instead of itself: a fleet is looked
//! at with a hundredth of the bytes. Words that are not here, such as those of fixes, are Kiln's own.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use kiln_doctor::facts;
use kiln_doctor::probe::agent::say_ready;
use kiln_doctor::probe::{Order, wire};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = match words.as_slice() {
        ["doctor", "--facts-json"] => said(facts::gather(Path::new("/"), None).map_err(|error| error.to_string())),
        ["doctor", "probe", order] => probed(order),
        _ => {
            eprintln!("error: this is the part of kiln that tells `kiln doctor` of a host, and takes its words only");
            return ExitCode::from(2);
        }
    };
    match said.and_then(|said| writeln!(std::io::stdout(), "{said}").map_err(|error| format!("cannot say it: {error}")))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(3)
        }
    }
}

fn probed(order: &str) -> Result<String, String> {
    let order: Order = serde_json::from_str(order).map_err(|error| format!("the order: {error}"))?;
    let ready = || say_ready(&mut std::io::stdout());
    said(wire::obey(&order, Path::new("/"), &ready))
}

fn said<T: serde::Serialize>(answer: Result<T, String>) -> Result<String, String> {
    serde_json::to_string(&answer?).map_err(|error| error.to_string())
}
