//! A cluster that serves goes to the next minor release: `kiln cluster upgrade`, a kubelet that does not start, a host that loses
//! its power in the middle.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_testkit::Fleet;
use kiln_testkit::fleet::{Host, kubernetes};

use crate::by_hand::{ADMIN, asked, kubectl, wait};
use crate::launcher::{KILN, Launcher, assert_as_found, footprint};
use crate::launching::{ready, serve};

/// The longest time without an answer that is no fault: one replica moves, and who asked it asks again.
const SILENCE: Duration = Duration::from_secs(20);

/// Set when it is dropped, also by a test that fails.
struct Over<'o>(&'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Asks a port of a host all the time while something is done, which must not silence it.
fn while_asked<T>(fleet: &Fleet, host: &Host, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut last, mut longest, mut answers, mut misses) = (Instant::now(), Duration::ZERO, 0, 0);
            while !over.load(Ordering::Acquire) {
                match asked(fleet, host) {
                    Some(_) => {
                        longest = longest.max(last.elapsed());
                        last = Instant::now();
                        answers += 1;
                    }
                    None => misses += 1,
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            longest = longest.max(last.elapsed());
            println!("{answers} answers, {misses} misses, silent for {:.1} s at most", longest.as_secs_f64());
            longest
        });
        let guard = Over(&over);
        let done = work();
        drop(guard);
        let longest = asking.join().unwrap();
        assert!(longest < SILENCE, "nobody answered for {:.1} s", longest.as_secs_f64());
        done
    })
}

/// Kubelets' releases, of nodes that pods may come to.
fn kubelets(first: &Host) -> Vec<String> {
    let what = "{range .items[*]}{.status.nodeInfo.kubeletVersion}{.spec.unschedulable}{\"\\n\"}{end}";
    kubectl(first, &format!("get nodes -o 'jsonpath={what}'")).lines().map(str::to_owned).collect()
}

/// Tags of the images that a control plane and kube-proxy run.
fn tags(first: &Host) -> BTreeSet<String> {
    let what = "{range .items[*]}{.spec.containers[0].image}{\"\\n\"}{end}";
    let all = kubectl(first, &format!("-n kube-system get pods -o 'jsonpath={what}'"));
    let of = |image: &str| image.rsplit_once(':').map(|(_, tag)| tag.to_owned());
    all.lines().filter(|image| image.contains("/kube-")).filter_map(of).collect()
}

/// A cluster image whose kubelet does not start, and one that is two minors away.
fn odd_images(launcher: &Launcher<'_>, next: &str) {
    let directory = launcher.fleet.directory();
    let script = "#!/bin/sh\necho this kubelet is broken >&2\nexit 1\n";
    let broken = directory.join("broken");
    write(&broken.join("kubelet"), script);
    fs::write(broken.join("Kubefile"), format!("FROM kubernetes:{next}\nCOPY kubelet bin/kubelet\n")).unwrap();
    launcher.kiln(&["cluster", "build", "-q", "-t", "broken:1", broken.to_str().unwrap()]);
    let far = directory.join("far");
    ["kubeadm", "kubelet", "kubectl"].iter().for_each(|name| write(&far.join("bin").join(name), script));
    let release = format!("v1.{}.0", kubernetes::minor(&launcher.version) + 2);
    let from = ["--from", far.to_str().unwrap(), "--no-images", "-t", "far:1"];
    launcher.kiln(&[&["cluster", "base", "-q", "--kubernetes", &release][..], &from].concat());
}

fn write(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Upgrades, and takes the power of a host as soon as it has its new kubelet; what Kiln said, which has to fail.
fn cut(launcher: &Launcher<'_>, words: &[&str], host: &Host, next: &str) -> String {
    let said = launcher.fleet.directory().join("said");
    let mut command = launcher.command(words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
    let mut upgrading = command.spawn().unwrap();
    let question = format!("/usr/bin/kubelet --version | grep -q '{next}$'");
    wait("the new kubelet on a worker", Duration::from_secs(600), || {
        let ended = upgrading.try_wait().unwrap();
        let text = || fs::read_to_string(&said).unwrap_or_default();
        assert!(ended.is_none(), "the upgrade has ended before: {ended:?}\n{}\n{}", text(), launcher.state());
        host.run(&question).code.eq(&0).then_some(())
    });
    host.power_off();
    let ended = wait("the end of the upgrade", Duration::from_secs(300), || upgrading.try_wait().unwrap());
    let text = fs::read_to_string(&said).unwrap();
    println!("{text}");
    assert_eq!(ended.code(), Some(3), "{text}");
    text
}

/// Snapshots of etcd that were kept on a host, each looked at by etcd's own program: keys in each.
fn snapshots(fleet: &Fleet, host: &Host) -> Vec<u64> {
    let names = host.run("ls /var/lib/kiln/etcd").ok().text().to_owned();
    let keys = |name: &str| {
        let here = fleet.directory().join("snapshot.db");
        fs::write(&here, host.read(&format!("/var/lib/kiln/etcd/{name}"))).unwrap();
        let mut command = std::process::Command::new(kubernetes::programs().join("etcdctl"));
        let asked = command.env("ETCDCTL_API", "3").args(["snapshot", "status", "-w", "json"]).arg(&here).output();
        let asked = asked.unwrap();
        assert!(asked.status.success(), "{name}: {}", String::from_utf8_lossy(&asked.stderr));
        let status: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
        status["totalKey"].as_u64().unwrap()
    };
    names.lines().map(keys).collect()
}

#[test]
#[ignore = "real Kubernetes, minutes: make test-cluster"]
fn a_cluster_is_upgraded_while_it_serves_and_what_fails_is_put_right() {
    let earlier = kubernetes::earlier_images(Path::new(KILN));
    let next_images = kubernetes::images(Path::new(KILN));
    let next = kubernetes::version(&kubernetes::programs());
    let fleet = Fleet::start(2);
    let launcher = Launcher::of(&fleet, &earlier, kubernetes::version(&kubernetes::earlier_programs()));
    let (one, two) = (fleet.host(1), fleet.host(2));
    let before: Vec<String> = fleet.hosts().iter().map(footprint).collect();
    let (file, ignore) = (launcher.clusterfile(1, 1), Launcher::ignore());
    launcher.run(&file, &[]);
    serve(&fleet, one, &[one, two]);
    launcher.load(&next_images);
    odd_images(&launcher, &next);
    let image = format!("kubernetes:{next}");
    let to = |image: &str, more: &[&str]| {
        let words = [&["cluster", "upgrade", image, "--name", "shop", "-f", &file, &ignore], more].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let said = |words: &[String]| launcher.said(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let old = launcher.version.clone();

    // What cannot be is refused, and a plan changes nothing.
    let far = said(&to("far:1", &[]));
    assert!(far.code != 0 && far.stderr.contains("are 2 minor releases"), "{far}");
    let plan = said(&to(&image, &["--plan"])).ok();
    assert!(plan.stdout.contains(&format!("{old} to {next}")) && plan.stdout.contains("node2: kubeadm upgrade node"));
    assert!(!plan.stdout.contains("ERROR"), "{plan}");
    assert_eq!(kubelets(one), [old.as_str(), &old]);

    // A kubelet that does not start: the node gets its old one back, and pods may come to it.
    let failed = while_asked(&fleet, two, || said(&to("broken:1", &["--wait", "30"])).exits(3));
    assert!(failed.stderr.contains("its old kubelet is put back"), "{failed}");
    assert!(failed.stderr.contains("kubelet on 10.77.0.11"), "what is behind it is told: {failed}");
    assert_eq!((kubelets(one), ready(one)), (vec![old.clone(), old.clone()], 2));

    // The power goes on the worker while it gets its new kubelet; the master is done.
    let words = to(&image, &[]);
    let plain: Vec<&str> = words.iter().map(String::as_str).collect();
    let text = while_asked(&fleet, one, || cut(&launcher, &plain, two, &next));
    assert!(text.contains(two.address()), "{text}");
    assert_eq!(kubelets(one).first(), Some(&next));
    two.boot();
    while_asked(&fleet, one, || launcher.kiln(&plain));
    assert_eq!((kubelets(one), ready(one)), (vec![next.clone(), next.clone()], 2));
    wait("control plane and proxies of the new release", Duration::from_secs(120), || {
        (tags(one) == BTreeSet::from([next.clone()])).then_some(())
    });
    let status = launcher.cluster("status", &[]);
    assert_eq!(status.stdout.matches(&format!("ready, {next}")).count(), 2, "{status}");
    serve(&fleet, one, &[one, two]);
    let keys = snapshots(&fleet, one);
    assert!(!keys.is_empty() && keys.iter().all(|keys| *keys > 100), "{keys:?}");

    // Once more does nothing, and the old image is not taken any more.
    let again = launcher.kiln(&plain);
    assert!(again.stderr.contains("nothing to do"), "{again}");
    let downgrade = said(&to(&format!("kubernetes:{old}"), &[]));
    assert!(downgrade.code != 0 && downgrade.stderr.contains("is older than"), "{downgrade}");
    let healthy = one.run(&format!("{ADMIN} kubectl get --raw /healthz")).ok();
    assert_eq!(healthy.text(), "ok");

    launcher.cluster("reset", &[]);
    assert_as_found(one, &before[0]);
    assert_as_found(two, &before[1]);
}
