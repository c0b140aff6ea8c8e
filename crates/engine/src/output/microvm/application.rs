//! What an image's configuration says is to be run, in numbers and bytes: nothing is left to be looked up in the machine.

use kiln_init::guest::application::Application;
use kiln_oci::config::ContainerConfig;

use crate::rootfs::Root;
use crate::users;

/// What is wrong, and what to do.
type Refused = (String, Option<&'static str>);

const SIGTERM: u32 = 15;
/// Names of signals on x86-64, by their numbers from 1.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The application of an image.
pub(super) fn of(config: &ContainerConfig, hostname: &str, root: &Root) -> Result<Application, Refused> {
    let user = users::account(root, &config.user).map_err(|why| -> Refused { (why, None) })?;
    let mut app = without_user(config, hostname)?;
    (app.user, app.group, app.groups) = (user.uid, user.gid, user.groups);
    if !app.environment.iter().any(|v| v.starts_with(b"HOME=")) {
        app.environment.push(format!("HOME={}", user.home).into_bytes());
    }
    Ok(app)
}

fn without_user(config: &ContainerConfig, hostname: &str) -> Result<Application, Refused> {
    let words = config.entrypoint.iter().flatten().chain(config.cmd.iter().flatten());
    let arguments: Vec<Vec<u8>> = words.map(|w| w.as_bytes().to_vec()).collect();
    if arguments.first().is_none_or(Vec::is_empty) {
        let hint = "say what the machine runs: ENTRYPOINT [\"/app\"] in the Dockerfile";
        return Err(("the image has neither ENTRYPOINT nor CMD".to_owned(), Some(hint)));
    }
    let environment: Vec<Vec<u8>> = config.env.iter().map(|v| v.as_bytes().to_vec()).collect();
    if arguments.iter().chain(&environment).any(|text| text.contains(&0)) {
        return Err(("an argument or variable of the image has a zero in it".to_owned(), None));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if hostname.is_empty() || hostname.len() > 64 || !hostname.chars().all(good) {
        return Err((format!("`{}` is no name of a host", hostname.escape_debug()), None));
    }
    let directory = match &*config.working_dir {
        "" => "/".to_owned(),
        dir if dir.starts_with('/') => dir.to_owned(),
        dir => format!("/{dir}"),
    };
    let stop = match &config.stop_signal {
        None => SIGTERM,
        Some(text) => signal(text).ok_or_else(|| -> Refused { (format!("`{text}` is not a signal"), None) })?,
    };
    Ok(Application {
        arguments,
        environment,
        directory: directory.into_bytes(),
        hostname: hostname.as_bytes().to_vec(),
        stop,
        ..Application::default()
    })
}

/// A signal's number, by number or name, as STOPSIGNAL has it.
fn signal(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |rest: &str, sign: char| match rest.strip_prefix(sign) {
        Some(number) => number.parse::<u32>().ok().filter(|n| *n <= 30),
        None => rest.is_empty().then_some(0),
    };
    if let Some(above) = name.strip_prefix("RTMIN").and_then(|rest| real_time(rest, '+')) {
        return Some(34 + above);
    }
    if let Some(under) = name.strip_prefix("RTMAX").and_then(|rest| real_time(rest, '-')) {
        return Some(64 - under);
    }
    let name = match name {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    SIGNALS.iter().position(|known| *known == name).and_then(|at| u32::try_from(at + 1).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_becomes_an_application() {
        let config = ContainerConfig {
            entrypoint: Some(vec!["/app".into()]),
            cmd: Some(vec!["-x".into(), String::new()]),
            env: vec!["A=1".into()],
            working_dir: "srv".into(),
            stop_signal: Some("SIGQUIT".into()),
            ..ContainerConfig::default()
        };
        let app = without_user(&config, "web").unwrap();
        assert_eq!(app.arguments, [b"/app".to_vec(), b"-x".to_vec(), Vec::new()]);
        assert_eq!((&*app.directory, app.stop, &*app.hostname), (&b"/srv"[..], 3, &b"web"[..]));
    }

    #[test]
    fn what_cannot_be_run_is_told() {
        let why = |change: &dyn Fn(&mut ContainerConfig), host: &str| {
            let mut config = ContainerConfig { cmd: Some(vec!["a".into()]), ..ContainerConfig::default() };
            change(&mut config);
            without_user(&config, host).unwrap_err().0
        };
        assert!(why(&|c| c.cmd = None, "h").contains("neither ENTRYPOINT nor CMD"));
        assert!(why(&|c| c.cmd = Some(vec![String::new()]), "h").contains("neither"));
        assert!(why(&|c| c.env.push("A=\0".into()), "h").contains("a zero"));
        assert!(why(&|c| c.stop_signal = Some("SIGNOT".into()), "h").contains("not a signal"));
        assert!(why(&|_| (), "a b").contains("no name of a host"));
    }

    #[test]
    fn signals_by_name_and_number() {
        for (text, number) in
            [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("CLD", 17)]
        {
            assert_eq!(signal(text), Some(number), "{text}");
        }
        for text in ["0", "65", "-1", "SIG", "", "RTMIN-1", "RTMIN+99"] {
            assert_eq!(signal(text), None, "{text}");
        }
    }
}
