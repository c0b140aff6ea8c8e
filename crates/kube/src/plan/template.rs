//! What operators want of every build's pod, merged into it: a part of a pod template, as YAML.

use serde_json::{Map, Value};

/// A template larger than this is refused.
pub const MAX_SIZE: u64 = 256 << 10;

/// Lists whose elements are known by a member: an element that is there already is merged into, others are added. All
/// other lists are put in place of what was there.
const KEYED: [(&str, &str); 8] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("imagePullSecrets", "name"),
    ("volumeMounts", "mountPath"),
    ("topologySpreadConstraints", "topologyKey"),
    ("hostAliases", "ip"),
];

/// A part of a pod template: `metadata` and `spec`.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Map<String, Value>);

impl Template {
    /// Reads YAML.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Template, String> {
        let value: Value = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        let Value::Object(map) = value else {
            return Err("it is not a map with `metadata` and `spec`".to_owned());
        };
        let strange = map.keys().find(|key| !matches!(&***key, "metadata" | "spec" | "apiVersion" | "kind"));
        if let Some(key) = strange {
            return Err(format!("`{key}` is not part of a pod template: it has `metadata` and `spec`"));
        }
        for part in ["metadata", "spec"] {
            if map.get(part).is_some_and(|value| !value.is_object()) {
                return Err(format!("`{part}` is not a map"));
            }
        }
        let kept = map.into_iter().filter(|(key, _)| matches!(&**key, "metadata" | "spec")).collect();
        Ok(Template(kept))
    }

    /// Merges it into a pod template: maps are merged, lists as [`KEYED`] says, `null` takes away, the rest replaces.
    pub(super) fn merge_into(&self, template: &mut Value) {
        if let Value::Object(into) = template {
            merge_maps(into, &self.0);
        }
    }
}

fn merge_maps(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (name, value) in from {
        match (into.get_mut(name), value) {
            (_, Value::Null) => drop(into.shift_remove(name)),
            (Some(Value::Object(old)), Value::Object(new)) => merge_maps(old, new),
            (Some(Value::Array(old)), Value::Array(new)) if key_of(name).is_some() => {
                merge_lists(old, new, key_of(name).unwrap_or_default());
            }
            _ => drop(into.insert(name.clone(), value.clone())),
        }
    }
}

fn key_of(list: &str) -> Option<&'static str> {
    KEYED.iter().find(|(name, _)| *name == list).map(|(_, key)| *key)
}

fn merge_lists(into: &mut Vec<Value>, from: &[Value], key: &str) {
    for value in from {
        let same = value.get(key).and_then(|wanted| into.iter_mut().find(|old| old.get(key) == Some(wanted)));
        match (same, value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge_maps(old, new),
            _ => into.push(value.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_and_keyed_lists_are_merged_and_the_rest_is_replaced() {
        let mut pod = json!({"metadata": {"labels": {"a": "1"}}, "spec": {
            "dnsPolicy": "ClusterFirst", "tolerations": [{"key": "a"}],
            "containers": [{"name": "kiln", "env": [{"name": "A", "value": "1"}], "volumeMounts": [{"mountPath": "/a", "name": "a"}]}],
        }});
        let yaml = "metadata: {labels: {b: '2'}}\nspec:\n  dnsPolicy: null\n  tolerations: [{key: b}]\n  containers:\n  \
            - name: kiln\n    env: [{name: A, value: '2'}, {name: B, value: x}]\n    volumeMounts: [{mountPath: /b, name: b}]\n  - {name: side, image: i}\n";
        Template::parse(yaml).unwrap().merge_into(&mut pod);
        let wanted = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {
            "tolerations": [{"key": "b"}],
            "containers": [
                {"name": "kiln", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "x"}],
                 "volumeMounts": [{"mountPath": "/a", "name": "a"}, {"mountPath": "/b", "name": "b"}]},
                {"name": "side", "image": "i"},
            ],
        }});
        assert_eq!(pod, wanted);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (bad, said) in [
            ("- a", "not a map"),
            ("spec: [a]", "`spec` is not a map"),
            ("containers: []", "`containers` is not part of a pod template"),
            ("spec: {a: ", "line"),
            ("spec: {a: 1, a: 2}", "duplicate"),
        ] {
            let error = Template::parse(bad).unwrap_err();
            assert!(error.contains(said), "{bad}: {error}");
        }
    }
}
