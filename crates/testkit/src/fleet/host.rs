//! One host of a fleet.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Fleet, generate};
use crate::command::{Output, run};
use crate::filter::Filters;

/// How long a host may take until systemd says that it has booted, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long one command may take on a host.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A host; see [`Fleet`].
pub struct Host {
    name: String,
    number: usize,
    address: String,
    address6: String,
    directory: PathBuf,
    cgroups: String,
    /// The first process of the fleet, whose namespaces are entered first.
    init: String,
    programs: Option<PathBuf>,
    key: PathBuf,
    known_hosts: PathBuf,
    machine: Mutex<Option<Machine>>,
}

/// A host that runs.
struct Machine {
    container: Child,
    /// Its first process, as the fleet's processes see it.
    leader: String,
}

impl Host {
    /// Makes one that is not yet up.
    pub(super) fn make(fleet: &Fleet, number: usize, root: &Path, cgroups: &str) -> Host {
        let name = format!("node{number}");
        let host = Host {
            address: format!("10.77.0.{}", 10 + number),
            address6: format!("fd77::{}", 10 + number),
            directory: fleet.directory.join(&name),
            cgroups: format!("{cgroups}/{name}"),
            init: fleet.keeper.init.clone(),
            programs: fleet.programs.clone(),
            key: fleet.key(),
            known_hosts: fleet.known_hosts(),
            machine: Mutex::new(None),
            name,
            number,
        };
        host.files();
        let mut command = host.inside_of_the_fleet();
        command.args(["sh", "-c", include_str!("host.sh"), "host"]).arg(&host.directory).arg(root).arg(&host.cgroups);
        let made = command.output().expect("start nsenter");
        assert!(made.status.success(), "cannot make {}: {}", host.name, String::from_utf8_lossy(&made.stderr));
        host
    }

    /// Its name, `nodeN`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address in the fleet's network.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its IPv6 address there.
    #[must_use]
    pub fn address6(&self) -> &str {
        &self.address6
    }

    /// Whether it was booted, and its power was not taken away.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.lock().is_some()
    }

    /// Boots it, and waits until systemd has started everything.
    ///
    /// # Panics
    /// If it does not come up, with what its console said; or is up.
    pub fn boot(&self) {
        let socket = self.directory.join("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).expect("make a socket for systemd's messages");
        notify.set_read_timeout(Some(Duration::from_millis(200))).expect("set a time limit");
        let console = File::create(self.directory.join("console")).expect("make a file for the console");
        let mut command = self.inside_of_the_fleet();
        command.args(["sh", "-c", include_str!("boot.sh"), "boot"]).arg(&self.directory).arg(&self.name);
        command.arg(self.number.to_string()).arg(&self.cgroups).arg(self.programs.as_deref().unwrap_or(Path::new("")));
        command.env("NOTIFY_SOCKET", &socket).stdin(Stdio::null());
        command.stdout(console.try_clone().expect("share the console")).stderr(console);
        let mut machine = self.lock();
        assert!(machine.is_none(), "{} is up already", self.name);
        let mut container = command.spawn().expect("start nsenter");
        let (started, mut leader, mut ready) = (Instant::now(), None, false);
        while !ready || leader.is_none() {
            let ended = container.try_wait().expect("ask for the state of the container").is_some();
            assert!(
                !ended && started.elapsed() < PATIENCE,
                "{} does not come up ({}); its console:\n{}",
                self.name,
                if ended { "it has ended" } else { "it takes too long" },
                self.console()
            );
            let mut message = [0; 4096];
            let Ok(length) = notify.recv(&mut message) else { continue };
            for line in String::from_utf8_lossy(&message[..length]).lines() {
                match line.split_once('=') {
                    Some(("X_NSPAWN_LEADER_PID", pid)) => leader = Some(pid.to_owned()),
                    Some(("READY", "1")) => ready = true,
                    _ => {}
                }
            }
        }
        *machine = leader.map(|leader| Machine { container, leader });
        drop(machine);
        // It says so as soon as it has begun to start services.
        let state = self.run("systemctl is-system-running --wait; systemctl --failed --plain --no-legend");
        assert_eq!(state.text(), "running", "{} has booted with failures:\n{state}{}", self.name, self.console());
    }

    /// Takes the power away: nothing on it ends in order, and what its kernel knew is lost, as are rules of iptables.
    ///
    /// # Panics
    /// If it was not up.
    pub fn power_off(&self) {
        let mut machine = self.lock().take().unwrap_or_else(|| panic!("{} is not up", self.name));
        let killed = self.inside_of_the_fleet().args(["kill", "-KILL", &machine.leader]).status();
        assert!(killed.expect("start nsenter").success(), "{} cannot be killed", self.name);
        let _ = machine.container.wait();
        // The device first: with its namespace it would go a while later.
        let script = format!("ip link delete v{} && ip netns delete {}", self.number, self.name);
        let gone = self.inside_of_the_fleet().args(["sh", "-c", &script]).status();
        assert!(gone.expect("start nsenter").success(), "the network of {} cannot be taken away", self.name);
    }

    /// Runs a script of the shell as root, not over the network.
    ///
    /// # Panics
    /// If the host is not up, or the script runs for more than five minutes.
    #[must_use]
    pub fn run(&self, script: &str) -> Output {
        run(self.command(&["sh", "-c", script]), b"", TIMEOUT, &Filters::standard())
    }

    /// A command on the host, as root, not over the network.
    ///
    /// # Panics
    /// If the host is not up.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let machine = self.lock();
        let leader = &machine.as_ref().unwrap_or_else(|| panic!("{} is not up", self.name)).leader;
        let mut command = self.inside_of_the_fleet();
        // The network last: /sys of the host is what it was mounted as.
        command.args(["nsenter", "--target", leader, "--all", "--"]);
        command.args(["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]);
        command.args(words);
        command
    }

    /// Runs a script of the shell as root over SSH.
    ///
    /// # Panics
    /// If it runs for more than five minutes.
    #[must_use]
    pub fn ssh(&self, script: &str) -> Output {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.init)).args([
            "--",
            "ssh",
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
        ]);
        command.arg("-i").arg(&self.key).arg("-o");
        command.arg(format!("UserKnownHostsFile={}", self.known_hosts.display()));
        command.arg(format!("root@{}", self.address)).arg(script);
        run(command, b"", TIMEOUT, &Filters::standard())
    }

    /// Where a file of the host is for the test. Writing goes by [`Host::write`] while it is up.
    fn place(&self, path: &str) -> PathBuf {
        self.directory.join("upper").join(path.trim_start_matches('/'))
    }

    /// Writes a file of the host; directories on the way are made.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, mode: u32, content: impl AsRef<[u8]>) {
        let script = format!("mkdir -p \"$(dirname '{path}')\" && cat > '{path}' && chmod {mode:o} '{path}'");
        let command = self.command(&["sh", "-c", &script]);
        let _ = run(command, content.as_ref(), TIMEOUT, &Filters::standard()).ok();
    }

    /// A file of the host.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn read(&self, path: &str) -> Vec<u8> {
        run(self.command(&["cat", path]), b"", TIMEOUT, &Filters::standard()).ok().raw_stdout
    }

    /// What its console said since it was booted.
    #[must_use]
    pub fn console(&self) -> String {
        let bytes = fs::read(self.directory.join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its line of `known_hosts`, for both addresses.
    pub(super) fn known(&self) -> String {
        let key = fs::read_to_string(self.place("etc/ssh/ssh_host_ed25519_key.pub")).expect("read the host's key");
        format!("{},{} {key}", self.address, self.address6)
    }

    /// What one host has and no other, before it is booted.
    fn files(&self) {
        for dir in ["etc/ssh", "root/.ssh"] {
            fs::create_dir_all(self.place(dir)).expect("make the host's directories");
        }
        for (dir, mode) in [("root", 0o700), ("root/.ssh", 0o700)] {
            fs::set_permissions(self.place(dir), fs::Permissions::from_mode(mode)).expect("set rights");
        }
        generate(&self.place("etc/ssh/ssh_host_ed25519_key"));
        fs::copy(self.key.with_extension("pub"), self.place("root/.ssh/authorized_keys")).expect("let root log in");
        let name = &self.name;
        fs::write(self.place("etc/hostname"), format!("{name}\n")).expect("name the host");
        let hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n{} {name}\n", self.address);
        fs::write(self.place("etc/hosts"), hosts).expect("write /etc/hosts");
    }

    /// A command in the namespaces of the fleet, of which the host's are part.
    fn inside_of_the_fleet(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init, "--mount", "--net", "--pid", "--"]);
        command
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Machine>> {
        // A test that has failed in one place may still take the host down.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("name", &self.name).field("address", &self.address).finish_non_exhaustive()
    }
}
