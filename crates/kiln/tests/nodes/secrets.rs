//! Sensitive values, hunted everywhere.

use std::path::Path;

use crate::Node;

const PASSWORD: &str = "correct-horse-battery";

fn holds(dir: &Path, needle: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            holds(&path, needle, found);
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
}

fn secret(more: &str) -> String {
    format!(
        r#"{{"variables": {{"password": ""}}, "sensitive-variables": ["password"],
            "builders": [{{"type": "offline", "name": "node"}}],
            "provisioners": [
              {{"type": "shell", "environment_vars": ["PW={{{{user `password`}}}}"],
                "inline": ["echo \"the password is $PW\"", "echo ${{#PW}} >/etc/length"]}},
              {{"type": "shell", "inline": ["echo '{{{{user `password`}}}}' >&2; echo ok"]}},
              {{"type": "shell", "environment_vars": ["PW={{{{user `password`}}}}"], "use_env_var_file": true,
                "inline": ["test ${{#PW}} = 21", "systemctl set-environment PW=$PW"]}},
              {{"type": "shell-local", "environment_vars": ["PW={{{{user `password`}}}}"],
                "inline": ["echo \"local $PW\"", "tr '\\0' ' ' </proc/$PPID/cmdline"]}}{more}],
            "post-processors": [{{"type": "manifest", "custom_data": {{"pw": "{{{{user `password`}}}}"}}}}]}}"#
    )
}

#[test]
fn no_output_no_key_and_no_layer_has_them() {
    let node = Node::new();
    let given = format!("-var=password={PASSWORD}");
    let out = node.build(&secret(""), &[&given]).ok();
    assert!(out.stdout.contains("    node: the password is <sensitive>\n"), "{}", out.stdout);
    assert!(out.stdout.contains("==> node: <sensitive>\n"), "{}", out.stdout);
    assert!(out.stdout.contains("    node: local <sensitive>\n"), "{}", out.stdout);
    assert!(!out.stdout.contains(PASSWORD) && !out.stderr.contains(PASSWORD));
    assert_eq!(node.content("etc/length"), "21\n");
    let mut found = Vec::new();
    holds(node.t.root(), PASSWORD, &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn layers_that_are_not_compressed_for_looking_have_none_either() {
    let node = Node::new();
    let given = format!("-var=password={PASSWORD}");
    let _ = node.build(&secret(""), &[&given, "-format", "directory"]).ok();
    let mut found = Vec::new();
    holds(node.t.root(), PASSWORD, &mut found);
    assert_eq!(found, Vec::<String>::new());
    // Another password is no other step.
    let again = node.build(&secret(""), &["-var=password=another-horse-battery", "-force"]).ok().stdout;
    assert!(again.contains("(0 steps ran, 3 were in the cache)"), "{again}");
}

#[test]
fn a_file_that_is_to_hold_one_does() {
    let node = Node::new();
    let given = format!("-var=password={PASSWORD}");
    let block = r#", {"type": "file", "content": "pw={{user `password`}}\n", "destination": "/etc/pw"}"#;
    let out = node.build(&secret(block), &[&given]).ok();
    assert_eq!(node.content("etc/pw"), format!("pw={PASSWORD}\n"));
    assert!(!out.stdout.contains(PASSWORD), "{}", out.stdout);
}
