//! What runs again, and what does not.

use crate::Node;

fn three(last: &str) -> String {
    format!(
        r#"{{"type": "shell", "inline": ["echo ran one", "reboot", "echo 1 >/etc/one"]}},
           {{"type": "file", "content": "two", "destination": "/etc/two"}},
           {{"type": "shell", "script": "{last}"}}"#
    )
}

#[test]
fn a_change_of_the_last_script_runs_that_script_only() {
    let node = Node::new().file("last.sh", "#!/bin/sh\necho ran last\ncp /etc/one /etc/last\n");
    let first = node.provision(&three("last.sh"), &["-force"]).ok().stdout;
    assert!(first.contains("node: ran one\n") && first.contains("node: ran last\n"), "{first}");
    assert!(first.contains("(3 steps ran, 0 were in the cache)"), "{first}");
    let again = node.provision(&three("last.sh"), &["-force"]).ok().stdout;
    assert!(!again.contains("node: ran"), "{again}");
    assert!(again.contains("(0 steps ran, 3 were in the cache)"), "{again}");
    node.write("last.sh", "#!/bin/sh\necho ran last again\ncp /etc/one /etc/changed\n");
    let changed = node.provision(&three("last.sh"), &["-force"]).ok().stdout;
    assert!(!changed.contains("node: ran one\n") && changed.contains("node: ran last again\n"), "{changed}");
    assert!(changed.contains("(1 steps ran, 2 were in the cache)"), "{changed}");
    assert_eq!(node.content("etc/changed"), "1\n");
    assert!(!node.listing().contains("etc/last"), "{}", node.listing());
    // What a step that did not run would have asked for is told all the same.
    assert!(changed.contains("offline: restart left out: reboot\n"), "{changed}");
    let all = node.provision(&three("last.sh"), &["-force", "-no-cache"]).ok().stdout;
    assert!(all.contains("node: ran one\n") && all.contains("node: ran last again\n"), "{all}");
}

#[test]
fn a_variable_is_part_of_what_a_script_is() {
    let node = Node::new();
    let with = |value: &str| {
        let block = format!(r#"{{"type": "shell", "inline": ["echo A=$A"], "environment_vars": ["A={value}"]}}"#);
        node.provision(&block, &["-force"]).ok().stdout
    };
    assert!(with("1").contains("node: A=1\n"));
    assert!(with("2").contains("node: A=2\n"));
    assert!(with("1").contains("node: (cached)\n"));
}

#[test]
fn a_failing_script_leaves_what_came_before_in_the_cache() {
    let node = Node::new().file("last.sh", "#!/bin/sh\nexit 7\n");
    let failed = node.provision(&three("last.sh"), &[]).exits(1).stdout;
    assert!(failed.contains("Script exited with non-zero exit status: 7. Allowed exit codes are: [0]"), "{failed}");
    node.write("last.sh", "#!/bin/sh\necho ran last\n");
    let fixed = node.provision(&three("last.sh"), &[]).ok().stdout;
    assert!(fixed.contains("(1 steps ran, 2 were in the cache)"), "{fixed}");
}
