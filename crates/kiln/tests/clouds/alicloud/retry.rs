//! `-on-error=ask`, answered with `r`: a step that failed is tried again, and makes nothing twice.

use kiln_testkit::ecs::{Faults, Refuse};

use super::Bench;

/// A build that is tried again once, after this call was refused once: all that was asked.
#[track_caller]
fn tried_again(action: &str) -> Vec<String> {
    let refuse = vec![Refuse::new(action, 403, "Forbidden.RAM", 1)];
    let b = Bench::with(Faults { pending: 0, refuse, ..Faults::default() });
    b.template("", &b.here());
    let out = b.t.kiln_with_input(&["node", "build", "-color=false", "-on-error=ask", "t.json"], b"r\n").ok();
    assert_eq!(out.stdout.matches("[r] retry step").count(), 1, "{out}");
    assert_eq!(b.double.images().len(), 1, "{out}");
    b.is_clean();
    b.actions()
}

fn count(actions: &[String], wanted: &str) -> usize {
    actions.iter().filter(|action| *action == wanted).count()
}

#[test]
fn a_beginning_that_is_tried_again_first_deletes_what_its_first_try_made() {
    let actions = tried_again("RunInstances");
    assert_eq!((count(&actions, "CreateVpc"), count(&actions, "DeleteVpc")), (2, 2), "{actions:?}");
    let second = actions.iter().rposition(|action| action == "CreateVpc").unwrap();
    let first = actions.iter().position(|action| action == "DeleteVpc").unwrap();
    assert!(first < second, "{actions:?}");
}

#[test]
fn an_image_that_was_refused_is_made_again_of_the_machine_that_has_ended() {
    let actions = tried_again("CreateImage");
    assert_eq!((count(&actions, "StopInstance"), count(&actions, "CreateImage")), (1, 2), "{actions:?}");
}

#[test]
fn an_image_that_did_not_get_done_is_deleted_before_the_next() {
    let actions = tried_again("UntagResources");
    assert_eq!((count(&actions, "CreateImage"), count(&actions, "DeleteImage")), (2, 1), "{actions:?}");
}

#[test]
fn an_image_that_is_done_stays_while_the_rest_is_deleted() {
    let actions = tried_again("DeleteVpc");
    assert_eq!((count(&actions, "CreateImage"), count(&actions, "DeleteImage")), (1, 0), "{actions:?}");
    assert_eq!((count(&actions, "DeleteVpc"), count(&actions, "DeleteInstance")), (2, 1), "{actions:?}");
}
