//! What every verb needs: the store, registries, the rung, and the user's wish to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln_engine::event::Events;
use kiln_engine::images::{Images, Pull};
use kiln_host::ssh::target::User;
use kiln_registry::{Client, Config};
use kiln_sandbox::{Cancel, Rung, Standing};
use kiln_store::{DirEnv, Form, Lease, Store};

use crate::cli::Global;
use crate::error::{CliError, in_a_line};
use crate::options::RegistryOptions;

/// The store, and what holds its content while a verb works.
pub struct Surroundings {
    /// Where everything is kept.
    pub store: Store,
    /// Keeps what this process uses from being pruned.
    pub lease: Arc<Lease>,
    /// Where images come from.
    pub images: Arc<Images>,
    /// Who is told what happens.
    pub events: Arc<dyn Events>,
    /// Set when the user stops it.
    pub cancel: Cancel,
}

/// The directory of the store.
pub fn store_dir(global: &Global) -> Result<PathBuf, CliError> {
    if let Some(dir) = &global.store {
        return Ok(dir.clone());
    }
    let var = |name: &str| std::env::var_os(name);
    let (kiln, xdg, home) = (var("KILN_STORE"), var("XDG_DATA_HOME"), var("HOME"));
    let root = rustix::process::geteuid().is_root();
    let env = DirEnv { kiln_store: kiln.as_deref(), root, xdg_data_home: xdg.as_deref(), home: home.as_deref() };
    Ok(Store::default_dir(&env)?)
}

/// The time that SOURCE_DATE_EPOCH says, in seconds since 1970, if it is set.
pub fn said_time() -> Result<Option<i64>, CliError> {
    let said = std::env::var_os("SOURCE_DATE_EPOCH").filter(|text| !text.is_empty());
    said.map(|text| time_of(&text.to_string_lossy())).transpose()
}

/// The time that a text says as SOURCE_DATE_EPOCH does.
pub fn time_of(text: &str) -> Result<i64, CliError> {
    let wrong = || format!("SOURCE_DATE_EPOCH is `{}`: expected seconds since 1970", in_a_line(text));
    text.parse().map_err(|_| CliError::usage(wrong()))
}

/// Who logs in at other hosts, as OpenSSH would: name, home with keys and known hosts, agent.
pub fn ssh_user(accept_new: bool) -> Result<User, CliError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = variable("HOME").map(PathBuf::from);
    let home =
        home.ok_or_else(|| CliError::environment("HOME is not set: keys and known_hosts are looked for there"))?;
    let name = variable("USER").or_else(|| variable("LOGNAME"));
    let name = name.map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(User { name, home, agent: variable("SSH_AUTH_SOCK").map(PathBuf::from), accept_new })
}

/// Brings this process where commands can have the rung `wanted`, or the strongest, before it has threads. As who it
/// was started decides where the store is, so that is found out first.
pub fn take_standing(global: &mut Global, wanted: Option<Rung>) -> Result<Standing, CliError> {
    global.store = Some(store_dir(global)?);
    kiln_sandbox::take_standing(wanted).map_err(|why| match wanted {
        Some(rung) => kiln_engine::EngineError::Isolation { rung, why }.into(),
        None => CliError::environment(why),
    })
}

/// For verbs that measure or remove unpacked layers: those of a user without rights belong to subordinate ids, which
/// only a user namespace can reach.
pub fn enter_for_upkeep(global: &mut Global) -> Result<(), CliError> {
    take_standing(global, None).map(drop)
}

/// Opens the store.
pub fn open_store(global: &Global) -> Result<Store, CliError> {
    Ok(Store::open(store_dir(global)?)?)
}

/// Opens the store, for who can say more about why it cannot be.
pub fn open_store_or_why(global: &Global) -> Result<Result<Store, kiln_store::StoreError>, CliError> {
    Ok(Store::open(store_dir(global)?))
}

/// Opens the store and prepares for registries; from now on Ctrl-C stops the verb cleanly.
pub fn open(
    global: &Global,
    registry: &RegistryOptions,
    pull: Pull,
    events: Arc<dyn Events>,
    form: Form,
) -> Result<Surroundings, CliError> {
    open_with(global, registry.config()?, pull, events, form)
}

/// [`open`] with all that is configured about registries.
pub fn open_with(
    global: &Global,
    config: Config,
    pull: Pull,
    events: Arc<dyn Events>,
    form: Form,
) -> Result<Surroundings, CliError> {
    let store = Store::open_as(store_dir(global)?, form)?;
    let cancel = Cancel::new();
    let (client, flag) = client_with(config)?;
    stop_on_signals(cancel.clone(), flag);
    let lease = Arc::new(store.lease()?);
    let images = Arc::new(Images::new(store.clone(), client, pull, lease.clone(), events.clone()));
    Ok(Surroundings { store, lease, images, events, cancel })
}

/// A registry client, and the flag that stops it.
pub fn client(registry: &RegistryOptions) -> Result<(Client, Arc<AtomicBool>), CliError> {
    client_with(registry.config()?)
}

fn client_with(config: Config) -> Result<(Client, Arc<AtomicBool>), CliError> {
    let flag = Arc::new(AtomicBool::new(false));
    Ok((Client::new(Config { cancel: flag.clone(), ..config })?, flag))
}

/// A flag that the user's signals set, for what is done on hosts.
pub fn cancel() -> kiln_host::Cancel {
    let flag = Arc::new(AtomicBool::new(false));
    stop_on_signals(Cancel::new(), flag.clone());
    kiln_host::Cancel::from(flag)
}

/// The first SIGINT, SIGTERM or SIGHUP stops what runs and cleans up; the second gives up at once.
pub fn stop_on_signals(cancel: Cancel, flag: Arc<AtomicBool>) {
    stop_on_signals_saying(cancel, flag, String::new);
}

/// The same for who leaves something behind when it gives up at once: `left` says what.
pub fn stop_on_signals_saying(cancel: Cancel, flag: Arc<AtomicBool>, left: impl Fn() -> String + Send + 'static) {
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let of = |kind| signal(kind).ok();
            let all = (of(SignalKind::interrupt()), of(SignalKind::terminate()), of(SignalKind::hangup()));
            let (Some(mut int), Some(mut term), Some(mut hangup)) = all else { return };
            let mut asked = false;
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hangup.recv() => {}
                }
                if asked {
                    eprint!("{}", left());
                    #[expect(clippy::exit, reason = "the user asked twice; nothing is to be waited for")]
                    std::process::exit(130);
                }
                asked = true;
                cancel.cancel();
                flag.store(true, Ordering::Relaxed);
            }
        });
    };
    // Without this thread the signals keep their usual meaning.
    let _ = std::thread::Builder::new().name("signals".to_owned()).spawn(wait);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_none_is_wrong_use() {
        assert_eq!(time_of("0").unwrap(), 0);
        assert_eq!(time_of("-1").unwrap(), -1);
        for text in ["yesterday", " 1", "1.5", "99999999999999999999", "1\nhint: x", "\u{fffd}"] {
            let wrong = time_of(text).unwrap_err();
            assert_eq!(wrong.code(), crate::error::USAGE, "{text}");
            assert!(wrong.message().starts_with("SOURCE_DATE_EPOCH is `") && !wrong.message().contains('\n'), "{text}");
        }
    }
}
