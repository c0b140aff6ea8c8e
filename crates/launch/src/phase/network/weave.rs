//! Weave's manifest, which comes without a network of pods: Weave then takes 10.32.0.0/12.

use kiln_yaml::node::Node;

use super::manifest::{Draft, Lack, has, words};

/// The container that assigns addresses.
pub fn container(draft: &mut Draft<'_, '_>, container: &Node) {
    let is_weave = words(container).any(|word| word.ends_with("/weave/launch.sh")) || has(container, "IPALLOC_RANGE");
    if !is_weave || !draft.wanted.is_known() {
        return;
    }
    if draft.wanted.v6.is_some() {
        return draft.lack(Lack::Six("IPv6, which Weave has not".to_owned()));
    }
    let network = draft.wanted.v4.unwrap_or_default();
    draft.variables(container, &[("IPALLOC_RANGE", network.into())]);
    draft.placed = true;
}

#[cfg(test)]
mod tests {
    use super::super::manifest::tests::{daemons, of, variables};
    use super::*;

    #[test]
    fn the_range_is_said_whether_the_file_has_one_or_not() {
        let pods = &["10.1.0.0/16"];
        let range = ("IPALLOC_RANGE".to_owned(), "10.1.0.0/16".to_owned());
        let host = ("HOSTNAME".to_owned(), "h".to_owned());
        for env in [
            "command:\n- /home/weave/launch.sh\nenv:\n- name: HOSTNAME\n  value: h",
            "env: [{name: HOSTNAME, value: h}]\ncommand: [/home/weave/launch.sh]",
            "env:\n  - name: HOSTNAME\n    value: h\n  - name: IPALLOC_RANGE\n    value: 10.32.0.0/12",
        ] {
            let made = of(&daemons(&format!("name: weave\n{env}")), pods);
            let mut found = variables(&made.text);
            found.sort();
            assert_eq!(
                (found, made.placed, made.lacks),
                (vec![host.clone(), range.clone()], true, None),
                "{}",
                made.text
            );
        }
        for none in ["env:", "env: []", "image: x"] {
            let text = daemons(&format!("name: weave\ncommand: [/home/weave/launch.sh]\n{none}"));
            assert_eq!(variables(&of(&text, pods).text), std::slice::from_ref(&range), "{none}");
        }
        // The one beside it, and the one before it, are told nothing.
        let other = daemons("name: weave-npc\nenv:\n- name: HOSTNAME\n  value: h");
        assert_eq!(of(&other, pods).text, other);
        let six = of(&daemons("name: weave\ncommand: [/home/weave/launch.sh]"), &["fd01::/48"]);
        assert!(matches!(six.lacks, Some(Lack::Six(what)) if what.contains("Weave")));
    }
}
