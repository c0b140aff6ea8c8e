//! What instructions do to the configuration and the history.

use kiln_plan::Op;
use kiln_plan::step::{CopyPart, Network, RunMount};

use crate::{World, history, last, plan};

#[test]
fn scratch_starts_with_a_path_and_a_working_directory() {
    let p = plan("FROM scratch\nLABEL a=b");
    assert_eq!(p.config.config.env, ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    assert_eq!(p.config.config.working_dir, "/");
    assert_eq!(history(&p), ["LABEL a=b"]);
}

#[test]
fn env_of_one_line_sees_the_values_from_before() {
    let p = plan("FROM base\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc");
    assert_eq!(p.config.config.env, ["PATH=/bin", "LANG=C", "abc=bye", "def=hello", "ghi=bye"]);
}

#[test]
fn the_later_of_arg_and_env_wins() {
    let p = plan("FROM base\nENV X=env\nARG X=arg\nLABEL l=$X\nENV X=again\nLABEL m=$X");
    assert_eq!(p.config.config.labels["l"], "arg");
    assert_eq!(p.config.config.labels["m"], "again");
    assert!(p.config.config.env.contains(&"X=again".to_owned()));
}

#[test]
fn global_args_need_a_declaration_in_the_stage() {
    let p = plan("ARG V=1\nFROM base\nLABEL before=[$V]\nARG V\nLABEL after=[$V]");
    assert_eq!(p.config.config.labels["before"], "[]");
    assert_eq!(p.config.config.labels["after"], "[1]");
}

#[test]
fn build_args_go_before_defaults_and_platform_args_are_known() {
    let mut w = World::new();
    w.options.build_args.insert("V".into(), "given".into());
    let p = w
        .plan("FROM base\nARG V=default\nARG TARGETARCH\nARG BUILDPLATFORM\nLABEL v=$V a=$TARGETARCH b=$BUILDPLATFORM");
    assert_eq!(p.config.config.labels["v"], "given");
    assert_eq!(p.config.config.labels["a"], "amd64");
    assert_eq!(p.config.config.labels["b"], "linux/amd64");
}

#[test]
fn run_history_names_the_args_it_can_see() {
    let p = plan("FROM base\nARG A=1\nARG B\nRUN make\nRUN [\"/bin/x\", \"y\"]");
    assert_eq!(
        history(&p),
        ["ARG A=1", "ARG B", "RUN |2 A=1 B= /bin/sh -c make # buildkit", "RUN |2 A=1 B= /bin/x y # buildkit"]
    );
}

#[test]
fn proxies_are_in_no_history_and_no_key() {
    let bare = plan("FROM base\nRUN make");
    let mut w = World::new();
    w.options.build_args.insert("HTTP_PROXY".into(), "http://secret@proxy".into());
    let proxied = w.plan("FROM base\nRUN make");
    assert_eq!(bare.step(bare.result).key, proxied.step(proxied.result).key);
    assert!(!history(&proxied).concat().contains("proxy"));
    let Op::Run(run) = last(&proxied) else { panic!() };
    assert!(run.proxy_env.contains(&("http_proxy".into(), "http://secret@proxy".into())));
    // Declared, it is an argument like any other.
    let declared = w.plan("FROM base\nARG HTTP_PROXY\nRUN make");
    assert!(history(&declared).concat().contains("HTTP_PROXY=http://secret@proxy"));
}

#[test]
fn entrypoint_resets_an_inherited_cmd_only() {
    let p = plan("FROM base AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"y\"]");
    assert_eq!(p.config.config.cmd, None);
    let p = plan("FROM base\nCMD [\"x\"]\nENTRYPOINT [\"y\"]");
    assert_eq!(p.config.config.cmd, Some(vec!["x".to_owned()]));
}

#[test]
fn the_shell_in_force_runs_shell_forms() {
    let p = plan("FROM base\nSHELL [\"/bin/bash\", \"-eo\", \"pipefail\", \"-c\"]\nCMD echo $HOME\nRUN a | b");
    assert_eq!(p.config.config.cmd.as_ref().unwrap(), &["/bin/bash", "-eo", "pipefail", "-c", "echo $HOME"]);
    assert_eq!(
        history(&p),
        [
            "SHELL [/bin/bash -eo pipefail -c]",
            "CMD [\"/bin/bash\" \"-eo\" \"pipefail\" \"-c\" \"echo $HOME\"]",
            "RUN /bin/bash -eo pipefail -c a | b # buildkit"
        ]
    );
}

#[test]
fn the_rest_of_the_configuration() {
    let p = plan(
        "FROM base\nEXPOSE 8000-8002 53/UDP\nVOLUME /a /b\nUSER u:g\nSTOPSIGNAL SIGTERM\nMAINTAINER me\n\
         HEALTHCHECK --interval=5s --start-interval=1s --retries=2 CMD curl x\nONBUILD RUN y",
    );
    let c = &p.config.config;
    assert_eq!(c.exposed_ports.keys().collect::<Vec<_>>(), ["53/udp", "8000/tcp", "8001/tcp", "8002/tcp"]);
    assert_eq!(c.volumes.keys().collect::<Vec<_>>(), ["/a", "/b"]);
    assert_eq!((&*c.user, c.stop_signal.as_deref(), p.config.author.as_deref()), ("u:g", Some("SIGTERM"), Some("me")));
    let h = c.healthcheck.as_ref().unwrap();
    assert_eq!(h.test, ["CMD-SHELL", "curl x"]);
    assert_eq!((h.interval, h.start_interval, h.retries), (Some(5_000_000_000), Some(1_000_000_000), Some(2)));
    assert_eq!(c.on_build, ["RUN y"]);
    assert_eq!(history(&p)[0], "EXPOSE [8000/tcp 8001/tcp 8002/tcp 53/udp]");
    assert_eq!(history(&p).len(), 6, "ONBUILD leaves no history");
}

#[test]
fn workdir_is_relative_to_the_one_before() {
    let p = plan("FROM base\nWORKDIR a\nWORKDIR b/../c\nWORKDIR /tr/");
    assert_eq!(history(&p), ["WORKDIR /a", "WORKDIR /a/c", "WORKDIR /tr/"]);
    let Op::Mkdir(m) = last(&p) else { panic!() };
    assert_eq!(m.path, "/tr", "only the configuration keeps it as it was written");
}

#[test]
fn copy_knows_where_from_and_where_to() {
    let p = plan("FROM base\nWORKDIR /w\nARG D=sub\nCOPY --chown=1:2 --chmod=644 ../a $D/ x/");
    let Op::Copy(copy) = last(&p) else { panic!() };
    assert_eq!(copy.dest, "/w/x/");
    let patterns: Vec<&str> = copy
        .parts
        .iter()
        .map(|part| match part {
            CopyPart::Paths { pattern, .. } => &**pattern,
            _ => "?",
        })
        .collect();
    assert_eq!(patterns, ["/a", "/sub"]);
    assert_eq!(history(&p)[2], "COPY --chown=1:2 --chmod=644 ../a sub/ x/ # buildkit");
}

#[test]
fn heredocs_are_files_or_commands() {
    let p = plan("FROM base\nENV V=1\nCOPY <<a <<\"b\" /d/\n$V \\$V\na\n$V\nb\n");
    let Op::Copy(copy) = last(&p) else { panic!() };
    let bodies: Vec<(&str, &str)> = copy
        .parts
        .iter()
        .map(|part| match part {
            CopyPart::Inline { name, body } => (&**name, &**body),
            _ => ("?", "?"),
        })
        .collect();
    assert_eq!(bodies, [("a", "1 $V\n"), ("b", "$V\n")]);
    let run = |text: &str| {
        let p = plan(text);
        let Op::Run(run) = last(&p) else { panic!() };
        (**run).clone()
    };
    assert_eq!(run("FROM base\nRUN <<EOF\nset -e\nmake\nEOF\n").argv, ["/bin/sh", "-c", "set -e\nmake\n"]);
    let script = run("FROM base\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n");
    assert_eq!(script.argv, ["/bin/sh", "-c", "/dev/pipes/EOF"]);
    assert_eq!(script.script, Some(("EOF".into(), "#!/usr/bin/env python3\nprint(1)\n".into())));
    assert_eq!(run("FROM base\nRUN cat <<EOF > /x\nhi\nEOF\n").argv, ["/bin/sh", "-c", "cat <<EOF > /x\nhi\nEOF"]);
}

#[test]
fn mounts_have_their_defaults() {
    let mut w = World::new();
    w.options.secrets.insert("tok".into());
    let p = w.plan(
        "FROM base\nWORKDIR /w\nRUN --network=none --mount=target=. --mount=type=cache,target=/c --mount=type=secret,id=tok \
         --mount=type=ssh --mount=type=tmpfs,target=/t,size=1m --mount=type=secret,id=tok,env=T true",
    );
    let Op::Run(run) = last(&p) else { panic!() };
    assert_eq!(run.network, Network::None);
    assert!(matches!(&run.mounts[0], RunMount::Bind { target, readonly: true, .. } if target == "/w"));
    assert!(matches!(&run.mounts[1], RunMount::Cache { id, mode: 0o755, readonly: false, .. } if id == "/c"));
    assert!(matches!(&run.mounts[2], RunMount::Secret { target: Some(t), mode: 0o400, .. } if t == "/run/secrets/tok"));
    assert!(
        matches!(&run.mounts[3], RunMount::Ssh { id, target, .. } if id == "default" && target == "/run/buildkit/ssh_agent.0")
    );
    assert!(matches!(&run.mounts[4], RunMount::Tmpfs { size: Some(1_048_576), .. }));
    assert!(matches!(&run.mounts[5], RunMount::Secret { target: None, env: Some(e), .. } if e == "T"));
    assert!(run.env.contains(&("SSH_AUTH_SOCK".into(), "/run/buildkit/ssh_agent.0".into())));
}

#[test]
fn urls_and_repositories_are_added() {
    let p = plan("FROM base\nADD https://h/d/f.txt?x=1 /a/\nADD https://h/r.git#main:sub /b");
    let Op::Copy(git) = last(&p) else { panic!() };
    assert!(matches!(&git.parts[0], CopyPart::Git { subdir, keep_git_dir: false, .. } if subdir == "sub"));
    let Op::Copy(http) = &p.steps[1].op else { panic!() };
    assert!(
        matches!(&http.parts[0], CopyPart::Http { name, last_modified: Some(7), unpack: false, .. } if name == "f.txt")
    );
}

#[test]
fn labels_of_the_command_line_come_last() {
    let mut w = World::new();
    w.options.labels = vec![("a".into(), "cli".into())];
    assert_eq!(w.plan("FROM base\nLABEL a=file").config.config.labels["a"], "cli");
}
