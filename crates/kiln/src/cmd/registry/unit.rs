//! systemd: a unit that serves, and telling it that serving has begun.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::error::CliError;

/// A unit that runs this program with these arguments.
pub fn text(args: &[String]) -> Result<String, CliError> {
    let program = std::env::current_exe()
        .map_err(|e| CliError::environment(format!("cannot find out where this program is: {e}")))?;
    let words: Vec<String> = std::iter::once(program.display().to_string())
        .chain(args.iter().filter(|a| *a != "--print-unit").cloned())
        .map(|word| quoted(&word))
        .collect();
    Ok(format!(
        "[Unit]\nDescription=Kiln registry\nWants=network-online.target\nAfter=network-online.target\n\n\
         [Service]\nType=notify\nExecStart={}\nRestart=on-failure\nTimeoutStopSec=10min\nLimitNOFILE=65536\n\
         NoNewPrivileges=yes\nProtectHome=read-only\nPrivateTmp=yes\nProtectKernelTunables=yes\n\
         ProtectControlGroups=yes\nRestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        words.join(" ")
    ))
}

/// A word of `ExecStart`: `%` and `$` mean something there.
fn quoted(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    match word.is_empty() || word.contains(|c: char| c.is_whitespace() || "\"'\\;".contains(c)) {
        true => format!("\"{word}\""),
        false => word,
    }
}

/// Tells who started this program that it serves, if they want to know: the protocol of `sd_notify(3)`.
pub fn tell_systemd(socket: Option<&OsStr>) {
    let Some(socket) = socket.filter(|s| !s.is_empty()) else { return };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    };
    // Who wants to know, and cannot be told, gives up waiting and says so itself.
    let _ = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_unit_mean_what_they_say() {
        assert_eq!(quoted("--addr=:5000"), "--addr=:5000");
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("50%$x"), "50%%$$x");
        let text = text(&["registry".to_owned(), "serve".to_owned(), "--print-unit".to_owned()]).unwrap();
        assert!(text.contains(" registry serve\n") && !text.contains("print-unit"), "{text}");
    }
}
