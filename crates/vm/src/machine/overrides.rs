//! `qemuargs`: arguments of the template that take the place of defaults.

use super::args::Defaults;
use super::{Machine, Network};
use crate::VmError;

const MOST: usize = 1000;

/// The lists of a template's `qemuargs`, as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(pub Vec<Vec<String>>);

impl Overrides {
    /// All default values of a key that is given here go away; all others stay, in their order, before those given.
    pub(super) fn apply<E: From<VmError>>(
        &self,
        machine: &Machine,
        defaults: Defaults,
        mut render: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<Vec<String>, E> {
        if self.0.len() > MOST {
            return Err(VmError::option("qemuargs", format!("more than {MOST} arguments")).into());
        }
        let mut given: Vec<(String, String)> = Vec::new();
        for list in &self.0 {
            let Some((key, rest)) = list.split_first() else {
                return Err(VmError::option("qemuargs", "an empty list: write [\"-key\", \"value\"]").into());
            };
            // Packer joins what follows the key without a blank.
            let value = render(&rest.concat())?;
            let key = render(key)?;
            if !key.starts_with('-')
                || key.trim_start_matches('-').is_empty()
                || key.contains('\0')
                || value.contains('\0')
            {
                let why = format!("{key:?} is not an option of qemu: they begin with `-`");
                return Err(VmError::option("qemuargs", why).into());
            }
            if same(&key, "-daemonize") {
                let why = "`-daemonize` would leave a machine behind that nobody ends";
                return Err(VmError::option("qemuargs", why).into());
            }
            given.push((key, value));
        }
        if let Some(device) = missing_card(machine, &given) {
            given.push(("-device".to_owned(), device));
        }
        let has = |key: &str| given.iter().any(|(g, _)| same(g, key));
        let mut out = Vec::new();
        for (key, mut value) in defaults.into_iter().filter(|(key, _)| !has(key)) {
            // qemu takes the accelerator in one place only.
            if key == "-machine" && (has("-accel") || has("-enable-kvm")) {
                value = format!("type={}", machine.machine_type);
            }
            add(&mut out, key.to_owned(), value);
        }
        for (key, value) in given {
            add(&mut out, key, value);
        }
        Ok(out)
    }
}

/// Options without a value are written with an empty one. A kernel's command line may be empty and is an argument.
fn add(out: &mut Vec<String>, key: String, value: String) {
    let counts = !value.is_empty() || same(&key, "-append");
    out.push(key);
    out.extend(Some(value).filter(|_| counts));
}

impl Machine {
    /// Defaults that these arguments take away, as key and value: for a warning when a disk or a seed is among them.
    pub fn replaced(&self, overrides: &Overrides) -> Vec<(&'static str, String)> {
        let given = |key: &str| overrides.0.iter().filter_map(|list| list.first()).any(|g| same(g, key));
        self.defaults().into_iter().filter(|(key, _)| given(key)).collect()
    }
}

/// qemu takes one dash or two.
fn same(a: &str, b: &str) -> bool {
    a.trim_start_matches('-') == b.trim_start_matches('-')
}

/// `-device` in `qemuargs` takes the network card away, which nobody means: it comes back unless one is named.
fn missing_card(machine: &Machine, given: &[(String, String)]) -> Option<String> {
    let mut devices = given.iter().filter(|(key, _)| same(key, "-device")).peekable();
    devices.peek()?;
    let kind = machine.net_device.split(',').next().unwrap_or_default();
    let has_card = devices.any(|(_, value)| value.contains(kind) || value.contains("netdev="));
    (machine.network != Network::None && !has_card).then(|| machine.card())
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::VmError;

    fn line(machine: &Machine, overrides: &[&[&str]]) -> String {
        let lists = overrides.iter().map(|l| l.iter().map(|s| (*s).to_owned()).collect()).collect();
        let render = |text: &str| Ok::<_, VmError>(text.replace("{{ .HTTPPort }}", "8042"));
        match machine.arguments(&Overrides(lists), render) {
            Ok(args) => args.join(" ").replace(" -", "\n-"),
            Err(e) => e.to_string(),
        }
    }

    fn forward() -> Forward {
        Forward { protocol: Protocol::Tcp, address: "127.0.0.1".into(), port: 2222, guest: 22 }
    }

    fn node() -> Machine {
        let mut machine = Machine::new("node", Accelerator::Kvm);
        machine.disks.push(Disk { path: "out,1/node".into(), format: "qcow2".into() });
        machine.network = Network::User(vec![forward()]);
        machine.screen = Some(Screen { address: "127.0.0.1".into(), port: 5901, password: false });
        machine
    }

    #[test]
    fn defaults_of_a_disk_image() {
        insta::assert_snapshot!(line(&node(), &[]), @"
        -name node
        -machine type=pc,accel=kvm
        -m 512M
        -boot c
        -drive file=out,,1/node,if=virtio,cache=writeback,discard=ignore,format=qcow2
        -netdev user,id=user.0,hostfwd=tcp:127.0.0.1:2222-:22
        -device virtio-net,netdev=user.0
        -vnc 127.0.0.1:1
        -display none
        ");
    }

    #[test]
    fn everything_at_once() {
        let mut machine = node();
        machine.accelerator = Accelerator::None;
        machine.machine_type = "q35".into();
        machine.cpu_model = Some("max".into());
        machine.processors = Processors { cpus: Some(4), sockets: Some(1), cores: Some(2), threads: Some(2) };
        machine.boot = BootFrom::CdOnce;
        machine.disks.push(Disk { path: "out/node-1".into(), format: "raw".into() });
        machine.disk_interface = "virtio-scsi".into();
        machine.disk_detect_zeroes = "unmap".into();
        machine.cdroms = vec!["a.iso".into(), "b.iso".into()];
        machine.seeds = vec!["seed.iso".into()];
        machine.floppy = Some("floppy.img".into());
        machine.network = Network::Bridge("br0".into());
        machine.mac = Some("52:54:00:12:34:56".into());
        machine.firmware = Some(Firmware { code: "code.fd".into(), vars: Some("vars.fd".into()) });
        machine.tpm = Some(Tpm { socket: "/run/tpm".into(), device: "tpm-tis".into() });
        machine.screen = Some(Screen { address: "127.0.0.1".into(), port: 5900, password: true });
        machine.display = None;
        machine.vga = Some("std".into());
        machine.run_once = true;
        insta::assert_snapshot!(line(&machine, &[]), @"
        -name node
        -machine type=q35
        -cpu max
        -m 512M
        -smp cpus=4,sockets=1,cores=2,threads=2
        -boot once=d
        -drive if=pflash,unit=0,format=raw,readonly=on,file=code.fd
        -drive if=pflash,unit=1,format=raw,file=vars.fd
        -device virtio-scsi-pci,id=scsi0
        -drive file=out,,1/node,if=none,id=drive0,cache=writeback,discard=ignore,format=qcow2,detect-zeroes=unmap
        -device scsi-hd,bus=scsi0.0,drive=drive0
        -drive file=out/node-1,if=none,id=drive1,cache=writeback,discard=ignore,format=raw,detect-zeroes=unmap
        -device scsi-hd,bus=scsi0.0,drive=drive1
        -cdrom a.iso
        -drive file=b.iso,index=3,media=cdrom
        -drive file=seed.iso,if=virtio,format=raw,readonly=on
        -fda floppy.img
        -netdev bridge,id=user.0,br=br0
        -device virtio-net,netdev=user.0,mac=52:54:00:12:34:56
        -chardev socket,id=vtpm,path=/run/tpm
        -tpmdev emulator,id=tpm0,chardev=vtpm
        -device tpm-tis,tpmdev=tpm0
        -vnc 127.0.0.1:0,password=on
        -vga std
        -no-reboot
        ");
    }

    #[test]
    fn arguments_of_the_template_replace_defaults_of_their_key() {
        let given: &[&[&str]] = &[
            &["-m", "1024M"],
            &["--no-acpi", ""],
            &["-smbios", "type=1,serial=ds=nocloud-net;s=http://10.0.2.2:{{ .HTTPPort }}/"],
            &["-device", "virtio-rng-pci"],
            &["-netdev", "user,id=user.0,", "hostfwd=tcp::{{ .HTTPPort }}-:22"],
            &["--display", "gtk"],
        ];
        insta::assert_snapshot!(line(&node(), given), @"
        -name node
        -machine type=pc,accel=kvm
        -boot c
        -drive file=out,,1/node,if=virtio,cache=writeback,discard=ignore,format=qcow2
        -vnc 127.0.0.1:1
        -m 1024M
        --no-acpi
        -smbios type=1,serial=ds=nocloud-net;s=http://10.0.2.2:8042/
        -device virtio-rng-pci
        -netdev user,id=user.0,hostfwd=tcp::8042-:22
        --display gtk
        -device virtio-net,netdev=user.0
        ");
    }

    #[test]
    fn the_accelerator_is_said_once_and_what_goes_away_is_told() {
        let mut machine = node();
        machine.seeds = vec!["seed.iso".into()];
        let given: &[&[&str]] = &[&["-accel", "tcg,thread=multi"], &["-drive", "file=mine"]];
        let text = line(&machine, given);
        assert!(text.contains("-machine type=pc\n") && !text.contains("kvm"), "{text}");
        let lists = given.iter().map(|l| l.iter().map(|s| (*s).to_owned()).collect()).collect();
        let replaced = machine.replaced(&Overrides(lists));
        assert_eq!(replaced.len(), 2);
        assert_eq!(replaced[1], ("-drive", "file=seed.iso,if=virtio,format=raw,readonly=on".to_owned()));
        assert!(machine.replaced(&Overrides::default()).is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let bad = |change: &dyn Fn(&mut Machine)| {
            let mut machine = node();
            change(&mut machine);
            line(&machine, &[])
        };
        insta::assert_snapshot!([
            bad(&|m| m.machine_type = "pc,accel=x".into()),
            bad(&|m| m.disk_cache = "fast".into()),
            bad(&|m| m.memory = 1),
            bad(&|m| m.processors = Processors { cpus: Some(3), sockets: Some(2), ..Processors::default() }),
            bad(&|m| m.processors.cpus = Some(0)),
            bad(&|m| m.name = "a/b".into()),
            bad(&|m| m.screen = Some(Screen { address: String::new(), port: 80, password: false })),
            line(&node(), &[&[]]),
            line(&node(), &[&["m", "1"]]),
            line(&node(), &[&["--"]]),
            line(&node(), &[&["--daemonize"]]),
        ].join("\n"), @r#"
        `machine_type`: "pc,accel=x": a comma would start another option of qemu
        `disk_cache`: "fast" is none of writethrough, writeback, none, unsafe, directsync
        `memory`: 1 MiB: from 10 MiB to 16 TiB
        `cpus`: 3 cannot be arranged in multiples of 2
        `cpus`: 0: from 1 to 1024
        `vm_name`: "a/b" cannot be a file's name
        `vnc_port_min`: 80: VNC's ports begin at 5900
        `qemuargs`: an empty list: write ["-key", "value"]
        `qemuargs`: "m" is not an option of qemu: they begin with `-`
        `qemuargs`: "--" is not an option of qemu: they begin with `-`
        `qemuargs`: `-daemonize` would leave a machine behind that nobody ends
        "#);
    }
}
