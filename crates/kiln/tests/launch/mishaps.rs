//! Launches that are killed, and resets of what they leave; logins with a password, for whom root is a password away.

use std::process::Stdio;
use std::time::Duration;

use kiln_testkit::Fleet;
use kiln_testkit::fleet::Host;

use crate::by_hand::{asked, wait};
use crate::launcher::{Launcher, assert_as_found, footprint};
use crate::launching::{ready, serve};

/// Starts a launch, and kills Kiln as soon as a host says yes to a question.
fn kill(launcher: &Launcher<'_>, words: &[&str], host: &Host, question: &str) {
    let mut command = launcher.command(words);
    let mut killed = command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait(question, Duration::from_secs(300), || {
        let ended = killed.try_wait().unwrap();
        assert!(ended.is_none(), "the launch has ended before {question}: {ended:?}\n{}", launcher.state());
        host.run(question).code.eq(&0).then_some(())
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
}

/// What the registry of the first host answers to whoever sends these further lines.
fn status(fleet: &Fleet, more: &str) -> String {
    let ask = format!(
        "printf 'GET /v2/ HTTP/1.1\\r\\nHost: r\\r\\n{more}Connection: close\\r\\n\\r\\n' | \
         openssl s_client -quiet -connect 10.77.0.11:5000 2>/dev/null | head -n 1"
    );
    let said = fleet.command("sh").args(["-c", &ask]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn a_launch_that_is_killed_goes_on_or_is_given_back() {
    let fleet = Fleet::start(2);
    let launcher = Launcher::with_sudo(&fleet);
    let (one, two) = (fleet.host(1), fleet.host(2));
    let before: Vec<String> = fleet.hosts().iter().map(footprint).collect();
    let (file, ignore) = (launcher.clusterfile(1, 1), Launcher::ignore());
    Launcher::say(&file, "  registry: {localRegistry: {username: ops, password: \"a: 'login'\"}}\n");
    let words = Launcher::words("run", &["-f", &file, &ignore]);

    // In the middle of kubeadm: certificates are there, the control plane is not.
    kill(&launcher, &words, one, "test -e /etc/kubernetes/pki/ca.crt");
    let refused = launcher.said(&words).exits(3);
    assert!(refused.stderr.contains("an earlier launch stopped in phase init"), "{refused}");
    launcher.cluster("reset", &[]);
    assert_as_found(one, &before[0]);
    assert_as_found(two, &before[1]);

    // While the image is on its way, and while kubeadm works on both hosts, one after the other.
    kill(&launcher, &words, two, "test -e /var/lib/kiln/store/blobs");
    kill(&launcher, &[&words[..], &["--resume"]].concat(), one, "test -e /etc/kubernetes/manifests/etcd.yaml");
    kill(&launcher, &[&words[..], &["--resume"]].concat(), two, "test -e /etc/kubernetes/bootstrap-kubelet.conf");
    launcher.kiln(&[&words[..], &["--resume"]].concat());
    assert_eq!(ready(one), 2);
    // All images came from a registry that nobody else may ask.
    serve(&fleet, one, &[one, two]);
    assert_eq!(status(&fleet, ""), "HTTP/1.1 401 Unauthorized");
    assert_eq!(status(&fleet, "Authorization: Basic b3BzOmE6ICdsb2dpbic=\\r\\n"), "HTTP/1.1 200 OK");
    let kept = "find / -xdev -type f -size -1000k \\( -path /proc -o -path /sys \\) -prune -o -type f -size -1000k -print0 | \
                xargs -0 grep -ls -e \"a: 'login'\" -e b3BzOmE6ICdsb2dpbic= | grep -v '/certs.d/.*/hosts.toml$'";
    assert_eq!(one.run(kept).text(), "", "the password is in no other file");

    // With one host down the other is given back, and the first is when it is up again.
    two.power_off();
    let partly = launcher.said(&Launcher::words("reset", &[])).exits(3);
    assert!(partly.stderr.contains(&format!("error: {} was not reset", two.address())), "{partly}");
    assert_as_found(one, &before[0]);
    two.boot();
    launcher.cluster("reset", &[]);
    assert_eq!(asked(&fleet, two), None);
    assert_as_found(two, &before[1]);
}
