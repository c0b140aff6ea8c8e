//! A cluster that is asked: lists in pages, what it refuses, what it says wrongly.

use std::sync::Arc;
use std::time::Duration;

use kiln_doctor::api::ask;
use kiln_kube::{Cluster, Config};
use kiln_testkit::server::{Say, Seen, Server};

/// Asks a server whose answers are written here.
fn asked(
    script: impl FnMut(&Seen, usize) -> Say + Send + 'static,
) -> (Result<kiln_doctor::api::Api, String>, Vec<String>) {
    let server = Server::start(script);
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("config");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- {{name: c, cluster: {{server: 'http://{}'}}}}\n\
         users:\n- {{name: u, user: {{token: t}}}}\ncontexts:\n- {{name: c, context: {{cluster: c, user: u}}}}\n",
        server.host
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let config =
        Config { kubeconfig: Some(kubeconfig), context: None, start_timeout: Duration::ZERO, cancel: Arc::default() };
    let api = Cluster::find(&config, None).and_then(|cluster| ask(&cluster));
    (api.map_err(|error| error.to_string()), server.lines())
}

fn json(body: &str) -> Say {
    Say::ok(body).header("content-type", "application/json")
}

#[test]
fn lists_come_in_pages() {
    let (api, lines) = asked(|seen, _| match seen.path.as_str() {
        "/api/v1/nodes?limit=500" => json(
            r#"{"metadata":{"continue":"a/b=="},"items":[{"metadata":{"name":"n1"},"spec":{"podCIDR":"10.244.1.0/24"}}]}"#,
        ),
        "/api/v1/nodes?limit=500&continue=a%2Fb%3D%3D" => {
            json(r#"{"metadata":{},"items":[{"metadata":{"name":"n2"}}]}"#)
        }
        _ => json(r#"{"metadata":{},"items":[]}"#),
    });
    let api = api.unwrap();
    let names: Vec<&str> = api.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!((names, api.untold.len()), (vec!["n1", "n2"], 0));
    assert!(
        lines.iter().any(|line| line.contains("/api/v1/events?fieldSelector=type%3DWarning&limit=500")),
        "{lines:?}"
    );
    assert!(lines.iter().all(|line| line.starts_with("GET ")), "nothing is changed: {lines:?}");
}

#[test]
fn what_is_refused_is_told() {
    let (api, _) = asked(|seen, _| {
        match seen.path.starts_with("/api/v1/nodes") {
        true => json(r#"{"metadata":{},"items":[7,null,{"spec":[]}]}"#),
        false => Say::status(403).header("content-type", "application/json").body(
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":403,"reason":"Forbidden","message":"User \"x\" cannot list resource"}"#,
        ),
    }
    });
    let api = api.unwrap();
    let untold: Vec<&str> = api.untold.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(untold, ["pods", "services", "endpointslices", "events"]);
    assert_eq!(api.nodes.len(), 3);
}

#[test]
fn an_older_cluster_has_slices_elsewhere() {
    let slice = r#"{"metadata":{"items":[]},"items":[{"metadata":{"namespace":"a","labels":{"kubernetes.io/service-name":"web"}},"endpoints":[{"addresses":["10.244.0.5"],"conditions":{"ready":true}}]}]}"#;
    let (api, _) = asked(move |seen, _| {
        match seen.path.split('?').next().unwrap() {
        "/api/v1/services" => json(r#"{"items":[{"metadata":{"namespace":"a","name":"web"},"spec":{"clusterIP":"10.96.0.7"}}]}"#),
        "/apis/discovery.k8s.io/v1beta1/endpointslices" => json(slice),
        "/apis/discovery.k8s.io/v1/endpointslices" => Say::status(404).header("content-type", "application/json").body(
            r#"{"kind":"Status","status":"Failure","code":404,"reason":"NotFound","message":"the server could not find the requested resource"}"#,
        ),
        _ => json(r#"{"items":[]}"#),
    }
    });
    let api = api.unwrap();
    assert_eq!((api.untold.len(), api.services[0].endpoints.len()), (0, 1), "{api:?}");
}

#[test]
fn a_cluster_that_is_none() {
    let (api, _) = asked(|_, _| Say::ok("\x1b[2J<html>"));
    let said = api.unwrap_err();
    assert!(said.contains("nodes") && !said.contains('\x1b'), "{said}");
    let (api, _) = asked(|_, _| Say::status(401).body("{}"));
    assert!(api.is_err());
}
