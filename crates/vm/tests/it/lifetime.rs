//! Starts that fail, and machines that must not be left behind.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kiln_testkit::tools::tool;
use kiln_vm::machine::{Firmware, Forward, Network, Protocol};
use kiln_vm::tpm::SoftTpm;
use kiln_vm::{Accelerator, Machine, Overrides, Qemu, Vm, VmError};

use crate::guest::{LIMIT, qemu};

fn arguments(machine: &Machine, more: &[&[&str]]) -> Vec<String> {
    let lists = more.iter().map(|l| l.iter().map(|s| (*s).to_owned()).collect()).collect();
    machine.arguments(&Overrides(lists), |text| Ok::<_, VmError>(text.to_owned())).unwrap()
}

/// A machine with nothing to boot: its firmware runs.
fn empty() -> Machine {
    let mut machine = Machine::new("empty", Accelerator::Tcg);
    machine.memory = 64;
    machine.network = Network::None;
    machine
}

#[test]
fn qemus_last_words_are_in_the_error() {
    let error = Vm::start(&qemu(), &arguments(&empty(), &[&["-nonsense"]])).unwrap_err().to_string();
    assert!(error.contains("exit status 1") && error.contains("invalid option"), "{error}");
    let error = Vm::start(&qemu(), &arguments(&empty(), &[&["-device", "flux-capacitor"]])).unwrap_err().to_string();
    assert!(error.contains("flux-capacitor"), "{error}");
    let absent = Qemu { program: "/absent/qemu".into(), version: (9, 0), temporary: std::env::temp_dir() };
    assert!(Vm::start(&absent, &[]).unwrap_err().to_string().contains("not found"));
}

#[test]
fn a_port_that_is_taken_is_an_error_with_its_number() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut machine = empty();
    let forward = Forward { protocol: Protocol::Tcp, address: "127.0.0.1".to_owned(), port, guest: 22 };
    machine.network = Network::User(vec![forward]);
    let error = Vm::start(&qemu(), &arguments(&machine, &[])).unwrap_err();
    assert!(error.is_taken_port());
    assert!(error.to_string().contains(&format!("tcp:127.0.0.1:{port}-:22")), "{error}");
}

#[test]
fn something_that_is_not_qemu_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("qemu");
    std::fs::write(&program, "#!/bin/sh\necho 'cannot do that' >&2\nexit 3\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let error =
        Vm::start(&Qemu { program, version: (9, 0), temporary: std::env::temp_dir() }, &[]).unwrap_err().to_string();
    assert!(error.contains("exit status 3") && error.contains("cannot do that"), "{error}");
}

#[test]
fn an_accelerator_that_gives_up_ends_the_wait() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("qemu");
    // What qemu says then, before a machine that stands still.
    let script =
        format!("#!/bin/sh\necho 'KVM internal error. Suberror: 1' >&2\nexec {} \"$@\"\n", qemu().program.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let vm = Vm::start(
        &Qemu { program, version: (9, 0), temporary: std::env::temp_dir() },
        &arguments(&empty(), &[&["-S", ""]]),
    )
    .unwrap();
    assert_eq!(vm.ended(), None);
    let error = vm.wait_for(&["NEVER"], 0, LIMIT).unwrap_err().to_string();
    assert!(error.contains("its accelerator cannot go on") && error.contains("Suberror: 1"), "{error}");
    assert!(vm.check("Kiln waited for SSH").is_err());
}

#[test]
fn uefi_firmware_speaks_and_has_a_tpm() {
    let path = tool("swtpm");
    let dir = tempfile::tempdir().unwrap();
    let tpm = SoftTpm::start(path.parent().map(AsRef::as_ref), &dir.path().join("tpm"), dir.path(), false).unwrap();
    let mut machine = empty();
    machine.machine_type = "q35".to_owned();
    machine.memory = 256;
    machine.tpm = Some(tpm.device("tpm-tis"));
    machine.firmware = Some(Firmware::find("x86_64").unwrap().with_own_variables(&dir.path().join("vars.fd")).unwrap());
    let vm = Vm::start(&qemu(), &arguments(&machine, &[])).unwrap();
    vm.wait_for(&["BdsDxe"], 0, LIMIT).unwrap();
    let model = vm.qmp().execute("query-tpm", serde_json::Value::Null).unwrap();
    assert_eq!(model[0]["model"], "tpm-tis");
    assert!(tpm.runs());
    vm.kill();
    assert!(SoftTpm::start(None, dir.path(), dir.path(), false).unwrap_err().to_string().contains("package `swtpm`"));
}

/// Not a test of its own: what [`nothing_outlives_a_killed_process`] starts and kills.
#[test]
#[ignore = "a part of another test"]
fn starts_and_waits() {
    let Some(report) = std::env::var_os("KILN_VM_REPORT") else { return };
    let pidfile = Path::new(&report).with_extension("qemu");
    let vm = Vm::start(&qemu(), &arguments(&empty(), &[&["-pidfile", pidfile.to_str().unwrap()]])).unwrap();
    std::fs::write(&report, "up").unwrap();
    let _ = vm.wait(LIMIT);
}

#[test]
fn nothing_outlives_a_killed_process() {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report");
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifetime::starts_and_waits", "--ignored", "--nocapture"])
        .env("KILN_VM_REPORT", &report)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + LIMIT;
    while !report.exists() {
        assert!(Instant::now() < until && parent.try_wait().unwrap().is_none(), "it did not come up");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = std::fs::read_to_string(report.with_extension("qemu")).unwrap();
    let cmdline = format!("/proc/{}/cmdline", pid.trim());
    assert!(std::fs::read_to_string(&cmdline).unwrap().contains("qemu-system"));
    // By SIGKILL: nothing in it can clean up.
    parent.kill().unwrap();
    parent.wait().unwrap();
    while std::fs::read_to_string(&cmdline).is_ok_and(|line| line.contains("qemu-system")) {
        assert!(Instant::now() < until, "qemu {pid} is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn dropping_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let pidfile = dir.path().join("pid");
    let vm = Vm::start(&qemu(), &arguments(&empty(), &[&["-pidfile", pidfile.to_str().unwrap()]])).unwrap();
    let pid = std::fs::read_to_string(&pidfile).unwrap();
    drop(vm);
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    assert!(!line.contains("qemu-system"), "{line}");
}
