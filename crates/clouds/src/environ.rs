//! The environment variables that decide where stores are and who asks, as one value that a caller hands in.
//!
//! ```text
//! S3      AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN      a key
//!         AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN AWS_ROLE_SESSION_NAME  a token of a pod, exchanged at STS
//!         AWS_PROFILE AWS_SHARED_CREDENTIALS_FILE AWS_CONFIG_FILE         a section of ~/.aws/credentials and ~/.aws/config
//!         AWS_CONTAINER_CREDENTIALS_{FULL,RELATIVE}_URI, AWS_CONTAINER_AUTHORIZATION_TOKEN[_FILE]   an agent beside it
//!         AWS_EC2_METADATA_DISABLED AWS_EC2_METADATA_SERVICE_ENDPOINT     the machine's own role
//!         AWS_REGION AWS_DEFAULT_REGION                                   where buckets are
//!         S3_ENDPOINT AWS_ENDPOINT_URL_S3 AWS_ENDPOINT_URL                another server than Amazon's
//!         S3_FORCE_PATH_STYLE                                             true: the bucket goes into the path
//!         AWS_ENDPOINT_URL_STS                                            another token service
//! Google  GOOGLE_APPLICATION_CREDENTIALS CLOUDSDK_CONFIG                  a key file
//!         GCE_METADATA_HOST                                               another metadata server
//!         STORAGE_EMULATOR_HOST                                           an emulator, which is told no credentials
//! Azure   AZURE_STORAGE_ACCESS_KEY                                        the account's key, base64
//!         AZURE_CLIENT_ID AZURE_TENANT_ID AZURE_FEDERATED_TOKEN_FILE AZURE_AUTHORITY_HOST   workload identity
//!         AZURE_CLIENT_SECRET     a service principal, with AZURE_CLIENT_ID and AZURE_TENANT_ID
//!         IDENTITY_ENDPOINT IDENTITY_HEADER AZURE_POD_IDENTITY_AUTHORITY_HOST   other services for managed identities
//!         AZURE_STORAGE_ENDPOINT    another server: with the account as path, as http://127.0.0.1:10000/devstoreaccount1
//! Alibaba ALICLOUD_ACCESS_KEY ALICLOUD_SECRET_KEY SECURITY_TOKEN          a key, and the token of one that ends
//!         ALICLOUD_PROFILE ALICLOUD_SHARED_CREDENTIALS_FILE               a profile of ~/.aliyun/config.json
//!         ALICLOUD_REGION                                                 where machines and images are
//!         ALICLOUD_{ECS,OSS,STS,RAM,METADATA}_ENDPOINT                    other servers than Alibaba Cloud's
//! logins  AWS_ENDPOINT_URL_ECR AWS_ENDPOINT_URL_ECR_PUBLIC                other services than Amazon's
//!         CI_REGISTRY CI_REGISTRY_USER CI_REGISTRY_PASSWORD               as GitLab sets them
//!         DOCKER_<HOST WITH _ FOR . AND ->_USR and _PSW, GITHUB_TOKEN for ghcr.io
//! all     HOME SSL_CERT_FILE SSL_CERT_DIR HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY (or in lower case)
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Every variable that is looked at.
pub const VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_DEFAULT_REGION",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_ECR",
    "AWS_ENDPOINT_URL_ECR_PUBLIC",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_STS",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "S3_ENDPOINT",
    "S3_FORCE_PATH_STYLE",
    "CLOUDSDK_CONFIG",
    "GCE_METADATA_HOST",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "STORAGE_EMULATOR_HOST",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_TENANT_ID",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "ALICLOUD_ACCESS_KEY",
    "ALICLOUD_ECS_ENDPOINT",
    "ALICLOUD_METADATA_ENDPOINT",
    "ALICLOUD_OSS_ENDPOINT",
    "ALICLOUD_PROFILE",
    "ALICLOUD_RAM_ENDPOINT",
    "ALICLOUD_REGION",
    "ALICLOUD_SECRET_KEY",
    "ALICLOUD_SHARED_CREDENTIALS_FILE",
    "ALICLOUD_STS_ENDPOINT",
    "SECURITY_TOKEN",
    "CI_REGISTRY",
    "CI_REGISTRY_PASSWORD",
    "CI_REGISTRY_USER",
    "GITHUB_TOKEN",
    "ALL_PROXY",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Whether a variable is the login to some registry: `DOCKER_…_USR` or `DOCKER_…_PSW`.
fn is_login(name: &str) -> bool {
    name.starts_with("DOCKER_") && (name.ends_with("_USR") || name.ends_with("_PSW"))
}

fn is_known(name: &str) -> bool {
    VARIABLES.contains(&name) || is_login(name)
}

/// The variables of [`VARIABLES`] that are set, and those that are logins. Shows their names, never what they hold.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// One without any variables.
    pub fn empty() -> Environment {
        Environment::default()
    }

    /// That of this process, as it is now.
    pub fn of_process() -> Environment {
        let value = |name: &&str| Some((*name).to_owned()).zip(std::env::var_os(name));
        // What is no Unicode would be wrong as any of these values, and says so when it is used.
        let known = VARIABLES.iter().filter_map(value);
        let logins = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let all = known.chain(logins.filter(|(name, _)| is_login(name)));
        Environment(all.map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect())
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Environment {
        debug_assert!(is_known(name), "{name} is not in the table");
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The same without a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Environment {
        debug_assert!(is_known(name), "{name} is not in the table");
        self.0.remove(name);
        self
    }

    /// The value of a variable; an empty one is as good as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        debug_assert!(is_known(name), "{name} is not in the table");
        self.0.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    /// The first of several variables that is set, with its name.
    pub fn first(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        names.iter().find_map(|name| Some(*name).zip(self.get(name)))
    }

    /// The file a variable names, else one below the home directory.
    pub fn file(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).or_else(|| Some(PathBuf::from(self.get("HOME")?).join(below_home)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_shown_and_empty_ones_are_none() {
        let environment = Environment::empty().with("AWS_SECRET_ACCESS_KEY", "hunter2").with("AWS_PROFILE", " ");
        assert_eq!(format!("{environment:?}"), r#"{"AWS_PROFILE", "AWS_SECRET_ACCESS_KEY"}"#);
        assert_eq!(environment.get("AWS_PROFILE"), None);
        assert_eq!(environment.first(&["AWS_PROFILE", "AWS_SECRET_ACCESS_KEY"]).unwrap().0, "AWS_SECRET_ACCESS_KEY");
        assert_eq!(environment.file("AWS_CONFIG_FILE", ".aws/config"), None);
        let environment = environment.with("HOME", "/h");
        assert_eq!(environment.file("AWS_CONFIG_FILE", ".aws/config"), Some("/h/.aws/config".into()));
    }
}
