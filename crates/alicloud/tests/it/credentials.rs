//! Keys of every source, each proved by a call.

use kiln_alicloud::credentials::Asked;
use kiln_alicloud::{Account, Client};
use kiln_clouds::Environment;
use kiln_http::Secret;
use kiln_testkit::ecs::{ACCESS_KEY, Ecs, ROLE, SECRET_KEY};

use crate::{account, config, environment, never, quick};

fn bare(double: &Ecs) -> Environment {
    environment(double).without("ALICLOUD_ACCESS_KEY").without("ALICLOUD_SECRET_KEY")
}

fn asks(keys: Asked, environment: Environment) -> Result<usize, String> {
    let client = Client::new(&Account { keys, ..account() }, config(environment)).map_err(|e| e.to_string())?;
    client.regions(&never).map(|all| all.len()).map_err(|e| format!("{e}; {}", e.hint().unwrap_or_default()))
}

#[test]
fn keys_of_the_template_of_files_of_the_machine_and_of_roles() {
    let double = quick();
    let some = |text: &str| Some(text.to_owned());
    let own = Asked { access_key: some(ACCESS_KEY), secret_key: Some(Secret::new(SECRET_KEY)), ..Asked::default() };
    assert_eq!(asks(own.clone(), bare(&double)), Ok(4));
    // The machine's role, named and asked for.
    let machine = Asked { ram_role_name: some(ROLE), ..Asked::default() };
    assert_eq!(asks(machine, bare(&double)), Ok(4));
    let role = Asked { ram_role_arn: some("acs:ram::1:role/builder"), ..own };
    assert_eq!(asks(role, bare(&double)), Ok(4));
    assert!(double.trace().iter().any(|call| call.action == "AssumeRole"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let text = format!(
        r#"{{"current": "ak", "profiles": [
            {{"name": "ak", "mode": "AK", "access_key_id": "{ACCESS_KEY}", "access_key_secret": "{SECRET_KEY}"}},
            {{"name": "role", "mode": "RamRoleArn", "access_key_id": "{ACCESS_KEY}", "access_key_secret": "{SECRET_KEY}",
              "ram_role_arn": "acs:ram::1:role/builder", "ram_session_name": "s"}},
            {{"name": "sts", "mode": "StsToken", "access_key_id": "STS.kilntest", "access_key_secret": "temporary-secret",
              "sts_token": "temporary-token"}},
            {{"name": "machine", "mode": "EcsRamRole"}}]}}"#
    );
    std::fs::write(&path, text).unwrap();
    for profile in [None, Some("ak"), Some("role"), Some("sts"), Some("machine")] {
        let file = some(&path.display().to_string());
        let keys = Asked { profile: profile.map(str::to_owned), shared_credentials_file: file, ..Asked::default() };
        assert_eq!(asks(keys, bare(&double)), Ok(4), "{profile:?}");
    }
}

#[test]
fn keys_that_are_wrong_say_which() {
    let double = quick();
    let with =
        |id: &str, secret: &str| bare(&double).with("ALICLOUD_ACCESS_KEY", id).with("ALICLOUD_SECRET_KEY", secret);
    let error = asks(Asked::default(), with(ACCESS_KEY, "hunter2")).unwrap_err();
    assert!(
        error.contains("SignatureDoesNotMatch") && error.contains("secret_key") && !error.contains("hunter2"),
        "{error}"
    );
    let error = asks(Asked::default(), with("nobody", "hunter2")).unwrap_err();
    assert!(error.contains("InvalidAccessKeyId.NotFound") && error.contains("ALICLOUD_ACCESS_KEY"), "{error}");
    let error = asks(Asked::default(), with("STS.kilntest", "temporary-secret")).unwrap_err();
    assert!(error.contains("InvalidSecurityToken") && error.contains("SECURITY_TOKEN"), "{error}");
    let other = Asked { ram_role_name: Some("other".to_owned()), ..Asked::default() };
    assert!(asks(other, bare(&double)).unwrap_err().contains("does not have this role"));
    let arn = Some("acs:ram::1:role/other".to_owned());
    let role = Asked { ram_role_arn: arn, ..Asked::default() };
    let error = asks(role, environment(&double)).unwrap_err();
    assert!(error.contains("AssumeRole acs:ram::1:role/other: EntityNotExist.Role"), "{error}");
    let nowhere = bare(&double).with("ALICLOUD_METADATA_ENDPOINT", "http://127.0.0.1:1");
    let machine = Asked { ram_role_name: Some(ROLE.to_owned()), ..Asked::default() };
    assert!(asks(machine, nowhere).unwrap_err().contains("is this a machine of ECS?"));
}
