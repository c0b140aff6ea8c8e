//! Contexts that come from elsewhere.

use kiln_testkit::Rootfs;

use crate::Bench;

#[test]
fn a_file_is_one_of_the_context_if_that_came_from_elsewhere() {
    let b = Bench::new().file("other", 0o644, "FROM scratch\nLABEL here=1");
    let tar = Rootfs::new().file("other", 0o644, "FROM scratch\nLABEL away=1").tar();
    let plan = b.t.kiln_with_input(&["build", "--plan", "--json", "-f", "other", "-"], &tar).ok();
    assert!(plan.stdout.contains("away") && !plan.stdout.contains("here"), "{plan}");
    let two = b.t.kiln_with_input(&["build", "-f", "other", "-"], b"FROM scratch").exits(2);
    assert!(two.stderr.contains("ambiguous Dockerfile source"), "{two}");
}
