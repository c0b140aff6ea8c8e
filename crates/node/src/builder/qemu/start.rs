//! From nothing to a machine that answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_vm::boot::{Command, Keyboard};
use kiln_vm::machine::{BootFrom, Firmware, Forward, Network, Protocol, Screen};
use kiln_vm::ports::Ports;
use kiln_vm::serve::{Server, Source};
use kiln_vm::tpm::SoftTpm;
use kiln_vm::{Machine, Overrides, Vm, VmError, Vnc, accel, neighbours};

use super::config::Late;
use super::media::{Fat, seed};
use super::watch::Looking;
use super::{Qemu, Running};
use crate::builder::Job;
use crate::communicator::connect::{self, Watch};
use crate::communicator::{Communicator, Login, Settings};
use crate::error::{NodeError, Result};
use crate::provision::arguments;
use crate::target::{Commanded, pause};
use crate::ui::words;

/// Where a guest of qemu's own network finds this machine.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Between two looks for a guest's address on a bridge.
const GLANCE: Duration = Duration::from_millis(500);
/// How often another port is tried when somebody was faster.
const TRIES: u32 = 5;

impl Qemu {
    /// All of it.
    pub(super) fn start(&mut self, job: &Job<'_>) -> Result<()> {
        let source = self.fetch(job)?;
        self.make_room(job)?;
        let scratch = tempfile::Builder::new().prefix("kiln-qemu-").tempdir_in(&job.site.temporary);
        let scratch = scratch.map_err(NodeError::file("make a directory below", &job.site.temporary))?;
        let mut machine = self.config.machine.clone();
        self.running.scratch = Some(scratch);
        machine.disks = self.make_disks(&source, job)?;
        machine.boot = if self.config.disk.is_image { BootFrom::Disk } else { BootFrom::CdOnce };
        if !self.config.disk.is_image {
            machine.cdroms.push(source);
        }
        if let Communicator::Ssh(settings) = &self.config.communicator {
            self.running.login = Some(Login::prepare(settings, job.site, job.ui, true)?);
        }
        self.firmware(&mut machine, job)?;
        self.serve(job)?;
        self.media(&mut machine, job)?;
        let password = self.run(machine, job)?;
        self.type_boot_command(password.as_deref(), job)?;
        self.connect(job)
    }

    fn scratch(&self) -> Result<&Path> {
        let missing = || NodeError::Machine { action: "starting".to_owned(), why: "it has not begun".to_owned() };
        self.running.scratch.as_ref().map(tempfile::TempDir::path).ok_or_else(missing)
    }

    fn firmware(&mut self, machine: &mut Machine, job: &Job<'_>) -> Result<()> {
        if let Some(efi) = &self.config.efi {
            let firmware = match &efi.code {
                Some(code) => Firmware { code: code.clone(), vars: efi.vars.clone() },
                None => Firmware::find(self.config.binary.rsplit("qemu-system-").next().unwrap_or("x86_64"))?,
            };
            let place = if efi.drop_vars { self.scratch()? } else { &self.config.directory };
            machine.firmware = Some(match &firmware.vars {
                Some(_) => firmware.with_own_variables(&place.join("efivars.fd"))?,
                None => firmware,
            });
        }
        if let Some(tpm) = &self.config.tpm {
            job.ui.say("Starting swtpm...");
            let state = self.scratch()?.join("tpm");
            let running = SoftTpm::start(job.site.path.as_deref(), &state, &job.site.temporary, tpm.old)?;
            machine.tpm = Some(running.device(&tpm.device));
            self.running.tpm = Some(running);
        }
        Ok(())
    }

    fn ports(job: &Job<'_>) -> Result<Ports> {
        Ok(Ports::shared(&job.site.temporary)?)
    }

    /// Starts the server for the guest.
    fn serve(&mut self, job: &Job<'_>) -> Result<()> {
        let http = &self.config.http;
        let here = match &self.config.machine.network {
            Network::Bridge(bridge) => IpAddr::V4(neighbours::bridge_address(bridge, job.site.path.as_deref())?),
            _ => IpAddr::V4(GATEWAY),
        };
        self.running.http = Some((here.to_string(), 0));
        let source = match &http.directory {
            Some(dir) => Source::Directory(dir.clone()),
            None if http.content.is_empty() => return Ok(()),
            None => {
                let known = self.known(None);
                let data: Vec<(&str, &str)> = known.iter().map(|(k, v)| (*k, &**v)).collect();
                let render = |(path, text): &(String, Late)| Ok((path.clone(), text.render(&data)?.into_bytes()));
                Source::Content(http.content.iter().map(render).collect::<Result<_>>()?)
            }
        };
        let address = http.address.unwrap_or(match self.config.machine.network {
            Network::Bridge(_) => here,
            _ => LOOPBACK,
        });
        let ui = job.ui.clone();
        let log = Box::new(move |line: &str| ui.message(&format!("HTTP: {line}")));
        let server = Server::start(source, &Self::ports(job)?, http.range, address, Some(log))?;
        let port = server.address().port();
        job.ui.say(&format!("Starting HTTP server on port {port}"));
        self.running.http = Some((here.to_string(), port));
        self.running.server = Some(server);
        Ok(())
    }

    /// What late parts of the template may ask for.
    fn known(&self, password: Option<&str>) -> Vec<(&'static str, String)> {
        let http = self.running.http.clone().unwrap_or_default();
        let port = if http.1 == 0 { String::new() } else { http.1.to_string() };
        let line = self.running.login.as_ref().map(Login::public_line).unwrap_or_default();
        vec![
            ("HTTPIP", http.0),
            ("HTTPPort", port),
            ("HTTPDir", self.config.http.directory.as_ref().map(|d| d.display().to_string()).unwrap_or_default()),
            ("OutputDir", self.config.directory.display().to_string()),
            ("Name", self.config.name.clone()),
            ("SSHHostPort", self.running.port.to_string()),
            ("SSHPublicKey", line),
            ("VNCPassword", password.unwrap_or_default().to_owned()),
        ]
    }

    fn render(&self, text: &Late) -> Result<String> {
        let known = self.known(None);
        let data: Vec<(&str, &str)> = known.iter().map(|(k, v)| (*k, &**v)).collect();
        Ok(text.render(&data)?)
    }

    fn media(&self, machine: &mut Machine, job: &Job<'_>) -> Result<()> {
        let known = self.known(None);
        let data: Vec<(&str, &str)> = known.iter().map(|(k, v)| (*k, &**v)).collect();
        let (scratch, temporary) = (self.scratch()?, &job.site.temporary);
        if !self.config.floppy.is_empty() {
            job.ui.say("Creating floppy disk...");
            let image = scratch.join("floppy.img");
            seed(&self.config.floppy, &data)?.floppy(&image, temporary, &Fat)?;
            machine.floppy = Some(image);
        }
        if !self.config.cd.is_empty() {
            job.ui.say("Creating CD disk...");
            let image = scratch.join("cd.iso");
            seed(&self.config.cd, &data)?.disc(&image, temporary, job.site.path.as_deref(), Some(&Fat))?;
            match machine.cdrom_interface {
                Some(_) => machine.cdroms.push(image),
                // Small kernels have no driver for IDE.
                None => machine.seeds.push(image),
            }
        }
        Ok(())
    }

    /// Starts it; the password of its screen, if that has one.
    fn run(&mut self, mut machine: Machine, job: &Job<'_>) -> Result<Option<String>> {
        let qemu = kiln_vm::Qemu::find(&self.config.binary, job.site.path.as_deref(), &job.site.temporary)?;
        let choice = accel::choose(&qemu, self.config.accelerator, false)?;
        job.ui.message(&format!("accelerator {}: {}", choice.accelerator.name(), choice.why));
        machine.accelerator = choice.accelerator;
        let mut tries = 0;
        let vm = loop {
            self.lease(&mut machine, job)?;
            let arguments = self.arguments(&machine, job)?;
            match Vm::start(&qemu, &arguments) {
                Err(error) if error.is_taken_port() && tries < TRIES => tries += 1,
                Err(error) => return Err(error.into()),
                Ok(vm) => break vm,
            }
        };
        let from = if self.config.disk.is_image { "disk image" } else { "from CD-ROM" };
        job.ui.say(&format!("Starting VM, booting {from}"));
        if let (Some(screen), Some("none")) = (&machine.screen, machine.display.as_deref()) {
            let how = if screen.password { "with the password below" } else { "without a password" };
            job.ui.message("The VM will be run headless, without a GUI. If you want to");
            job.ui.message(&format!("view the screen of the VM, connect via VNC {how} to"));
            job.ui.message(&format!("vnc://{}:{}", screen.address, screen.port));
        }
        let mut password = None;
        if let Some(screen) = machine.screen.as_ref().filter(|screen| screen.password) {
            let made = made_up()?;
            vm.qmp().screen_password(&made)?;
            job.ui.message(&format!("VNC at {}:{}, password {made}", screen.address, screen.port));
            password = Some(made);
        }
        self.running.vm = Some(Arc::new(vm));
        Ok(password)
    }

    /// Ports for SSH and for the screen.
    fn lease(&mut self, machine: &mut Machine, job: &Job<'_>) -> Result<()> {
        let config = &self.config;
        let ports = Self::ports(job)?;
        self.running.ports.clear();
        if let (Communicator::Ssh(settings), Network::User(_)) = (&config.communicator, &config.machine.network) {
            let guest = settings.port.unwrap_or(22);
            (self.running.host, self.running.port) = match config.skip_nat {
                true => (settings.host.clone().unwrap_or_default(), guest),
                false => {
                    let lease = ports.lease("SSH", config.host_ports, LOOPBACK)?;
                    let port = lease.port();
                    job.ui.say(&format!("Found port for communicator (SSH): {port}."));
                    let (protocol, address) = (Protocol::Tcp, LOOPBACK.to_string());
                    machine.network = Network::User(vec![Forward { protocol, address, port, guest }]);
                    self.running.ports.push(lease);
                    (LOOPBACK.to_string(), port)
                }
            };
        }
        if !config.vnc.disabled {
            let (range, address) = (config.vnc.range, config.vnc.address);
            job.ui.say(&format!("Looking for available port between {} and {} on {address}", range.first, range.last));
            let lease = ports.lease("VNC", config.vnc.range, config.vnc.address)?;
            let (address, port) = (config.vnc.address.to_string(), lease.port());
            machine.screen = Some(Screen { address, port, password: config.vnc.password });
            self.running.ports.push(lease);
        }
        Ok(())
    }

    fn arguments(&self, machine: &Machine, job: &Job<'_>) -> Result<Vec<String>> {
        let mut lists = Vec::new();
        for list in &self.config.arguments {
            lists.push(list.iter().map(|text| self.render(text)).collect::<Result<Vec<String>>>()?);
        }
        for list in &lists {
            let hint = "give it in http_content, cd_content or floppy_content, or by a provisioner";
            arguments::refuse("qemu", list, job.ui.whole().masks(), hint)?;
        }
        let overrides = Overrides(lists);
        if !overrides.0.is_empty() {
            job.ui.say("Overriding default Qemu arguments with qemuargs template option...");
            let lost = machine.replaced(&overrides);
            for (key, value) in lost.iter().filter(|(key, _)| *key == "-drive" || *key == "-netdev") {
                job.ui.message(&format!("warning: qemuargs takes the place of {key} {value}"));
            }
        }
        machine.arguments(&overrides, |text| Ok(text.to_owned()))
    }

    /// Types what the template wants typed.
    fn type_boot_command(&self, password: Option<&str>, job: &Job<'_>) -> Result<()> {
        let (config, Some(vm)) = (&self.config, &self.running.vm) else { return Ok(()) };
        let patience = |time: Duration| -> Result<()> {
            pause(time, job.cancel)?;
            Ok(vm.check("Kiln waited for it to boot")?)
        };
        if !config.boot_wait.is_zero() {
            job.ui.say(&format!("Waiting {} for boot...", words(config.boot_wait)));
            let end = Instant::now() + config.boot_wait;
            while Instant::now() < end {
                patience(Duration::from_millis(200).min(end - Instant::now()))?;
            }
        }
        if config.boot_command.is_empty() {
            return Ok(());
        }
        let rendered: Result<Vec<String>> = config.boot_command.iter().map(|text| self.render(text)).collect();
        let command = Command::parse(&rendered?)?;
        let screen = self.running.ports.last().filter(|_| !config.vnc.disabled);
        let mut vnc;
        let mut qmp;
        let keyboard: &mut dyn Keyboard = match screen {
            Some(lease) => {
                let address = SocketAddr::new(config.vnc.address, lease.port());
                job.ui.say(&format!("Connecting to VM via VNC ({address})"));
                vnc = Vnc::connect(address, password)?;
                &mut vnc
            }
            None => {
                qmp = vm.qmp();
                &mut qmp
            }
        };
        job.ui.say(if screen.is_some() { "Typing the boot command over VNC..." } else { "Typing the boot command..." });
        command.type_on(keyboard, config.pace, patience)
    }

    fn connect(&mut self, job: &Job<'_>) -> Result<()> {
        let Communicator::Ssh(settings) = self.config.communicator.clone() else { return Ok(()) };
        let Running { vm: Some(vm), login: Some(login), host, port, .. } = &mut self.running else { return Ok(()) };
        if let (Network::Bridge(_), Some(mac)) = (&self.config.machine.network, &self.config.machine.mac) {
            *host = match &settings.host {
                Some(host) => host.clone(),
                None => address(vm, mac, &settings, job)?,
            };
            *port = settings.port.unwrap_or(22);
        }
        let fresh = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            || matches!(self.config.machine.network, Network::Bridge(_));
        let options = login.options(&settings, host, *port, &self.config.user, fresh, job.site)?;
        let needs_seed = !self.config.cd.is_empty();
        let watch = Box::new(Looking::new(vm, needs_seed));
        let machine = connect::connect(options, &settings, watch, job.ui, job.cancel)?;
        self.running.machine = Some(Commanded::new(machine, job.ui.clone(), job.cancel.clone()));
        Ok(())
    }
}

/// The address of a guest on a bridge, once it has spoken.
fn address(vm: &Arc<Vm>, mac: &str, settings: &Settings, job: &Job<'_>) -> Result<String> {
    job.ui.say("Waiting for the address of the machine...");
    let end = Instant::now() + settings.timeout;
    let mut looking = Looking::new(vm, false);
    loop {
        if let Some(address) = neighbours::address_of(mac)? {
            job.ui.message(&format!("the machine has the address {address}"));
            return Ok(address.to_string());
        }
        looking.look()?;
        if Instant::now() >= end {
            let why = format!("it has not spoken on the bridge within {}", words(settings.timeout));
            let why = looking.diagnosis().iter().fold(why, |all, line| all + "\n    " + line);
            return Err(NodeError::Machine { action: "Timeout waiting for an address".to_owned(), why });
        }
        pause(GLANCE, job.cancel)?;
    }
}

/// A password for a screen: eight characters are all that VNC knows.
fn made_up() -> Result<String> {
    let mut bytes = [0; 8];
    let failed = |e: rustix::io::Errno| NodeError::from(VmError::Control { why: format!("no random numbers: {e}") });
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(failed)?;
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    Ok(bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect())
}
