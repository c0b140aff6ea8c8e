//! Single calls: by which signature, how often, and what their failures say.

use kiln_alicloud::Call;
use kiln_alicloud::ecs::Mark;
use kiln_alicloud::ecs::network::EipOrder;
use kiln_testkit::ecs::{Cut, Ecs, Faults, Moment, Refuse};

use crate::{client, never, quick};

#[test]
fn calls_are_signed_over_tls_and_in_the_plain() {
    let double = quick();
    assert!(client(&double).regions(&never).unwrap().contains(&"cn-hangzhou".to_owned()));
    let plain = crate::environment(&double).with("ALICLOUD_ECS_ENDPOINT", double.http());
    let client = kiln_alicloud::Client::new(&crate::account(), crate::config(plain)).unwrap();
    assert_eq!(client.zones(&never).unwrap().len(), 2);
    assert!(double.trace().iter().all(|call| call.code.is_none()), "{:?}", double.trace());
}

#[test]
fn what_is_created_is_created_once_whatever_happens_to_the_answer() {
    for when in [Moment::Before, Moment::After] {
        let double = Ecs::with(Faults { pending: 0, cut: Some(Cut { call: 1, when }), ..Faults::default() });
        let id = client(&double).create_vpc("token", "name", "172.16.0.0/16", &Mark::of("b"), &never).unwrap();
        assert_eq!(double.left(), [format!("vpc {id}")], "{when:?}");
        let order = EipOrder { bandwidth: 5, charge: "PayByTraffic".to_owned() };
        let (first, _) = client(&double).allocate_eip("t", &order, &never).unwrap();
        assert_eq!(client(&double).allocate_eip("t", &order, &never).unwrap().0, first);
    }
    // A key pair has no token, but a name.
    let double = Ecs::with(Faults { cut: Some(Cut { call: 1, when: Moment::After }), ..Faults::default() });
    client(&double).import_key_pair("k", "ssh-rsa AAAA", &[], &never).unwrap();
    let error = client(&double).import_key_pair("k", "ssh-rsa AAAA", &[], &never).unwrap_err();
    assert!(error.is(&["KeyPair.AlreadyExist"]), "{error}");
}

#[test]
fn what_passes_is_asked_again_and_the_rest_is_told() {
    let refuse = vec![Refuse::new("DescribeRegions", 503, "ServiceUnavailable", 1)];
    let double = Ecs::with(Faults { throttled: vec![1], refuse, ..Faults::default() });
    client(&double).regions(&never).unwrap();
    assert_eq!(double.calls(), 3);
    let error = client(&double).call(&Call::new("Nonsense"), &never).unwrap_err();
    assert_eq!(double.calls(), 4);
    assert_eq!(
        error.to_string(),
        "Nonsense: InvalidAction.NotFound: Specified api is not found. (request DOUBLE-0004)"
    );
}

#[test]
fn whoever_wants_to_stop_is_not_kept() {
    let double = Ecs::with(Faults { hold: Some(Cut { call: 1, when: Moment::Before }), ..Faults::default() });
    let stop = || double.calls() > 0;
    let error = client(&double).regions(&stop).unwrap_err();
    assert_eq!(error.to_string(), "cancelled");
    let error = client(&quick()).regions(&|| true).unwrap_err();
    assert_eq!(error.to_string(), "cancelled");
}

#[test]
fn a_host_that_is_not_there_or_not_trusted_is_named() {
    let nobody = crate::environment(&quick()).with("ALICLOUD_ECS_ENDPOINT", "http://127.0.0.1:1");
    let client = kiln_alicloud::Client::new(&crate::account(), crate::config(nobody)).unwrap();
    let error = client.regions(&never).unwrap_err().to_string();
    assert!(error.starts_with("cannot reach 127.0.0.1:1 for DescribeRegions"), "{error}");
    let double = quick();
    let untrusted = crate::environment(&double).without("SSL_CERT_FILE");
    let client = kiln_alicloud::Client::new(&crate::account(), crate::config(untrusted)).unwrap();
    let error = client.regions(&never).unwrap_err().to_string();
    assert!(error.contains("is not trusted"), "{error}");
}
