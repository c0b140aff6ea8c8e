//! Who asks: key files, logins, tokens, other accounts.

use kiln_gce::{Credentials, Environment, GceError, Secret, Source};
use kiln_testkit::Compute;
use kiln_testkit::compute::PROJECT;

use crate::{client, never, with};

fn asks(
    double: &Compute,
    source: Source,
    impersonate: Option<&str>,
    environment: &Environment,
) -> Result<(), GceError> {
    let credentials = Credentials { source, impersonate: impersonate.map(str::to_owned) };
    with(double, credentials, environment).image(PROJECT, "none", &never).map(|found| assert!(found.is_none()))
}

#[test]
fn every_way_to_say_who_asks_buys_a_token_that_is_good() {
    let double = Compute::start();
    let dir = tempfile::tempdir().unwrap();
    let key = std::fs::read_to_string(double.account()).unwrap();
    let login = dir.path().join("login.json");
    std::fs::write(&login, double.login()).unwrap();
    let home = dir.path().join("home");
    std::fs::create_dir_all(home.join(".config/gcloud")).unwrap();
    std::fs::write(home.join(".config/gcloud/application_default_credentials.json"), double.login()).unwrap();
    let empty = Environment::empty();
    asks(&double, Source::File(double.account()), None, &empty).unwrap();
    asks(&double, Source::Json(Secret::new(key)), None, &empty).unwrap();
    asks(&double, Source::Token(Secret::new(double.token())), None, &empty).unwrap();
    asks(&double, Source::File(login.clone()), None, &empty).unwrap();
    let named = Environment::empty().with("GOOGLE_APPLICATION_CREDENTIALS", login.display().to_string());
    asks(&double, Source::Default, None, &named).unwrap();
    let at_home = Environment::empty().with("HOME", home.display().to_string());
    asks(&double, Source::Default, None, &at_home).unwrap();
    let machine = Environment::empty().with("GCE_METADATA_HOST", double.host());
    asks(&double, Source::Default, None, &machine).unwrap();
    asks(&double, Source::File(double.account()), Some("other@kiln-test.iam.gserviceaccount.com"), &empty).unwrap();
}

#[test]
fn a_token_is_bought_once_for_many_calls() {
    let double = Compute::start();
    let client = client(&double);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| client.image(PROJECT, "none", &never).unwrap());
        }
    });
    // The next one that is issued says how many there were before.
    assert_eq!(double.token(), "ya29.token-2");
}

#[test]
fn what_is_not_accepted_is_told_without_secrets() {
    let double = Compute::start();
    let empty = Environment::empty();
    let said = |source: Source, impersonate: Option<&str>| asks(&double, source, impersonate, &empty).unwrap_err();
    let error = said(Source::Token(Secret::new("hunter2")), None);
    assert_eq!(error.status(), Some(401));
    assert!(!error.to_string().contains("hunter2") && error.hint().unwrap().contains("ended"), "{error}");
    let other = Compute::start();
    // Another account's key, sold at this service.
    let key: serde_json::Value = serde_json::from_slice(&std::fs::read(other.account()).unwrap()).unwrap();
    let mut key = key;
    key["token_uri"] = format!("http://{}/token", double.host()).into();
    let error = said(Source::Json(Secret::new(key.to_string())), None).to_string();
    assert!(error.contains("invalid_grant: Invalid JWT Signature."), "{error}");
    for bad in ["{}", r#"{"type": "external_account"}"#, "hunter2"] {
        let error = said(Source::Json(Secret::new(bad)), None).to_string();
        assert!(error.contains("credentials_json") && !error.contains("hunter2"), "{error}");
    }
    key["token_uri"] = "http://tokens.example/token".into();
    let error = said(Source::Json(Secret::new(key.to_string())), None).to_string();
    assert!(error.contains("not https"), "{error}");
    let error = said(Source::File(double.account()), Some("stranger@p.iam.gserviceaccount.com")).to_string();
    assert!(error.contains("impersonation of stranger@") && error.contains("getAccessToken"), "{error}");
    let error = said(Source::File("/nowhere/key.json".into()), None).to_string();
    assert!(error.contains("/nowhere/key.json"), "{error}");
}
