//! Several images that are launched as one, and arguments of their commands.

use kiln_clusterfile::Said;
use kiln_launch::bundle::Part;
use kiln_launch::run;
use kiln_oci::cluster::Launch as Step;

use crate::world::World;

/// An image of a launch, of which each version has another digest.
fn part(name: &str, version: u8, lines: &[&str]) -> Part {
    Part {
        name: format!("{name}:{version}"),
        digest: format!("sha256:{name}{version}"),
        launch: lines.iter().map(|line| Step::Run((*line).to_owned())).collect(),
        inherited: 0,
    }
}

fn with(world: &World, parts: Vec<Part>) {
    world.wish(move |_, bundle| bundle.parts.clone_from(&parts));
}

/// The scripts that the first master ran, by their last lines.
fn scripts(world: &World) -> Vec<String> {
    let all = world.host(1).ran();
    let scripts = all.iter().filter(|ran| ran.line.ends_with(" -s"));
    scripts.filter_map(|ran| Some(String::from_utf8_lossy(&ran.stdin).lines().last()?.to_owned())).collect()
}

fn parts(calico: u8) -> Vec<Part> {
    vec![
        part("kubernetes", 1, &["bash init.sh"]),
        part("helm", 1, &["cp opt/helm /usr/bin"]),
        // What reads as before in the image before it is done nevertheless.
        part("calico", calico, &["cp opt/helm /usr/bin", "helm install calico charts/calico"]),
    ]
}

#[test]
fn images_are_launched_in_order_and_only_those_that_change_again() {
    let world = World::new(1, 1);
    with(&world, parts(1));
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert!(plan.contains("    bash init.sh\n    cp opt/helm /usr/bin (of helm:1)\n"), "{plan}");
    world.run().unwrap();
    let first = ["bash init.sh", "cp opt/helm /usr/bin", "cp opt/helm /usr/bin", "helm install calico charts/calico"];
    assert_eq!(scripts(&world), first);
    let record = world.state().record().unwrap().unwrap();
    assert_eq!(record.title(), "kubernetes:1 with helm:1, calico:1");
    assert!(!world.run().unwrap(), "a second run does nothing");
    assert_eq!(scripts(&world).len(), 4);
    with(&world, parts(2));
    world.run().unwrap();
    assert_eq!(scripts(&world)[4..], ["cp opt/helm /usr/bin", "helm install calico charts/calico"]);
    // One that is no longer named stays launched, and one that is new is launched.
    with(&world, vec![parts(2).remove(0), part("shop", 1, &["kubectl apply -f shop.yaml"])]);
    world.run().unwrap();
    assert_eq!(scripts(&world)[6..], ["kubectl apply -f shop.yaml"]);
    with(&world, vec![parts(2).remove(0)]);
    let plan = run::plan_text(&run::plan(&world.launch().unwrap()).unwrap());
    assert!(plan.contains("what was launched of images that are no longer named stays"), "{plan}");
    world.run().unwrap();
    assert_eq!(scripts(&world).len(), 7);
    let mut world = world;
    world.options.from = Some("guest".into());
    with(&world, parts(2));
    world.run().unwrap();
    assert_eq!(scripts(&world).len(), 11, "all of it, where the user wants the phase again");
}

#[test]
fn commands_of_the_user_are_in_place_of_the_first_images() {
    let world = World::new(1, 0);
    with(&world, parts(1));
    world.wish(|cluster, _| cluster.command = vec![Said::default_of("echo mine".to_owned())]);
    world.run().unwrap();
    let scripts = scripts(&world);
    assert_eq!(scripts[..2], ["echo mine", "cp opt/helm /usr/bin"]);
    assert_eq!(scripts.len(), 4);
}

#[test]
fn a_command_that_fails_is_done_again_with_those_of_its_launch() {
    use kiln_host::recording::Answer;
    let mut world = World::new(1, 0);
    with(&world, parts(1));
    world.host(1).answer("bash || echo sh) -s", Answer::failure(1, "no chart"));
    let error = world.run().unwrap_err();
    assert!(error.to_string().contains("cannot run `bash init.sh`"), "{error}");
    world.host(1).answer("bash || echo sh) -s", Answer::output(""));
    world.options.resume = true;
    world.run().unwrap();
    assert_eq!(scripts(&world).len(), 1 + 4);
}

#[test]
fn arguments_of_the_image_get_values_that_commands_see() {
    let world = World::new(1, 0);
    world.wish(|cluster, bundle| {
        bundle.spec.args = [("Port", "80"), ("Mode", "prod")].map(|(name, value)| (name.into(), value.into())).into();
        cluster.args = vec![Said::default_of("Port=it's 8080".to_owned())];
    });
    world.run().unwrap();
    let all = world.host(1).ran();
    let script = all.iter().find(|ran| ran.line.ends_with(" -s")).unwrap();
    let text = String::from_utf8_lossy(&script.stdin).into_owned();
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(at("export Port=80") < at(r"export Port='it'\''s 8080'"), "{text}");
    assert!(at("export Mode=prod") < at("kubectl apply -f app.yaml"), "{text}");
    assert!(!all.iter().any(|ran| ran.line.contains("8080")), "in nobody's `ps`");
    // Another value is another command.
    assert!(!world.run().unwrap());
    world.wish(|cluster, _| cluster.args = vec![Said::default_of("Port=81".to_owned())]);
    assert!(world.run().unwrap());
    world.wish(|cluster, _| cluster.args = vec![Said::default_of("--wait".to_owned())]);
    let error = world.run().unwrap_err();
    assert!(error.to_string().contains("`--wait` gives no argument of the image a value"), "{error}");
}
