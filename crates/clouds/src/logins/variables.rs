//! Logins in variables.

use kiln_http::Secret;

use super::Login;
use crate::environ::Environment;

/// `DOCKER_<HOST>_USR` and `DOCKER_<HOST>_PSW`, with `_` for the dots of the host, or of what follows one of its dots; and
/// `GITHUB_TOKEN` for GitHub's registry. Hosts with dashes, for which there would be `_` as well, have no such variables:
/// `docker.corp.example` is not to share its password with `docker-corp.example`.
pub(super) fn of_host(host: &str, environment: &Environment) -> Option<Login> {
    let mut name = host.split(':').next().unwrap_or_default();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    // The last label of a host is no registry's.
    while plain && name.contains('.') {
        let label = name.replace('.', "_");
        let of = |end: &str| environment.get(&format!("DOCKER_{label}_{end}"));
        if let (Some(user), Some(password)) = (of("USR"), of("PSW")) {
            return Some(login(user, password));
        }
        name = name.split_once('.').map_or("", |(_, rest)| rest);
    }
    let token = environment.get("GITHUB_TOKEN").filter(|_| host == "ghcr.io")?;
    Some(login("github", token))
}

/// What GitLab gives the jobs of its pipelines.
pub(super) fn of_gitlab(host: &str, environment: &Environment) -> Option<Login> {
    let registry = environment.get("CI_REGISTRY").filter(|registry| registry.eq_ignore_ascii_case(host));
    registry?;
    Some(login(environment.get("CI_REGISTRY_USER")?, environment.get("CI_REGISTRY_PASSWORD")?))
}

fn login(user: &str, password: &str) -> Login {
    Login::Password { user: user.to_owned(), password: Secret::new(password) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_of_a_host_wins() {
        let environment = Environment::empty()
            .with("DOCKER_reg_my_team_example_USR", "whole")
            .with("DOCKER_reg_my_team_example_PSW", "hunter2")
            .with("DOCKER_team_other_USR", "end")
            .with("DOCKER_team_other_PSW", "hunter2")
            .with("DOCKER_example_USR", "too short")
            .with("DOCKER_example_PSW", "hunter2")
            .with("DOCKER_half_example_USR", "no password")
            .with("GITHUB_TOKEN", "hunter2");
        let user = |host: &str| match of_host(host, &environment) {
            Some(Login::Password { user, .. }) => user,
            _ => String::new(),
        };
        assert_eq!(user("reg.my.team.example:5000"), "whole");
        assert_eq!(user("reg.team.other"), "end");
        assert_eq!(user("ghcr.io"), "github");
        for none in [
            "reg.my-team.example",
            "other.example",
            "half.example",
            "example",
            "ghcr.io.evil.example",
            "localhost:5000",
            "[::1]:5000",
        ] {
            assert_eq!(user(none), "", "{none}");
        }
    }

    #[test]
    fn gitlab_names_one_host() {
        let environment = Environment::empty().with("CI_REGISTRY", "reg.example").with("CI_REGISTRY_USER", "u");
        assert_eq!(of_gitlab("reg.example", &environment), None, "without a password");
        let environment = environment.with("CI_REGISTRY_PASSWORD", "p");
        assert!(of_gitlab("reg.example", &environment).is_some());
        assert_eq!(of_gitlab("evil-reg.example", &environment), None);
    }
}
