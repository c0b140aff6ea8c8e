//! The builder `null` on a machine that is there: Debian's sshd on loopback, as the tests of `kiln-host` have it.

use kiln_testkit::TestContext;

use crate::sshd::{PASSWORD, Sshd, USER};

struct Bench {
    t: TestContext,
    server: Sshd,
}

impl Bench {
    fn new() -> Bench {
        Bench::with("")
    }

    fn with(config: &str) -> Bench {
        let (t, server) = (TestContext::with_kiln(env!("CARGO_BIN_EXE_kiln")), Sshd::with(config));
        t.write("key", 0o600, server.user_key.openssh().unwrap().expose());
        Bench { t, server }
    }

    fn scratch(&self) -> String {
        self.server.scratch("there").display().to_string()
    }

    /// Keys that log in as root, whose key is known.
    fn known(&self) -> String {
        format!(r#""ssh_private_key_file": "key", "ssh_host_key": "{}""#, self.server.host_key.line())
    }

    fn write(&self, login: &str, provisioners: &str) {
        let port = match login.contains("ssh_port") {
            true => String::new(),
            false => format!(r#""ssh_port": {}, "#, self.server.port),
        };
        let user = if login.contains("ssh_username") { "" } else { r#""ssh_username": "root", "# };
        let text = format!(
            r#"{{"builders": [{{"type": "null", "name": "node", "ssh_host": "127.0.0.1", {port}{user}{login}}}],
               "provisioners": [{provisioners}]}}"#
        );
        self.t.write("t.json", 0o644, text);
    }

    #[track_caller]
    fn ok(&self, login: &str, provisioners: &str) -> String {
        self.write(login, provisioners);
        self.t.kiln(&["node", "build", "-color=false", "t.json"]).ok().stdout
    }

    #[track_caller]
    fn fails(&self, login: &str, provisioners: &str) -> String {
        self.write(login, provisioners);
        let out = self.t.kiln(&["node", "build", "-color=false", "t.json"]).exits(1);
        out.stdout + &out.stderr
    }
}

#[test]
fn files_and_scripts_go_there_by_both_ways() {
    let b = Bench::new();
    let there = b.scratch();
    for (name, mode, text) in [("d/a.txt", 0o640, "a\n"), ("d/sub/run.sh", 0o755, "#!/bin/sh\n")] {
        std::fs::create_dir_all(b.t.context().join(name).parent().unwrap()).unwrap();
        b.t.write(name, mode, text);
    }
    for method in ["scp", "sftp"] {
        let keys = format!(r#"{}, "ssh_file_transfer_method": "{method}""#, b.known());
        let out = b.ok(
            &keys,
            &format!(
                r#"
            {{"type": "shell", "inline": ["mkdir -p {there}/{method}/in", "echo user=$(id -un) $COLOR", "echo oops >&2"],
              "environment_vars": ["COLOR=it's blue"], "remote_folder": "{there}"}},
            {{"type": "file", "source": "d", "destination": "{there}/{method}/"}},
            {{"type": "file", "source": "d/", "destination": "{there}/{method}/in"}},
            {{"type": "file", "content": "made\n", "destination": "{there}/{method}/made"}},
            {{"type": "file", "direction": "download", "source": "{there}/{method}/made", "destination": "back-{method}/"}},
            {{"type": "file", "direction": "download", "source": "{there}/{method}/d/", "destination": "dir-{method}"}}"#
            ),
        );
        for line in ["    node: user=root it's blue\n", "==> node: oops\n", "==> node: Connected to SSH!\n"] {
            assert!(out.contains(line), "{out}");
        }
        assert!(out.contains("--> node: Did not export anything. This is the null builder"), "{out}");
        let read = |path: String| std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        for dir in ["d", "in"] {
            assert_eq!(read(format!("{there}/{method}/{dir}/a.txt")), "a\n");
            use std::os::unix::fs::PermissionsExt;
            let run = std::fs::metadata(format!("{there}/{method}/{dir}/sub/run.sh")).unwrap();
            assert_eq!(run.permissions().mode() & 0o777, 0o755);
        }
        let here = |name: &str| read(b.t.context().join(name).display().to_string());
        assert_eq!(here(&format!("back-{method}/made")), "made\n");
        assert_eq!(here(&format!("dir-{method}/a.txt")), "a\n");
    }
    let names = std::fs::read_dir(&there).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.ends_with(".sh")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_sensitive_is_in_no_process_list() {
    let b = Bench::new();
    kiln_testkit::tools::tool("ansible-playbook");
    // The machine is this one: its processes are all there are. The value is in no argument of the test's own.
    b.t.write("secret.json", 0o600, r#"{"pw": "pa55-of-ssh"}"#);
    let seen = r#"echo "seen $(ps -eww -o args | grep -vw grep | grep -cF "$PW") of ${#PW}""#;
    let seen = serde_json::to_string(seen).unwrap();
    let play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - shell: 'test {{ pw | length }} = 11 && ps -eww -o args | \
                grep -vw grep | { ! grep -F pa55[-]of-ssh; }'\n";
    b.t.write("play.yml", 0o644, play);
    let text = format!(
        r#"{{"variables": {{"pw": ""}}, "sensitive-variables": ["pw"],
            "builders": [{{"type": "null", "name": "node", "ssh_host": "127.0.0.1", "ssh_port": {}, "ssh_username": "root", {}}}],
            "provisioners": [
              {{"type": "shell", "environment_vars": ["PW={{{{user `pw`}}}}"], "inline": [{seen}]}},
              {{"type": "shell", "environment_vars": ["PW={{{{user `pw`}}}}"], "inline": [{seen}],
                "execute_command": "chmod +x {{{{.Path}}}}; {{{{.Vars}}}} {{{{.Path}}}}; exit $?"}},
              {{"type": "shell-local", "environment_vars": ["PW={{{{user `pw`}}}}"], "inline": [{seen}],
                "execute_command": ["/bin/sh", "-c", "OTHER={{{{user `pw`}}}} {{{{.Script}}}}"]}},
              {{"type": "ansible", "playbook_file": "play.yml", "extra_arguments": ["-e", "pw={{{{user `pw`}}}}"],
                "ansible_env_vars": ["ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3"]}}]}}"#,
        b.server.port,
        b.known()
    );
    b.t.write("t.json", 0o644, text);
    let out = b.t.kiln(&["node", "build", "-color=false", "-var-file", "secret.json", "t.json"]).ok().stdout;
    assert_eq!(out.matches("    node: seen 0 of 11\n").count(), 3, "{out}");
    assert!(out.contains("-e @") && !out.contains("pa55"), "{out}");
    let left = std::process::Command::new("sh").args(["-c", "ls /tmp/*.command 2>/dev/null"]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}

#[test]
fn a_machine_that_goes_away_is_waited_for_if_it_may() {
    let b = Bench::new();
    // The shell's parent is the session's server.
    let cut = r#"{"type": "shell", "inline": ["echo before", "kill -9 $(ps -o ppid= -p $PPID)", "sleep 100"]"#;
    let after = r#"{"type": "shell", "inline": ["echo after"]}"#;
    let out = b.ok(&b.known(), &format!(r#"{cut}, "expect_disconnect": true}}, {after}"#));
    assert!(out.contains("    node: before\n") && out.contains("    node: after\n"), "{out}");
    let out = b.fails(&b.known(), &format!("{cut}}}, {after}"));
    assert!(out.contains("Script disconnected unexpectedly") && !out.contains("node: after"), "{out}");
    let out = b.ok(&b.known(), &format!(r#"{cut}, "valid_exit_codes": [2300218]}}, {after}"#));
    assert!(out.contains("    node: after\n"), "{out}");
}

#[test]
fn host_keys_are_looked_at() {
    let b = Bench::new();
    let script = r#"{"type": "shell", "inline": ["echo inside"]}"#;
    let key = r#""ssh_private_key_file": "key""#;
    let out = b.fails(key, script);
    assert!(out.contains("its host key is not known") && !out.contains("inside\n"), "{out}");
    let out = b.ok(&format!(r#"{key}, "ssh_strict_host_key_checking": "no""#), script);
    assert!(out.contains("inside\n"), "{out}");
    let accepted = format!(r#"{key}, "ssh_strict_host_key_checking": "accept-new""#);
    let _ = b.ok(&accepted, script);
    // Now it is known, and a machine in its place is refused.
    let _ = b.ok(key, script);
    let other = kiln_host::keys::PrivateKey::generate(kiln_host::keys::Kind::Ed25519, "").unwrap().public().line();
    let out = b.fails(&format!(r#"{key}, "ssh_host_key": "{other}""#), script);
    assert!(out.contains("and not the one asked for"), "{out}");
}

#[test]
fn passwords_and_denials() {
    let b = Bench::with("PasswordAuthentication yes");
    let keys = |password: &str| {
        format!(
            r#""ssh_username": "{USER}", "ssh_password": "{password}", "ssh_host_key": "{}", "ssh_handshake_attempts": 1"#,
            b.server.host_key.line()
        )
    };
    let out = b.ok(&keys(PASSWORD), r#"{"type": "shell", "inline": ["id -un"]}"#);
    assert!(out.contains(&format!("    node: {USER}\n")), "{out}");
    let out = b.fails(&keys("wrong"), r#"{"type": "shell", "inline": ["id -un"]}"#);
    assert!(out.contains("Error waiting for SSH") && out.contains("the login was denied"), "{out}");
    assert!(!out.contains("wrong"), "no password in messages: {out}");
}

#[test]
fn through_a_bastion() {
    let b = Bench::new();
    let bastion = Sshd::start();
    b.t.write("bastion", 0o600, bastion.user_key.openssh().unwrap().expose());
    let keys = format!(
        r#""ssh_private_key_file": "key", "ssh_strict_host_key_checking": "no", "ssh_bastion_host": "127.0.0.1",
           "ssh_bastion_port": {}, "ssh_bastion_username": "root", "ssh_bastion_private_key_file": "bastion""#,
        bastion.port
    );
    let out = b.ok(&keys, r#"{"type": "shell", "inline": ["echo from ${SSH_CONNECTION%% *}"]}"#);
    assert!(out.contains("    node: from 127.0.0.1\n"), "{out}");
    assert!(bastion.log().contains("Accepted publickey for root"), "{}", bastion.log());
    drop(bastion);
    let out = b.fails(&format!(r#"{keys}, "ssh_timeout": "1s""#), r#"{"type": "shell", "inline": ["true"]}"#);
    assert!(out.contains("Timeout waiting for SSH") && out.contains("jump host"), "{out}");
}

#[test]
fn playbooks_are_applied_from_here() {
    let b = Bench::new();
    let there = b.scratch();
    kiln_testkit::tools::tool("ansible-playbook");
    b.t.write("play.yml", 0o644, format!(
        "- hosts: web\n  gather_facts: false\n  tasks:\n    - copy: {{content: \"by {{{{ packer_build_name }}}} {{{{ what }}}}\\n\", dest: {there}/f}}\n"
    ));
    let block = r#"{"type": "ansible", "playbook_file": "play.yml", "groups": ["web"], "use_proxy": false,
        "extra_arguments": ["-e", "what=ansible"], "ansible_env_vars": ["ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3"]}"#;
    let out = b.ok(&b.known(), block);
    assert_eq!(std::fs::read_to_string(format!("{there}/f")).unwrap(), "by node ansible\n", "{out}");
    assert!(out.contains("==> node: Executing Ansible: ansible-playbook "), "{out}");
    assert!(out.contains("not needed: use_proxy\n"), "{out}");
    let missing = block.replace(r#""groups""#, r#""command": "/absent/ansible-playbook", "groups""#);
    let out = b.fails(&b.known(), &missing);
    assert!(out.contains("it is not installed on this machine") && out.contains("ansible-core"), "{out}");
    let nothing = block.replace("play.yml", "absent.yml");
    let out = b.fails(&b.known(), &nothing);
    assert!(out.contains("playbook_file: absent.yml is invalid") && out.contains("t.json:"), "{out}");
    let none = r#""communicator": "none""#;
    let out = b.fails(none, block);
    assert!(out.contains("connects to a machine over SSH, and this build has none"), "{out}");
    let failing = "- hosts: all\n  gather_facts: false\n  tasks: [{command: /bin/false}]\n";
    b.t.write("play.yml", 0o644, failing);
    let out = b.fails(&b.known(), block);
    assert!(out.contains("Error executing Ansible: ansible-playbook exited with 2"), "{out}");
}

#[test]
fn mistakes_about_the_way_there_have_their_place() {
    let b = Bench::new();
    let cases = [
        (r#""ssh_private_key_file": "absent""#, "ssh_private_key_file is invalid: absent"),
        (r#""ssh_password": "x", "ssh_port": 70000"#, "70000 is no port"),
        (r#""ssh_host_key": "nonsense""#, "a public key is `TYPE BASE64 [COMMENT]`"),
        (r#""ssh_agent_auth": true, "ssh_password": "x""#, "only one of ssh_agent_auth"),
        (r#""ssh_pasword": "x""#, "did you mean `ssh_password`"),
        (r#""ssh_bastion_port": 22, "ssh_password": "x""#, "ssh_bastion_port needs ssh_bastion_host"),
        (
            r#""ssh_password": "x", "ssh_bastion_host": "h", "ssh_bastion_username": "u", "ssh_bastion_password": "p", "ssh_proxy_host": "h""#,
            "either an ssh_bastion_host or an ssh_proxy_host",
        ),
        (r#""ssh_password": "x", "ssh_file_transfer_method": "rsync""#, "valid methods: sftp, scp"),
        (r#""ssh_password": "x", "ssh_local_tunnels": ["80"]"#, "write PORT:HOST:PORT"),
        (r#""ssh_password": "x", "temporary_key_pair_type": "dsa""#, "refused by every server"),
        (
            r#""ssh_password": "x", "temporary_key_pair_type": "rsa", "temporary_key_pair_bits": 512"#,
            "2048 to 8192 bits",
        ),
        (r#""ssh_password": "x", "ssh_keypair_name": "k""#, "one of a cloud"),
        (r#""ssh_password": "x", "ssh_strict_host_key_checking": "maybe""#, "none of yes, accept-new, no"),
        (r#""communicator": "winrm""#, "`winrm` is not supported"),
        (r#""communicator": "shh""#, "did you mean `ssh`"),
        (r#""ssh_pty": false"#, "one of ssh_private_key_file, ssh_password and ssh_agent_auth"),
    ];
    for (keys, wanted) in cases {
        b.write(keys, "");
        let out = b.t.kiln(&["node", "validate", "t.json"]).exits(1);
        let said = out.stdout + &out.stderr;
        assert!(said.contains(wanted) && said.contains("t.json:1:"), "{keys}: {said}");
    }
    b.write(r#""ssh_agent_auth": true"#, "");
    let out = b.t.kiln(&["node", "build", "t.json"]).exits(1).stdout;
    assert!(out.contains("`ssh_agent_auth`: there is no agent: SSH_AUTH_SOCK is not set"), "{out}");
}
