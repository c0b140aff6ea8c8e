//! Who else may use an image.

use kiln_ledger::poll::Backoff;
use serde_json::{Value, json};
use std::time::Duration;

use crate::client::{Ask, Cancelled, Client};
use crate::compute::address;
use crate::error::{GceError, Result};
use crate::operation::{Scope, stopped};

/// What lets somebody make disks of an image, and nothing else.
const ROLE: &str = "roles/compute.imageUser";
/// Kinds of members that an image can be shared with.
const KINDS: [&str; 4] = ["user:", "group:", "serviceAccount:", "domain:"];
/// How long others may change the policy at the same moment.
const LIMIT: Duration = Duration::from_secs(60);

/// Whether this can be a member of a policy.
///
/// # Errors
/// What is none, or everybody.
pub fn check(member: &str) -> Result<()> {
    let name = KINDS.iter().find_map(|kind| member.strip_prefix(kind)).unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '.' | '-' | '_' | '+' | '%');
    if !name.is_empty() && name.len() <= 320 && name.chars().all(fits) {
        return Ok(());
    }
    let what = format!("`{}`", kiln_http::printable(member));
    let why = "an image cannot be shared with it".to_owned();
    let hint = Some(format!("one of {} and an address or domain", KINDS.join(", ")));
    Err(GceError::Input { what, why, hint })
}

impl Client {
    /// Lets members make disks of an image, besides those who may.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn share_image(&self, project: &str, image: &str, members: &[String], cancelled: Cancelled<'_>) -> Result<()> {
        let place = address(project, &Scope::Global, "images", image);
        let what = format!("policy of image {image}");
        let mut backoff = Backoff::new(LIMIT);
        loop {
            let read = Ask::get(format!("{place}/getIamPolicy"), &*what).query("optionsRequestedPolicyVersion", "3");
            let mut policy = self.call(&read, cancelled)?;
            if !add(&mut policy, members) {
                return Ok(());
            }
            let written = Ask::post(format!("{place}/setIamPolicy"), json!({ "policy": policy }), &*what);
            match self.call(&written, cancelled) {
                // Its `etag` is of a policy that is no longer the last.
                Err(error) if error.is_stale() || error.status() == Some(409) => {
                    backoff.wait(cancelled).map_err(|stop| stopped(stop, &what))?;
                }
                other => return other.map(drop),
            }
        }
    }
}

/// Adds members to those of the role; whether that changed anything. Bindings with a condition are left alone.
fn add(policy: &mut Value, members: &[String]) -> bool {
    if !policy["bindings"].is_array() {
        policy["bindings"] = json!([]);
    }
    let Some(bindings) = policy["bindings"].as_array_mut() else { return false };
    let ours = |binding: &Value| binding["role"] == ROLE && binding["condition"].is_null();
    let at = bindings.iter().position(ours).unwrap_or_else(|| {
        bindings.push(json!({ "role": ROLE, "members": [] }));
        bindings.len() - 1
    });
    if !bindings[at]["members"].is_array() {
        bindings[at]["members"] = json!([]);
    }
    let Some(there) = bindings[at]["members"].as_array_mut() else { return false };
    let new: Vec<Value> = members.iter().map(|m| json!(m)).filter(|m| !there.contains(m)).collect();
    let changed = !new.is_empty();
    there.extend(new);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_people_groups_accounts_and_domains() {
        for good in ["user:a@b.c", "group:ops@b.c", "serviceAccount:s@p.iam.gserviceaccount.com", "domain:b.c"] {
            check(good).unwrap();
        }
        for bad in ["", "a@b.c", "allUsers", "allAuthenticatedUsers", "user:", "user:a b", "user:\u{1b}[0m"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_policy_says_besides_stays() {
        let member = ["user:a@b.c".to_owned()];
        let mut policy = json!({ "etag": "x", "version": 3, "bindings": [
            { "role": "roles/owner", "members": ["user:o@b.c"] },
            { "role": ROLE, "members": ["user:c@b.c"], "condition": { "title": "t" } }] });
        assert!(add(&mut policy, &member));
        assert_eq!(policy["bindings"][2], json!({ "role": ROLE, "members": ["user:a@b.c"] }));
        assert_eq!((&policy["etag"], policy["bindings"].as_array().unwrap().len()), (&json!("x"), 3));
        assert!(!add(&mut policy, &member));
        let mut empty = json!({ "etag": "x" });
        assert!(add(&mut empty, &member));
        assert_eq!(empty["bindings"], json!([{ "role": ROLE, "members": ["user:a@b.c"] }]));
    }
}
