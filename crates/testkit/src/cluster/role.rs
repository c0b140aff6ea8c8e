//! Who may do what: the rules of a Role.

use serde_json::Value;

/// A Role.
pub(super) struct Role {
    rules: Vec<(Vec<String>, Vec<String>, Vec<String>)>,
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().expect("a list of texts");
    list.iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

/// The group of a resource.
fn group(resource: &str) -> &'static str {
    if resource == "jobs" { "batch" } else { "" }
}

impl Role {
    pub(super) fn parse(text: &str) -> Role {
        let role: Value = serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("a Role in YAML: {e}"));
        assert_eq!(role["kind"], "Role");
        let rules = role["rules"].as_array().expect("rules");
        let rule = |rule: &Value| (texts(&rule["apiGroups"]), texts(&rule["resources"]), texts(&rule["verbs"]));
        Role { rules: rules.iter().map(rule).collect() }
    }

    pub(super) fn allows(&self, verb: &str, resource: &str) -> bool {
        self.rules.iter().any(|(groups, resources, verbs)| {
            groups.iter().any(|g| g == group(resource))
                && resources.iter().any(|r| r == resource)
                && verbs.iter().any(|v| v == verb)
        })
    }

    pub(super) fn all(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (_, resources, verbs) in &self.rules {
            for resource in resources {
                all.extend(verbs.iter().map(|verb| (verb.clone(), resource.clone())));
            }
        }
        all.sort();
        all
    }
}
