//! `ack`: the checks of ack-image-builder's log, in its words and order; then the other rules for custom images.

use super::Rule;
use crate::Test;

/// The table.
pub(super) fn rules() -> Vec<Rule> {
    let installed = |name: &str| Rule::tool(name).titled(format!("Check if {name} is installed."));
    let cleaned = |name: &str| Rule::no_tool(name).titled(format!("Check if {name} is cleaned up."));
    let kernel = Test::KernelMin { version: "3.10".to_owned() };
    vec![
        Rule::new("os.kernel.min", "Check if kernel version >= 3.10.", kernel),
        Rule::new("os.systemd.min", "Check if systemd version >= 219.", Test::SystemdMin { version: 219 }),
        Rule::of("os.ssh.listen").titled("Check if sshd is running and listen on port 22."),
        installed("cloud-init"),
        installed("wget"),
        installed("curl"),
        cleaned("kubeadm"),
        cleaned("kubelet"),
        cleaned("kubectl"),
        // Never a command: the package is what the check means.
        Rule::no_package("kubernetes-cni").titled("Check if kubernetes-cni is cleaned up."),
        // What newer releases of its script ask besides.
        Rule::of("os.ssh.rootlogin").titled("Check if permit root login using ssh key on port 22."),
        cleaned("docker"),
        // What its documentation asks for, and no script looks at.
        Rule::of("os.sysctl.protected").titled("Check if no kernel parameter of ACK is overridden."),
        Rule::of("os.sysctl.protected-values").titled("Check if kernel parameters of ACK have its values."),
        Rule::of("os.swap").titled("Check if swap is off."),
        Rule::of("os.kernel.default-boot-entry").titled("Check if the boot entry is an installed kernel."),
        Rule::of("os.kernel.headers").titled("Check if headers of the kernel are installed."),
        Rule::of("os.timezone").titled("Check if the time zone is set."),
        Rule::of("os.time-sync").titled("Check if one service keeps the time."),
        Rule::tool("iptables").titled("Check if iptables is installed.").warning(),
        Rule::of("os.dns.resolvers").titled("Check if the cloud's nameservers are kept."),
        Rule::of("os.dns.options").titled("Check if the resolver's options are set."),
        Rule::of("os.dns.lock").titled("Check if resolv.conf is locked."),
        Rule::of("os.repo.gpg").titled("Check if repositories are signed."),
        Rule::of("os.timers.autoupdate").titled("Check if no full update runs on its own."),
    ]
}
