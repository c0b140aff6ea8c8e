//! What goes wrong in the cloud, and that nothing stays of it.

use std::process::Stdio;
use std::time::Duration;

use kiln_testkit::ecs::{Faults, Refuse};

use super::Bench;

#[test]
fn what_passes_is_waited_for() {
    let refuse = vec![
        Refuse::new("CreateVpc", 400, "TOKEN_PROCESSING", 1),
        Refuse::new("RunInstances", 503, "ServiceUnavailable", 1),
        Refuse::new("AssociateEipAddress", 400, "TaskConflict", 2),
        Refuse::new("DeleteInstance", 403, "IncorrectInstanceStatus.Initializing", 1),
    ];
    let b =
        Bench::with(Faults { pending: 2, throttled: vec![1, 3, 7, 12, 20], in_use: 2, refuse, ..Faults::default() });
    let _ = b.build("").ok();
    assert_eq!(b.double.images().len(), 1);
    b.is_clean();
}

#[test]
fn a_quota_at_the_machine_and_before_it() {
    let b = Bench::with(Faults { pending: 0, quota: true, ..Faults::default() });
    let said = b.fails("");
    assert!(said.contains("Error creating instance: RunInstances: QuotaExceed.ElasticQuota: "), "{said}");
    assert!(said.contains("(request DOUBLE-") && said.contains("hint: ask for a higher quota"), "{said}");
    assert!(said.contains("Cleaning up 'VPC'"), "{said}");
    b.is_clean();
    let b = Bench::with(Faults { pending: 0, processors: 100, ..Faults::default() });
    let said = b.fails("");
    assert!(said.contains("the account uses 100 of 100 processors"), "{said}");
    assert!(!b.double.trace().iter().any(kiln_testkit::ecs::Call::creates));
}

#[test]
fn failures_along_the_way_leave_nothing() {
    for (refuse, words) in [
        (
            Refuse::new("ImportKeyPair", 403, "Forbidden.RAM", 1),
            "Error creating temporary keypair: ImportKeyPair: Forbidden.RAM",
        ),
        (Refuse::new("CreateVSwitch", 400, "QuotaExceeded.VSwitch", 1), "Error Creating vswitch"),
        (Refuse::new("CreateSecurityGroup", 403, "QuotaExceed.SecurityGroup", 1), "Failed creating security group"),
        (Refuse::new("AllocateEipAddress", 400, "QuotaExceeded.Eip", 1), "Error allocating eip"),
        (Refuse::new("CreateImage", 400, "InvalidImageName.Duplicated", 1), "Error creating image"),
        (Refuse::new("UntagResources", 403, "Forbidden.RAM", 1), "Failed to remove the mark"),
    ] {
        let b = Bench::with(Faults { pending: 0, refuse: vec![refuse], ..Faults::default() });
        let said = b.fails("");
        assert!(said.contains(words), "{words}: {said}");
        assert!(b.double.images().is_empty());
        b.is_clean();
    }
    let b = Bench::with(Faults { pending: 0, images_fail: true, ..Faults::default() });
    let said = b.fails("");
    assert!(said.contains("in cn-hangzhou is CreateFailed"), "{said}");
    b.is_clean();
}

#[test]
fn what_cannot_be_deleted_is_an_error_with_its_id_and_is_still_in_the_ledger() {
    let refuse = vec![Refuse::new("DeleteVpc", 403, "Forbidden.RAM", 9)];
    let b = Bench::with(Faults { pending: 0, refuse, ..Faults::default() });
    let said = b.fails("");
    let left = b.double.left();
    assert_eq!(left.len(), 1, "{left:?}");
    let id = left[0].trim_start_matches("vpc ");
    assert!(said.contains(&format!("vpc {id}: DeleteVpc: Forbidden.RAM")), "{said}");
    assert!(said.contains("Alicloud images were created:") && said.contains("kiln node gc --build "), "{said}");
    assert_eq!(b.double.images().len(), 1, "the image is whole and stays");
    let books = b.t.home().join(".local/state/kiln/node-builds");
    let book = std::fs::read_dir(books)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.extension().is_some_and(|e| e == "jsonl"));
    let text = std::fs::read_to_string(book.unwrap()).unwrap();
    assert!(text.contains(id) && !text.contains(kiln_testkit::ecs::SECRET_KEY), "{text}");
}

#[test]
fn a_wrong_secret_is_not_shown_and_makes_nothing() {
    let b = Bench::new();
    let said = b.fails(r#", "access_key": "LTAIkilntest", "secret_key": "hunter2""#);
    assert!(said.contains("SignatureDoesNotMatch") && said.contains("hint: check secret_key"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    b.is_clean();
}

/// Runs a build, and stops it once `when` says so.
fn stopped(b: &Bench, when: impl Fn() -> bool) -> String {
    let mut command = b.t.command(&["node", "build", "-color=false", "t.json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let id = rustix::process::Pid::from_child(&child);
    for _ in 0..3000 {
        if when() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(when(), "it does not get so far: {:?}", b.actions());
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(!out.status.success());
    String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
}

#[test]
fn whoever_waits_for_the_cloud_can_be_stopped() {
    for stuck in ["vpc", "vswitch", "image"] {
        let b = Bench::with(Faults { pending: 1, stuck: Some(stuck), ..Faults::default() });
        b.template("", &b.here());
        let last = match stuck {
            "vpc" => "DescribeVpcs",
            "vswitch" => "DescribeVSwitches",
            _ => "CreateImage",
        };
        let said =
            stopped(&b, || b.actions().iter().filter(|action| *action == last).count() > usize::from(stuck != "image"));
        assert!(said.contains("Cleaning up 'VPC'"), "{stuck}: {said}");
        b.is_clean();
    }
}

#[test]
fn a_script_on_the_machine_ends_with_the_build() {
    let b = Bench::with(Faults { pending: 0, ..Faults::default() });
    let mark = b.server.lock().unwrap().path("small").join("pid").display().to_string();
    let folder = b.server.lock().unwrap().path("small").display().to_string();
    // A tmpfs of the server's own: what the script writes there is read through its process.
    let begun = b.t.context().join("begun").display().to_string();
    let script = format!(
        r#"{{"type": "shell", "inline": ["echo $$ >{begun}; exec sleep 1000"], "remote_folder": "{folder}", "environment_vars": ["MARK={mark}"]}}"#
    );
    b.template("", &script);
    let path = b.t.context().join("begun");
    let pid = || std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'));
    let _ = stopped(&b, || pid().is_some());
    b.is_clean();
    let pid = pid().unwrap();
    for _ in 0..500 {
        if !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the script {pid} still runs");
}
