//! `--single-snapshot`: one layer over the base, and the same files.

use std::fs;

use serde_json::Value;

use crate::{Pod, run};

/// Files that come and go, links, a directory that becomes a file, one that is emptied, and what is the base's.
const TEXT: &str = "\
RUN mkdir -p /a/b && echo one > /a/b/one && echo gone > /a/b/gone && ln /a/b/one /a/two && chmod 750 /a
COPY Dockerfile /a/b/copied
RUN rm /a/b/gone && rm -r /tmp && mkdir /tmp && rm /bin/awk && echo file > /bin/awk
RUN rm -r /a/b && echo now > /a/b && ln -s /a/b /a/link && mkdir -p /deep/er && rm -r /root
RUN ln /bin/busybox /deep/er/busybox && chown 7:8 /deep
ENV x=y";

fn manifest(pod: &Pod, name: &str, what: &[&str]) -> Value {
    let name = format!("docker://{}", pod.registry.reference(name));
    pod.t.tool("skopeo", &[&["inspect", "--tls-verify=false"], what, &[&*name]].concat()).ok().json()
}

#[test]
fn all_steps_make_one_layer() {
    let pod = Pod::start();
    pod.dockerfile(TEXT);
    let _ = pod.run(&[&pod.to("app:many")]).ok();
    let one = pod.run(&[&pod.to("app:one"), "--single-snapshot"]).ok();
    assert!(!one.stderr.contains("no effect"), "{one}");
    let layers = |name: &str| manifest(&pod, name, &["--raw"])["layers"].as_array().unwrap().clone();
    assert_eq!((layers("app:one").len(), layers("app:one")[0].clone()), (2, layers("base:1")[0].clone()));
    assert!(layers("app:many").len() > 4);
    let config = manifest(&pod, "app:one", &["--config"]);
    let with_layer = config["history"].as_array().unwrap().iter().filter(|h| h["empty_layer"] != true).count();
    assert_eq!((with_layer, config["rootfs"]["diff_ids"].as_array().unwrap().len()), (2, 2));
    assert_eq!(config["config"]["Env"], manifest(&pod, "app:many", &["--config"])["config"]["Env"]);
    // As Kiln reads them, and as Debian's umoci unpacks them.
    for name in ["app:one", "app:many"] {
        let _ = pod.t.kiln(&["pull", &pod.registry.reference(name)]).ok();
    }
    let (one, many) = (pod.registry.reference("app:one"), pod.registry.reference("app:many"));
    let differ = pod.t.kiln(&["diff", &many, &one]);
    assert_eq!(differ.stdout, "", "{differ}");
    let unpacked = |name: &str, dir: &str| {
        let layout = pod.t.out(&format!("{dir}-layout"));
        let to = format!("oci:{}:x", layout.display());
        let from = format!("docker://{name}");
        let _ = pod.t.tool("skopeo", &["copy", "--src-tls-verify=false", &from, &to]).ok();
        let bundle = pod.t.out(dir);
        let image = format!("{}:x", layout.display());
        let _ = pod.t.tool("umoci", &["unpack", "--image", &image, bundle.to_str().unwrap()]).ok();
        bundle.join("rootfs")
    };
    let (one, many) = (unpacked(&one, "one"), unpacked(&many, "many"));
    let listed = |root: &std::path::Path| {
        let text = "find . -mindepth 1 -printf '%p %y %m %U:%G %n %s %l\\n' | grep -v ' d ' | sort";
        pod.t.tool("sh", &["-c", &format!("cd {} && {text}", root.display())]).ok().stdout
    };
    assert_eq!(listed(&one), listed(&many));
    assert_eq!(fs::read_to_string(one.join("a/b")).unwrap(), "now\n");
}

#[test]
fn one_layer_is_the_same_each_time_and_leaves_the_cache_as_it_is() {
    let pod = Pod::start();
    pod.dockerfile("RUN printf 'it %s' ran && echo 1 > /1\nRUN echo 2 > /2");
    let flags = ["--cache", "--single-snapshot", "--reproducible"];
    let made = run(&pod.t, &[&flags[..], &[&pod.to("app:1")]].concat()).ok();
    assert!(made.stdout.contains("it ran"), "{made}");
    let second = Pod::machine();
    pod.write(&second, "RUN printf 'it %s' ran && echo 1 > /1\nRUN echo 2 > /2");
    let taken = run(&second, &[&flags[..], &[&pod.to("app:2")]].concat()).ok();
    assert!(!taken.stdout.contains("it ran"), "{taken}");
    assert_eq!(pod.registry.digest("app:1"), pod.registry.digest("app:2"));
    // Nothing to join: an image of its base, and of one step.
    for (text, layers) in [("ENV a=b", 1), ("RUN echo x > /x", 2)] {
        pod.dockerfile(text);
        let _ = pod.run(&[&pod.to("app:3"), "--single-snapshot"]).ok();
        assert_eq!(manifest(&pod, "app:3", &["--raw"])["layers"].as_array().unwrap().len(), layers, "{text}");
    }
    pod.t.write("Dockerfile", 0o644, "FROM scratch\nCOPY Dockerfile /a\nCOPY Dockerfile /b");
    let _ = pod.run(&[&pod.to("app:4"), "--single-snapshot"]).ok();
    assert_eq!(manifest(&pod, "app:4", &["--raw"])["layers"].as_array().unwrap().len(), 1);
}
