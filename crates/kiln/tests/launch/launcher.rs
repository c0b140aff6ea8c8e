//! Who launches: a home with the key of the fleet, a store with the cluster image, a place for what is remembered.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use kiln_testkit::fleet::{Host, PASSWORD, USER, kubernetes};
use kiln_testkit::{Filters, Fleet, Output};

use crate::by_hand;

/// The program.
pub const KILN: &str = env!("CARGO_BIN_EXE_kiln");

/// Runs `kiln` in the hosts' network.
pub struct Launcher<'f> {
    /// The hosts.
    pub fleet: &'f Fleet,
    /// Of Kubernetes.
    pub version: String,
    /// Whether to log in with a password, as who becomes root by saying it again.
    sudo: bool,
}

impl Launcher<'_> {
    /// Logs in as root, by a key.
    pub fn new(fleet: &Fleet) -> Launcher<'_> {
        Launcher::of(fleet, &kubernetes::images(Path::new(KILN)), kubernetes::version(&kubernetes::programs()))
    }

    /// The same, with the images of another release.
    pub fn of<'f>(fleet: &'f Fleet, images: &Path, version: String) -> Launcher<'f> {
        let ssh = fleet.directory().join("home/.ssh");
        fs::create_dir_all(&ssh).unwrap();
        fs::copy(fleet.known_hosts(), ssh.join("known_hosts")).unwrap();
        fs::copy(fleet.key(), ssh.join("id_ed25519")).unwrap();
        let launcher = Launcher { fleet, version, sudo: false };
        launcher.load(images);
        launcher
    }

    /// Takes the cluster image of a directory of images into the store.
    pub fn load(&self, images: &Path) {
        let _ = self.kiln(&["cluster", "load", "-q", "-i", images.join("cluster.tar").to_str().unwrap()]);
    }

    /// Logs in as a user who may become root, with a password.
    pub fn with_sudo(fleet: &Fleet) -> Launcher<'_> {
        Launcher { sudo: true, ..Launcher::new(fleet) }
    }

    /// A Clusterfile with the first hosts of the fleet: so many masters, and so many workers behind them.
    pub fn clusterfile(&self, masters: usize, workers: usize) -> String {
        self.clusterfile_with(masters, workers, "")
    }

    /// The same with more documents behind it.
    pub fn clusterfile_with(&self, masters: usize, workers: usize, more: &str) -> String {
        let path = self.home().join("Clusterfile");
        let of = |role: &str, from: usize, count: usize| match count {
            0 => String::new(),
            _ => {
                let ips: Vec<&str> = self.fleet.hosts()[from..from + count].iter().map(Host::address).collect();
                format!("  - ips: [{}]\n    roles: [{role}]\n", ips.join(", "))
            }
        };
        let text = format!(
            "apiVersion: sealer.io/v2\nkind: Cluster\nmetadata: {{name: shop}}\nspec:\n  image: kubernetes:{}\n  hosts:\n{}{}---\n\
             apiVersion: kubeadm.k8s.io/{}\nkind: ClusterConfiguration\nnetworking: {{podSubnet: {}}}\n---\n{}{more}",
            self.version,
            of("master", 0, masters),
            of("node", masters, workers),
            if kubernetes::minor(&self.version) < 22 { "v1beta2" } else { "v1beta3" },
            kubernetes::PODS,
            kubernetes::documents(&self.version),
        );
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Has a Clusterfile of these say more of the cluster.
    pub fn say(file: &str, more: &str) {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, text.replacen("spec:\n", &format!("spec:\n{more}"), 1)).unwrap();
    }

    fn home(&self) -> PathBuf {
        self.fleet.directory().join("home")
    }

    /// A command that is not yet started.
    pub fn command(&self, words: &[&str]) -> Command {
        let home = self.home();
        let mut command = self.fleet.command(KILN);
        command.args(words).env("HOME", &home).env("KILN_STORE", home.join("store"));
        command.env("KILN_STATE", home.join("clusters")).env_remove("SSH_AUTH_SOCK");
        if self.sudo {
            // Only the password opens.
            let _ = fs::remove_file(home.join(".ssh/id_ed25519"));
            command.env("USER", USER).env("KILN_SSH_PASSWORD", PASSWORD);
        } else {
            command.env("USER", "root");
        }
        command
    }

    /// What a command says, whatever becomes of it. How long it took is printed, for who measures.
    pub fn said(&self, words: &[&str]) -> Output {
        let began = Instant::now();
        let said =
            kiln_testkit::command::run(self.command(words), b"", Duration::from_secs(1200), &Filters::standard());
        // With the times that the filters take out.
        let stderr = String::from_utf8_lossy(&said.raw_stderr);
        println!("kiln {} ... {:.1} s\n{stderr}", words.join(" "), began.elapsed().as_secs_f64());
        said
    }

    /// What a command says that has to succeed.
    #[track_caller]
    pub fn kiln(&self, words: &[&str]) -> Output {
        let said = self.said(words);
        assert_eq!(said.code, 0, "kiln {}: {said}\n{}", words.join(" "), self.state());
        said
    }

    /// The words of a verb of clusters.
    pub fn words<'w>(verb: &'w str, more: &[&'w str]) -> Vec<&'w str> {
        [&["cluster", verb, "--name", "shop"], more].concat()
    }

    /// A verb of clusters that has to succeed.
    #[track_caller]
    pub fn cluster(&self, verb: &str, more: &[&str]) -> Output {
        self.kiln(&Launcher::words(verb, more))
    }

    /// Launches the cluster of a Clusterfile, also with more words.
    #[track_caller]
    pub fn run(&self, file: &str, more: &[&str]) -> Output {
        self.cluster("run", &[&["-f", file, &Launcher::ignore()], more].concat())
    }

    /// Checks that cannot pass on these hosts.
    pub fn ignore() -> String {
        format!("--ignore-preflight-errors={}", kubernetes::IGNORED)
    }

    /// What hosts say when something failed.
    pub fn state(&self) -> String {
        let up = self.fleet.hosts().iter().filter(|host| host.is_up());
        up.map(|host| format!("{}\n{}", host.name(), by_hand::state(host))).collect()
    }
}

/// What a host has that a launch may change: files with their rights, sizes and owners, contents of settings, devices,
/// rules, services, settings of the kernel.
pub fn footprint(host: &Host) -> String {
    // What any host writes as it goes is left out, and so are tables without rules.
    let script = r#"
find /etc /usr /opt /root /home /srv /var /run /var/lib/kubelet /var/lib/etcd -xdev \( -path /var/log/journal -o -path /var/log/wtmp -o -path /var/log/lastlog \
  -o -path /var/log/btmp -o -path /var/lib/systemd -o -path /var/lib/containerd -o -path /run/systemd -o -path /run/containerd -o -path /var/lib/docker -o -path /run/docker -o -path /run/docker.pid -o -path /run/kiln-host -o -path /run/log \
  -o -path /run/xtables.lock -o -path /run/motd.dynamic -o -path /run/user -o -path /run/sudo -o -path /run/utmp -o -path /run/dbus -o -path /var/lib/sudo -o -name .sudo_as_admin_successful -o -name 'systemd-private-*' -o -path /var/cache \) -prune \
  -o -type f -printf '%p %m %u:%g %s\n' -o -printf '%p %y %m %u:%g %l\n' | sort
sha256sum /etc/hosts /etc/hostname /etc/containerd/config.toml
ls /sys/class/net
for save in iptables-save ip6tables-save iptables-legacy-save; do $save 2>/dev/null | grep -v -e '^#' -e '^\*' -e '^COMMIT' -e '^:[A-Z]* ACCEPT ' | sed 's/\[[0-9:]*\]//'; done
systemctl list-units --all --plain --no-legend --type=service 'kube*' 'kiln-[!h]*' containerd.service
systemctl is-enabled containerd
ip route
ip -6 route | sed 's/ expires [0-9]*sec//'
ip -o addr show scope global | awk '{ print $2, $4 }'
awk '{print $2}' /proc/mounts | grep -v -e kiln-host -e ^/run/user -e ^/run/docker/netns/ | sort
sysctl -a 2>/dev/null | grep -e '^net.ipv4.ip_forward ' -e 'all.route_localnet' -e 'forwarding =' -e 'accept_ra ' -e '^net.bridge' -e '^vm.over' -e '^kernel.panic' | grep -v -e veth
"#;
    host.run(script).text().to_owned()
}

/// Says what of two footprints differs, if anything does.
#[track_caller]
pub fn assert_as_found(host: &Host, before: &str) {
    let after = footprint(host);
    let (was, is): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let gone: Vec<&&str> = was.iter().filter(|line| !is.contains(line)).collect();
    let new: Vec<&&str> = is.iter().filter(|line| !was.contains(line)).collect();
    assert!(gone.is_empty() && new.is_empty(), "{} is not as it was found: gone {gone:#?}, new {new:#?}", host.name());
}
