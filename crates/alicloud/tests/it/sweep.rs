//! What was made is found again and deleted: by its id, by its name, by its mark.

use kiln_alicloud::ecs::Mark;
use kiln_alicloud::ecs::instance::Order;
use kiln_alicloud::ecs::network::{EipOrder, SecurityGroup, VSwitch};
use kiln_alicloud::sweep::{Kind, Sweeper};
use kiln_alicloud::{Client, account};
use kiln_ledger::Resource;
use kiln_ledger::sweep::{Cloud, Gone};
use kiln_testkit::ecs::{Cut, Ecs, Faults, KIND, Moment, REGION, SOURCE};

use crate::{client, environment, never, quick};

/// A whole build's resources, as far as a machine with an address; their lines, without ids.
fn made(client: &Client, build: &str) -> Vec<Resource> {
    let (mark, name) = (Mark::of(build), format!("kiln-{build}"));
    let tags = [mark.tag()];
    client.import_key_pair(&name, "ssh-rsa AAAA", &tags, &never).unwrap();
    let vpc = client.create_vpc("v", &name, "172.16.0.0/16", &mark, &never).unwrap();
    let part = VSwitch {
        v_switch_name: name.clone(),
        vpc_id: vpc.clone(),
        zone_id: format!("{REGION}-b"),
        cidr_block: "172.16.0.0/24".to_owned(),
        description: mark.description(),
        ..VSwitch::default()
    };
    let vswitch = client.create_vswitch("s", &part, &never).unwrap();
    let group = SecurityGroup { security_group_name: name.clone(), vpc_id: vpc, ..SecurityGroup::default() };
    let group = client.create_security_group("g", &group, &tags, &never).unwrap();
    let order = Order {
        image: SOURCE.to_owned(),
        kind: KIND.to_owned(),
        vswitch,
        group,
        name: name.clone(),
        tags: tags.to_vec(),
        ..Order::default()
    };
    client.try_instance(&order, &never).unwrap();
    let instance = client.run_instance("i", &order, &never).unwrap();
    let eip = EipOrder { bandwidth: 5, charge: "PayByTraffic".to_owned() };
    let (eip, _) = client.allocate_eip("e", &eip, &never).unwrap();
    client.associate_eip(&eip, &instance, &never).unwrap();
    let line = |kind: Kind, name: &str| kind.intended(name, REGION, &mark);
    vec![
        line(Kind::Eip, "e"),
        line(Kind::Instance, &name),
        line(Kind::SecurityGroup, &name),
        line(Kind::VSwitch, &name),
        line(Kind::Vpc, &name),
        line(Kind::KeyPair, &name),
    ]
}

#[test]
fn what_has_no_id_is_found_by_what_was_chosen_for_it() {
    let double = quick();
    let client = client(&double);
    let lines = made(&client, "b1");
    let sweeper = Sweeper::new(client);
    for line in &lines {
        assert_eq!(sweeper.delete(line, &never).unwrap(), Gone::Deleted, "{line:?}");
    }
    assert_eq!(double.left(), Vec::<String>::new());
    for line in lines.iter().filter(|line| line.kind != "eip") {
        assert_eq!(sweeper.delete(line, &never).unwrap(), Gone::WasNotThere, "{line:?}");
    }
}

#[test]
fn a_mark_finds_all_of_a_build_and_nothing_of_another() {
    let double = quick();
    let (ours, theirs) = (client(&double), double.add_network(&format!("{REGION}-b")));
    made(&ours, "b1");
    let cloud = account(&[("region".to_owned(), REGION.to_owned())].into(), &environment(&double)).unwrap();
    assert_eq!(cloud.find(Some("b2")).unwrap(), []);
    let found = cloud.find(None).unwrap();
    let kinds: Vec<&str> = found.iter().map(|resource| &*resource.kind).collect();
    assert_eq!(kinds, ["eip", "instance", "security_group", "vswitch", "vpc", "key_pair"]);
    assert_eq!(found, cloud.find(Some("b1")).unwrap());
    for resource in &found {
        assert_eq!(cloud.delete(resource, &never).unwrap(), Gone::Deleted);
    }
    assert!(double.left().is_empty(), "{:?}", double.left());
    // What a user has is still there.
    assert_eq!(ours.vpcs(Some(&theirs.0), &never).unwrap().len(), 1);
}

#[test]
fn what_is_still_in_use_is_waited_for_and_a_lost_answer_is_no_failure() {
    let double = quick();
    let client = client(&double);
    let lines = made(&client, "b1");
    let cut = Cut { call: double.calls() + 3, when: Moment::After };
    double.set(Faults { pending: 0, in_use: 1, cut: Some(cut), ..Faults::default() });
    let sweeper = Sweeper::new(client);
    for line in &lines {
        sweeper.delete(line, &never).unwrap();
    }
    assert!(double.left().is_empty(), "{:?}", double.left());
}

#[test]
fn an_address_whose_answer_was_lost_is_given_back_also_when_it_was_never_taken() {
    let double = Ecs::with(Faults { pending: 0, ..Faults::default() });
    let sweeper = Sweeper::new(client(&double));
    let line = Kind::Eip.intended("never", REGION, &Mark::of("b"));
    assert_eq!(sweeper.delete(&line, &never).unwrap(), Gone::Deleted);
    assert!(double.left().is_empty());
    let mut odd = line;
    odd.kind = "spaceship".to_owned();
    let error = sweeper.delete(&odd, &never).unwrap_err();
    assert!(error.message.contains("no kind of resource") && error.hint.is_some(), "{error}");
}

#[test]
fn who_may_not_ask_has_deleted_nothing() {
    let double = quick();
    let lines = made(&client(&double), "b1");
    let wrong = environment(&double).with("ALICLOUD_ACCESS_KEY", "nobody");
    let cloud = account(&[("region".to_owned(), REGION.to_owned())].into(), &wrong).unwrap();
    for line in &lines {
        let id = kiln_ledger::Resource { id: Some("x-1".to_owned()), ..line.clone() };
        assert!(cloud.delete(&id, &never).unwrap_err().message.contains("InvalidAccessKeyId.NotFound"));
    }
}
