//! What `kiln doctor build` says in pods: each rung, the call that fails, and the line that would bring it.

use serde_json::Value;

use crate::pod::Pod;
use crate::spec::{DEFAULT, OWN_USERS, RESTRICTED, Settings};

/// What it says in a pod.
#[track_caller]
fn said(settings: Settings) -> String {
    Pod::new(settings).kiln(&["doctor", "build"]).ok().stdout
}

#[test]
fn in_a_default_pod() {
    insta::assert_snapshot!(said(DEFAULT), @r"
    root     missing  unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP): Operation not permitted (os error 1)
                      system call: unshare, EPERM
                      needs: root of the machine with all rights: only where builds are trusted as much as the machine
                      pod spec: securityContext.privileged: true
    userns   missing  unshare(CLONE_NEWUSER): Operation not permitted (os error 1): the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)
                      system call: unshare, EPERM
                      needs: SYS_ADMIN in a user namespace of the pod, where it is no right over the machine; or what `userns1` needs
                      pod spec: hostUsers: false
                      pod spec: securityContext.capabilities.add: [SYS_ADMIN]
    userns1  missing  unshare(CLONE_NEWUSER): Operation not permitted (os error 1): the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)
                      system call: unshare, EPERM
                      needs: a filter that allows user namespaces and mounts in them: docs/pods.md
                      pod spec: securityContext.seccompProfile: {type: Localhost, localhostProfile: kiln-userns.json}
    chroot   taken    a private root directory; no namespaces, the network as it is
    emulated works    a private root directory, with calls answered by Kiln, slower; owners are kept virtually; no namespaces, the network as it is
    none     works    no command can run; images without RUN can be built
    ");
}

#[test]
fn in_a_restricted_pod() {
    insta::assert_snapshot!(said(RESTRICTED), @r"
    root     missing  unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP): Operation not permitted (os error 1)
                      system call: unshare, EPERM
                      needs: root of the machine with all rights: only where builds are trusted as much as the machine
                      pod spec: securityContext.privileged: true
    userns   missing  unshare(CLONE_NEWUSER): Operation not permitted (os error 1): the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)
                      system call: unshare, EPERM
                      needs: root of a user namespace of the pod, with SYS_ADMIN in it
                      pod spec: hostUsers: false
                      pod spec: securityContext.runAsUser: 0
                      pod spec: securityContext.capabilities.add: [SYS_ADMIN]
    userns1  missing  unshare(CLONE_NEWUSER): Operation not permitted (os error 1): the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)
                      system call: unshare, EPERM
                      needs: a filter that allows user namespaces and mounts in them: docs/pods.md
                      pod spec: securityContext.seccompProfile: {type: Localhost, localhostProfile: kiln-userns.json}
    chroot   missing  chroot(2): Operation not permitted (os error 1)
                      system call: chroot, EPERM
                      needs: root, with the rights that it has in containers by default: Pod Security `restricted` forbids it
                      pod spec: securityContext.runAsUser: 0
                      pod spec: securityContext.capabilities.add: [CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SYS_CHROOT]
    emulated taken    a private root directory, with calls answered by Kiln, slower; owners are kept virtually; no namespaces, the network as it is
    none     works    no command can run; images without RUN can be built
    ");
}

#[test]
fn in_a_restricted_pod_with_the_profile() {
    insta::assert_snapshot!(said(Settings { localhost: true, ..RESTRICTED }), @r"
    root     missing  unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP): Operation not permitted (os error 1)
                      system call: unshare, EPERM
                      needs: root of the machine with all rights: only where builds are trusted as much as the machine
                      pod spec: securityContext.privileged: true
    userns   missing  find subordinate uids: /etc/subuid has no line for kiln; as root: usermod --add-subuids 100000-165535 kiln
                      needs: root of a user namespace of the pod, with SYS_ADMIN in it
                      pod spec: hostUsers: false
                      pod spec: securityContext.runAsUser: 0
                      pod spec: securityContext.capabilities.add: [SYS_ADMIN]
    userns1  taken    a user namespace with one id, in which owners are kept virtually; mount, IPC and host name namespaces, overlayfs, a syscall filter
    chroot   missing  chroot(2): Operation not permitted (os error 1)
                      system call: chroot, EPERM
                      needs: root, with the rights that it has in containers by default: Pod Security `restricted` forbids it
                      pod spec: securityContext.runAsUser: 0
                      pod spec: securityContext.capabilities.add: [CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SYS_CHROOT]
    emulated works    a private root directory, with calls answered by Kiln, slower; owners are kept virtually; no namespaces, the network as it is
    none     works    no command can run; images without RUN can be built
    ");
}

#[test]
fn in_a_default_pod_with_the_profile() {
    insta::assert_snapshot!(said(Settings { localhost: true, ..DEFAULT }), @r"
    root     missing  unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP): Operation not permitted (os error 1)
                      system call: unshare, EPERM
                      needs: root of the machine with all rights: only where builds are trusted as much as the machine
                      pod spec: securityContext.privileged: true
    userns   taken    a user namespace with the ids of the image's users; mount, IPC and host name namespaces, overlayfs, a syscall filter
    userns1  works    a user namespace with one id, in which owners are kept virtually; mount, IPC and host name namespaces, overlayfs, a syscall filter
    chroot   works    a private root directory; no namespaces, the network as it is
    emulated works    a private root directory, with calls answered by Kiln, slower; owners are kept virtually; no namespaces, the network as it is
    none     works    no command can run; images without RUN can be built
    ");
}

#[test]
fn in_a_pod_with_its_own_users() {
    insta::assert_snapshot!(said(OWN_USERS), @r"
    root     missing  unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP): Operation not permitted (os error 1)
                      system call: unshare, EPERM
                      needs: root of the machine with all rights: only where builds are trusted as much as the machine
                      pod spec: hostUsers: true
                      pod spec: securityContext.privileged: true
    userns   missing  unshare(CLONE_NEWUSER): Operation not permitted (os error 1): the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)
                      system call: unshare, EPERM
                      needs: SYS_ADMIN in a user namespace of the pod, where it is no right over the machine; or what `userns1` needs
                      pod spec: securityContext.capabilities.add: [SYS_ADMIN]
    userns1  missing  unshare(CLONE_NEWUSER): Operation not permitted (os error 1): the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)
                      system call: unshare, EPERM
                      needs: a filter that allows user namespaces and mounts in them: docs/pods.md
                      pod spec: securityContext.seccompProfile: {type: Localhost, localhostProfile: kiln-userns.json}
    chroot   taken    a private root directory; no namespaces, the network as it is; no devices, only a file for /dev/null (mknod(2): Operation not permitted (os error 1))
    emulated works    a private root directory, with calls answered by Kiln, slower; owners are kept virtually; no namespaces, the network as it is
    none     works    no command can run; images without RUN can be built
    ");
}

#[test]
fn in_a_pod_with_its_own_users_and_rights_among_them() {
    insta::assert_snapshot!(said(Settings { sys_admin: true, ..OWN_USERS }), @r"
    root     missing  be root of the machine: Kiln is in a user namespace: see `userns`
                      needs: root of the machine; `userns` gives the same but limits for memory and processes
                      pod spec: hostUsers: true
                      pod spec: securityContext.privileged: true
    userns   taken    a user namespace with the ids of the image's users; mount, IPC and host name namespaces, overlayfs, a syscall filter
    userns1  missing  process_vm_readv(2): Operation not permitted (os error 1)
                      system call: process_vm_readv, EPERM
                      needs: a filter that allows user namespaces and mounts in them: docs/pods.md
                      pod spec: securityContext.seccompProfile: {type: Localhost, localhostProfile: kiln-userns.json}
    chroot   works    a private root directory; no namespaces, the network as it is; no devices, only a file for /dev/null (mknod(2): Operation not permitted (os error 1))
    emulated works    a private root directory, with calls answered by Kiln, slower; owners are kept virtually; no namespaces, the network as it is
    none     works    no command can run; images without RUN can be built
    ");
}

#[test]
fn a_store_that_cannot_be_written_is_what_is_missing() {
    let pod = Pod::new(Settings { read_only: true, ..DEFAULT }).store_at("/root/store");
    insta::assert_snapshot!(pod.kiln(&["doctor", "build"]).ok().stdout, @r"
    root     missing  unshare(CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP): Operation not permitted (os error 1)
                      system call: unshare, EPERM
                      needs: root of the machine with all rights: only where builds are trusted as much as the machine
                      pod spec: securityContext.privileged: true
    userns   missing  unshare(CLONE_NEWUSER): Operation not permitted (os error 1): the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)
                      system call: unshare, EPERM
                      needs: SYS_ADMIN in a user namespace of the pod, where it is no right over the machine; or what `userns1` needs
                      pod spec: hostUsers: false
                      pod spec: securityContext.capabilities.add: [SYS_ADMIN]
    userns1  missing  unshare(CLONE_NEWUSER): Operation not permitted (os error 1): the syscall filter Kiln runs under forbids it (in a pod: a Localhost profile)
                      system call: unshare, EPERM
                      needs: a filter that allows user namespaces and mounts in them: docs/pods.md
                      pod spec: securityContext.seccompProfile: {type: Localhost, localhostProfile: kiln-userns.json}
    chroot   missing  cannot create the store at /root/store: Read-only file system (os error 30)
                      error: EROFS
                      needs: the store on a volume that can be written
                      pod spec: volumes: [{name: kiln, emptyDir: {}}]
                      pod spec: volumeMounts: [{name: kiln, mountPath: /kiln}]
                      pod spec: env: [{name: KILN_STORE, value: /kiln/store}]
    emulated missing  cannot create the store at /root/store: Read-only file system (os error 30)
                      error: EROFS
                      needs: the store on a volume that can be written
                      pod spec: volumes: [{name: kiln, emptyDir: {}}]
                      pod spec: volumeMounts: [{name: kiln, mountPath: /kiln}]
                      pod spec: env: [{name: KILN_STORE, value: /kiln/store}]
    none     missing  cannot create the store at /root/store: Read-only file system (os error 30)
                      error: EROFS
                      needs: the store on a volume that can be written
                      pod spec: volumes: [{name: kiln, emptyDir: {}}]
                      pod spec: volumeMounts: [{name: kiln, mountPath: /kiln}]
                      pod spec: env: [{name: KILN_STORE, value: /kiln/store}]
    ");
}

#[test]
fn a_store_on_the_root_of_the_container_is_no_place_for_overlays() {
    let pod = Pod::new(Settings { sys_admin: true, ..OWN_USERS }).store_at("/root/store");
    let said = pod.kiln(&["doctor", "build"]).ok().stdout;
    // What the kernel says besides differs by version.
    let lines = said.lines().map(|line| line.split_once("; e overlay: ").map_or(line, |(before, _)| before));
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
    root     missing  be root of the machine: Kiln is in a user namespace: see `userns`
                      needs: root of the machine; `userns` gives the same but limits for memory and processes
                      pod spec: hostUsers: true
                      pod spec: securityContext.privileged: true
    userns   missing  overlayfs in /root/store/kiln/tmp: mount the image's 1 layers as an overlay: Invalid argument (os error 22)
                      system call: mount, EINVAL
                      needs: the store on a volume that can be written
                      pod spec: volumes: [{name: kiln, emptyDir: {}}]
                      pod spec: volumeMounts: [{name: kiln, mountPath: /kiln}]
                      pod spec: env: [{name: KILN_STORE, value: /kiln/store}]
    userns1  missing  process_vm_readv(2): Operation not permitted (os error 1)
                      system call: process_vm_readv, EPERM
                      needs: a filter that allows user namespaces and mounts in them: docs/pods.md
                      pod spec: securityContext.seccompProfile: {type: Localhost, localhostProfile: kiln-userns.json}
    chroot   taken    a private root directory; no namespaces, the network as it is; no devices, only a file for /dev/null (mknod(2): Operation not permitted (os error 1))
    emulated works    a private root directory, with calls answered by Kiln, slower; owners are kept virtually; no namespaces, the network as it is
    none     works    no command can run; images without RUN can be built
    ");
}

#[test]
fn programs_get_the_same_as_fields() {
    let rows = Pod::new(RESTRICTED).kiln(&["doctor", "build", "--json"]).ok().json();
    let row = |rung: &str| rows.as_array().unwrap().iter().find(|row| row["rung"] == rung).unwrap().clone();
    let userns1 = row("userns1");
    assert_eq!(userns1["available"], false);
    assert_eq!((&userns1["syscall"], &userns1["errno"]), (&Value::from("unshare"), &Value::from("EPERM")));
    assert!(userns1["reason"].as_str().unwrap().contains("Operation not permitted"), "{userns1}");
    assert!(userns1["remedy"].as_str().unwrap().contains("docs/pods.md"), "{userns1}");
    assert!(userns1["podSpec"][0].as_str().unwrap().contains("localhostProfile"), "{userns1}");
    let emulated = row("emulated");
    let found = (&emulated["available"], &emulated["taken"], &emulated["podSpec"]);
    assert_eq!(found, (&true.into(), &true.into(), &Value::Null));
}

/// What the lines say is true: a pod that has them has the rung.
#[test]
fn the_lines_bring_the_rungs() {
    let has = |settings: Settings, rung: &str| {
        let rows = Pod::new(settings).kiln(&["doctor", "build", "--json"]).ok().json();
        rows.as_array().unwrap().iter().any(|row| row["rung"] == rung && row["available"] == true)
    };
    for (rung, line, before, after) in [
        ("userns1", "localhostProfile", RESTRICTED, Settings { localhost: true, ..RESTRICTED }),
        ("userns", "hostUsers: false", DEFAULT, Settings { sys_admin: true, ..OWN_USERS }),
        ("userns", "capabilities.add: [SYS_ADMIN]", OWN_USERS, Settings { sys_admin: true, ..OWN_USERS }),
        ("chroot", "runAsUser: 0", RESTRICTED, DEFAULT),
        (
            "chroot",
            "CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID, SYS_CHROOT",
            Settings { drop_all: true, ..DEFAULT },
            DEFAULT,
        ),
    ] {
        let text = said(before);
        let from = text.lines().skip_while(|l| !l.starts_with(&format!("{rung} "))).skip(1);
        let lines: Vec<&str> = from.take_while(|l| l.starts_with(' ')).collect();
        assert!(lines.iter().any(|l| l.contains("pod spec: ") && l.contains(line)), "{rung} {line}\n{text}");
        assert!(!has(before, rung) && has(after, rung), "{rung} {line}");
    }
}

/// The documentation explains every line that is printed.
#[test]
fn the_lines_are_those_of_the_documentation() {
    let text = include_str!("../../../../docs/pods.md");
    let mut seen = 0;
    for settings in [DEFAULT, RESTRICTED, OWN_USERS, Settings { drop_all: true, ..DEFAULT }] {
        let rows = Pod::new(settings).kiln(&["doctor", "build", "--json"]).ok().json();
        for line in rows.as_array().unwrap().iter().filter_map(|row| row["podSpec"].as_array()).flatten() {
            assert!(text.contains(&format!("`{}`", line.as_str().unwrap())), "{line}");
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}
