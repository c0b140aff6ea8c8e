//! The default arguments of a machine, by key.

use std::path::Path;

use super::{BootFrom, Disk, Firmware, Machine, Network};
use crate::Accelerator;
use crate::accel::escape;

/// Keys and values, in the order of the command line; a key may come several times, and have an empty value.
pub(super) type Defaults = Vec<(&'static str, String)>;

impl Machine {
    pub(super) fn defaults(&self) -> Defaults {
        let mut out: Defaults = vec![("-name", self.name.replace(',', ",,"))];
        let accel = match self.accelerator {
            Accelerator::None => String::new(),
            other => format!(",accel={}", other.name()),
        };
        out.push(("-machine", format!("type={}{accel}", self.machine_type)));
        out.extend(self.cpu_model.iter().map(|model| ("-cpu", model.clone())));
        out.push(("-m", format!("{}M", self.memory)));
        out.extend(self.processors.argument().map(|smp| ("-smp", smp)));
        self.boot(&mut out);
        self.firmware(&mut out);
        self.storage(&mut out);
        self.net(&mut out);
        self.tpm(&mut out);
        self.screen(&mut out);
        out.extend(self.run_once.then(|| ("-no-reboot", String::new())));
        out
    }

    fn boot(&self, out: &mut Defaults) {
        if let Some(kernel) = &self.kernel {
            out.push(("-kernel", kernel.image.display().to_string()));
            out.extend(kernel.initrd.iter().map(|initrd| ("-initrd", initrd.display().to_string())));
            out.push(("-append", kernel.append.clone()));
            return;
        }
        let from = match self.boot {
            BootFrom::CdOnce => "once=d",
            BootFrom::Disk => "c",
        };
        out.push(("-boot", from.to_owned()));
    }

    fn firmware(&self, out: &mut Defaults) {
        let Some(Firmware { code, vars }) = &self.firmware else { return };
        out.push(("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={}", escape(code))));
        out.extend(vars.iter().map(|v| ("-drive", format!("if=pflash,unit=1,format=raw,file={}", escape(v)))));
    }

    fn storage(&self, out: &mut Defaults) {
        let scsi_disks = self.disk_interface == "virtio-scsi" && !self.disks.is_empty();
        let cd_interface = self.cdrom_interface.as_deref().unwrap_or("ide");
        let scsi_cds = cd_interface == "virtio-scsi" && !self.cdroms.is_empty();
        if scsi_disks || scsi_cds {
            out.push(("-device", "virtio-scsi-pci,id=scsi0".to_owned()));
        }
        for (index, disk) in self.disks.iter().enumerate() {
            out.push(("-drive", self.drive(index, disk)));
            if scsi_disks {
                out.push(("-device", format!("scsi-hd,bus=scsi0.0,drive=drive{index}")));
            }
        }
        for (index, cdrom) in self.cdroms.iter().enumerate() {
            let file = escape(cdrom);
            match (&self.cdrom_interface, scsi_cds) {
                (_, true) => {
                    out.push(("-drive", format!("file={file},if=none,id=cdrom{index},media=cdrom,readonly=on")));
                    out.push(("-device", format!("scsi-cd,bus=scsi0.0,drive=cdrom{index}")));
                }
                (None, _) if index == 0 => out.push(("-cdrom", cdrom.display().to_string())),
                // Unit 2 is the one that `-cdrom` takes.
                (None, _) => out.push(("-drive", format!("file={file},index={},media=cdrom", 2 + index))),
                (Some(interface), _) => {
                    out.push(("-drive", format!("file={file},if={interface},id=cdrom{index},media=cdrom,readonly=on")));
                }
            }
        }
        for seed in &self.seeds {
            out.push(("-drive", format!("file={},if=virtio,format=raw,readonly=on", escape(seed))));
        }
        out.extend(self.floppy.iter().map(|f| ("-fda", f.display().to_string())));
    }

    fn drive(&self, index: usize, disk: &Disk) -> String {
        let how = match self.disk_interface.as_str() {
            "virtio-scsi" => format!("if=none,id=drive{index}"),
            other => format!("if={other}"),
        };
        let mut drive = format!(
            "file={},{how},cache={},discard={},format={}",
            escape(&disk.path),
            self.disk_cache,
            self.disk_discard,
            disk.format
        );
        if self.disk_detect_zeroes != "off" {
            drive.push_str(",detect-zeroes=");
            drive.push_str(&self.disk_detect_zeroes);
        }
        drive
    }

    fn net(&self, out: &mut Defaults) {
        let netdev = match &self.network {
            Network::None => {
                out.push(("-nic", "none".to_owned()));
                return;
            }
            Network::Bridge(bridge) => format!("bridge,id=user.0,br={bridge}"),
            Network::User(forwards) => {
                let forwards: Vec<String> = forwards.iter().map(super::Forward::argument).collect();
                format!("user,id=user.0{}", forwards.concat())
            }
        };
        out.push(("-netdev", netdev));
        out.push(("-device", self.card()));
    }

    /// The network card's `-device`.
    pub(super) fn card(&self) -> String {
        let mac = self.mac.as_ref().map(|mac| format!(",mac={mac}")).unwrap_or_default();
        format!("{},netdev=user.0{mac}", self.net_device)
    }

    fn tpm(&self, out: &mut Defaults) {
        let Some(tpm) = &self.tpm else { return };
        out.push(("-chardev", format!("socket,id=vtpm,path={}", escape(Path::new(&tpm.socket)))));
        out.push(("-tpmdev", "emulator,id=tpm0,chardev=vtpm".to_owned()));
        out.push(("-device", format!("{},tpmdev=tpm0", tpm.device)));
    }

    fn screen(&self, out: &mut Defaults) {
        if let Some(screen) = &self.screen {
            let password = if screen.password { ",password=on" } else { "" };
            out.push(("-vnc", format!("{}:{}{password}", screen.address, screen.port.saturating_sub(5900))));
        }
        out.extend(self.display.iter().map(|display| ("-display", display.clone())));
        out.extend(self.vga.iter().map(|vga| ("-vga", vga.clone())));
    }
}

impl super::Forward {
    fn argument(&self) -> String {
        let protocol = match self.protocol {
            super::Protocol::Tcp => "tcp",
            super::Protocol::Udp => "udp",
        };
        format!(",hostfwd={protocol}:{}:{}-:{}", self.address, self.port, self.guest)
    }
}

impl super::Processors {
    fn argument(&self) -> Option<String> {
        let parts = [("cpus", self.cpus), ("sockets", self.sockets), ("cores", self.cores), ("threads", self.threads)];
        let said: Vec<String> = parts.iter().filter_map(|(k, n)| n.map(|n| format!("{k}={n}"))).collect();
        (!said.is_empty()).then(|| said.join(","))
    }
}
