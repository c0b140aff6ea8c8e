//! `RUN --mount`.

use kiln_spec::ast::{Mount, MountKind, Op};

use crate::{errors_of, op};

fn mount(value: &str) -> Mount {
    let Op::Run(mut run) = op(&format!("RUN --mount={value} x")) else { panic!() };
    assert_eq!(run.mounts.len(), 1);
    run.mounts.remove(0)
}

fn wrong(value: &str) -> String {
    let errors = errors_of(&format!("RUN --mount={value} x"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.into_iter().next().unwrap()
}

fn text(word: &Option<kiln_spec::source::Word>) -> &str {
    word.as_ref().map_or("-", |word| word.text.as_str())
}

#[test]
fn bind() {
    let bind = mount("target=/a");
    assert_eq!((bind.kind, text(&bind.target), bind.readonly), (MountKind::Bind, "/a", None));
    let bind = mount("TYPE=bind,src=/s,dst=/d,from=stage,rw");
    assert_eq!((text(&bind.source), text(&bind.target), text(&bind.from)), ("/s", "/d", "stage"));
    assert_eq!(bind.readonly, Some(false));
    assert_eq!(mount("target=/a,ro=false").readonly, Some(false));
    assert_eq!(mount("target=/a,readonly").readonly, Some(true));
    assert_eq!(mount("target=/a,readwrite=false").readonly, Some(true));
}

#[test]
fn cache() {
    let cache = mount("type=cache,id=$ID,target=/c,sharing=locked,mode=0700,uid=5,gid=$G,source=/s,from=x");
    assert_eq!((cache.kind, text(&cache.id), text(&cache.sharing)), (MountKind::Cache, "$ID", "locked"));
    assert_eq!((text(&cache.mode), text(&cache.uid), text(&cache.gid)), ("0700", "5", "$G"));
}

#[test]
fn secret_ssh_tmpfs() {
    let secret = mount("type=secret,id=a,env=TOKEN,required");
    assert_eq!((secret.kind, text(&secret.env), text(&secret.required)), (MountKind::Secret, "TOKEN", "true"));
    assert_eq!(text(&mount("type=secret,target=/x,required=false").required), "false");
    assert_eq!(mount("type=ssh").kind, MountKind::Ssh);
    assert_eq!(text(&mount("type=tmpfs,target=/t,size=64m").size), "64m");
}

#[test]
fn quotes() {
    assert_eq!(text(&mount("'type=cache,\"target=/a,b\",id=x'").target), "/a,b");
    assert_eq!(text(&mount("type=cache,target=\"/a b\"").target), "/a b");
    assert_eq!(text(&mount("'type=cache,\"target=/a\"\"b\"'").target), "/a\"b");
}

#[test]
fn each_type_has_its_options() {
    assert_eq!(wrong("type=bind,target=/a,size=1"), "33 InvalidMount: a mount of type bind has no option `size`");
    for value in [
        "target=/a,sharing=shared",
        "target=/a,required",
        "target=/a,mode=0700",
        "target=/a,id=x",
        "type=tmpfs,target=/a,uid=1",
        "type=tmpfs,target=/a,from=x",
        "type=secret,id=a,from=x",
        "type=secret,id=a,sharing=shared",
        "type=cache,target=/a,env=X",
        "type=cache,target=/a,required",
        "type=ssh,size=1",
    ] {
        assert!(wrong(value).contains("has no option"), "{value}");
    }
}

#[test]
fn wrong_values() {
    assert_eq!(wrong("type=bnd,target=/a"), "18 InvalidMount: unknown mount type `bnd`");
    assert_eq!(wrong("type=$T,target=/a"), "18 InvalidMount: unknown mount type `$T`");
    assert_eq!(wrong("targte=/a"), "13 InvalidMount: `--mount` has no option `targte`");
    assert_eq!(wrong("target"), "13 InvalidMount: `target` of `--mount` needs a value");
    assert_eq!(wrong("target=/a,from=$X"), "28 InvalidMount: `from` of `--mount` cannot hold a variable");
    assert_eq!(wrong("type=secret"), "13 InvalidMount: a secret needs an `id` or a `target`");
    assert_eq!(wrong("type=secret,id=a,src=b"), "13 InvalidMount: a secret has an `id` or a `source`, not both");
    assert_eq!(wrong("'target=/a\"b'"), "23 InvalidMount: a quote inside an option that does not start with one");
    assert_eq!(wrong("'\"target=/a'"), "14 InvalidMount: a quote is not closed");
    for value in [
        "type=cache,target=/a,sharing=both",
        "type=cache,target=/a,mode=9",
        "type=cache,target=/a,uid=-1",
        "type=cache,target=/a,gid=x",
        "type=tmpfs,target=/a,size=lots",
        "type=secret,id=a,required=maybe",
        "target=/a,ro=perhaps",
    ] {
        assert!(wrong(value).contains("InvalidMount"), "{value}");
    }
}
