//! What ends in the configuration, and users and directories.

use std::path::Path;

use crate::Bench;

#[test]
fn commands_and_entrypoints() {
    let b = Bench::new();
    let cfg = |text: &str| b.build(text).config.config;
    let c = cfg("FROM busybox AS a\nCMD [\"x\"]\nFROM a\nENTRYPOINT [\"e\"]");
    assert_eq!(
        (c.entrypoint.as_deref(), c.cmd.as_deref()),
        (Some(&["e".to_owned()][..]), None),
        "an inherited CMD is reset"
    );
    let c = cfg("FROM busybox\nCMD [\"x\"]\nENTRYPOINT [\"e\"]");
    assert_eq!(c.cmd.as_deref(), Some(&["x".to_owned()][..]), "one of the same stage stays");
    let c = cfg("FROM busybox\nSHELL [\"/bin/ash\", \"-ec\"]\nCMD echo hi\nENTRYPOINT ['single']");
    assert_eq!(c.cmd.unwrap(), ["/bin/ash", "-ec", "echo hi"]);
    assert_eq!(c.entrypoint.unwrap(), ["/bin/ash", "-ec", "['single']"]);
    assert_eq!(cfg("FROM busybox\nENTRYPOINT [\"e\"]\nENTRYPOINT []\nCMD []").entrypoint, None);
}

#[test]
fn ports_and_signals() {
    let c = Bench::new().build("FROM busybox\nEXPOSE 8000-8002 53/UDP 80\nSTOPSIGNAL 9").config.config;
    let ports: Vec<String> = c.exposed_ports.into_keys().collect();
    assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
    assert_eq!(c.stop_signal.as_deref(), Some("9"));
    assert_eq!(Bench::new().build("FROM scratch\nSTOPSIGNAL 99").config.config.stop_signal.as_deref(), Some("99"));
    let c = Bench::new().build("FROM busybox\nSTOPSIGNAL SIGKILL").config.config;
    assert_eq!(c.stop_signal.as_deref(), Some("SIGKILL"));
}

#[test]
fn volumes_keep_later_writes_and_make_nothing() {
    let b = Bench::new();
    let built = b.build("FROM busybox\nVOLUME /vol /etc/v\nRUN mkdir -p /etc/v && echo kept > /etc/v/f");
    assert!(!built.has("vol"));
    assert_eq!(built.read("etc/v/f"), "kept\n");
    let volumes: Vec<String> = built.config.config.volumes.into_keys().collect();
    assert_eq!(volumes, ["/etc/v", "/vol"]);
}

#[test]
fn who_a_user_is() {
    let b = Bench::new().file(
        "group",
        0o644,
        "root:x:0:\ntg:x:70:\none:x:71:app\ntwo:x:72:app,root\napp:x:1000:\nbad line\n::\n",
    );
    let built = b.build(
        "FROM busybox\nCOPY group /etc/group\nRUN chmod 777 /tmp && mkdir -m 777 /o\n\
         USER app\nRUN id > /o/app; echo $HOME >> /o/app\nUSER root:tg\nRUN id -G > /o/tg\nUSER 4242\nRUN id -u > /o/un; id -G >> /o/un; echo $HOME >> /o/un\n\
         USER 1000:72\nRUN id -G > /o/num",
    );
    let app = built.read("o/app");
    assert!(app.contains("uid=1000(app) gid=1000(app)") && app.contains("71(one)") && app.contains("72(two)"), "{app}");
    assert!(app.ends_with("/home\n"));
    assert_eq!(built.read("o/tg"), "70\n");
    assert_eq!(built.read("o/un"), "4242\n0\n/\n");
    assert_eq!(built.read("o/num"), "72\n");
    assert_eq!(built.config.config.user, "1000:72");
}

#[test]
fn working_directories() {
    let b = Bench::new();
    let built = b.build(
        "FROM busybox\nENV V=var\nWORKDIR a\nWORKDIR b/../c\nRUN pwd > /p\nWORKDIR $V/x\nRUN pwd >> /p\nWORKDIR /tr/",
    );
    assert_eq!(built.read("p"), "/a/c\n/a/c/var/x\n");
    assert_eq!(built.config.config.working_dir, "/tr/");
    let built =
        b.build("FROM busybox\nWORKDIR //m/../x/\nRUN pwd > /p\nWORKDIR r/../s/\nWORKDIR $UNDEF\nRUN pwd >> /p");
    assert_eq!((built.read("p"), &*built.config.config.working_dir), ("/x\n/x/s\n".to_owned(), "/x/s"));
    assert!(built.history().contains(&"WORKDIR //m/../x/".to_owned()), "an absolute one is kept as it was written");
    let built = b.build("FROM busybox\nUSER app\nRUN pwd");
    assert_eq!(built.last_layer(), [""; 0]);
    assert!(!built.has("a/b"));
    let built =
        b.build("FROM busybox\nUSER app\nWORKDIR /n1/n2/n3\nRUN stat -c '%u:%g' /n1 /n1/n2 /n1/n2/n3 > f && cat f");
    assert_eq!(built.read("n1/n2/n3/f"), "1000:1000\n1000:1000\n1000:1000\n");
    let built = b.build("FROM busybox\nRUN mkdir /real && ln -s /real /link\nWORKDIR /link/sub\nRUN touch made");
    assert!(built.has("real/sub/made"), "{}", built.dump_of("link"));
    assert!(built.dump().contains("/link l 0777 0:0 -> /real"));
}

#[test]
fn a_working_directory_may_be_made_before_its_user_is_known() {
    let b = Bench::new();
    for (user, owner) in [("ghost", "0:0"), ("ghost:staff", "0:50"), ("app:ghosts", "1000:1000"), ("7:ghosts", "7:7")] {
        let text = format!("FROM busybox\nUSER {user}\nWORKDIR /w");
        let out = b.run(&text, &["--output=type=local,dest=out"]).ok();
        let unknown = if user.contains("ghosts") { "no group `ghosts`" } else { "no user `ghost`" };
        assert!(out.stderr.contains(unknown) && out.stderr.contains("WORKDIR /w"), "{}", out.stderr);
        assert!(b.build(&text).dump_of("w").starts_with(&format!("/w d 0755 {owner}")), "{user}");
    }
    assert!(b.fails("FROM busybox\nUSER ghost\nRUN true", 1).contains("no user `ghost`"));
}

#[test]
fn the_history_is_what_other_tools_expect() {
    let built = Bench::new().file("f", 0o644, "F").build(
        "FROM busybox\nMAINTAINER me\nARG A=1\nLABEL l=v\nRUN true\nCOPY f /f\nCMD [\"x\"]\nHEALTHCHECK --interval=1m --start-interval=2s CMD y",
    );
    let history = built.history();
    for line in ["RUN |1 A=1 /bin/sh -c true # buildkit", "COPY f /f # buildkit", "CMD [\"x\"]", "LABEL l=v"] {
        assert!(history.iter().any(|h| h == line), "{line} in {history:?}");
    }
    assert_eq!(built.config.author.as_deref(), Some("me"));
    let health = "HEALTHCHECK &{[\"CMD-SHELL\" \"y\"] \"1m0s\" \"0s\" \"0s\" \"2s\" '\\x00'}";
    assert!(history.iter().any(|h| h == health), "{history:?}");
    let check = serde_json::to_value(&built.config).unwrap()["config"]["Healthcheck"].clone();
    assert_eq!(check["Interval"], 60_000_000_000_u64);
    assert_eq!(check["StartInterval"], 2_000_000_000_u64);
}

#[test]
fn health_checks_can_be_taken_away() {
    let built = Bench::new().build("FROM busybox\nHEALTHCHECK --retries=0 CMD true");
    assert_eq!(built.config.config.healthcheck.unwrap().retries, None);
    let built = Bench::new().build("FROM busybox\nHEALTHCHECK --retries=2 CMD true\nHEALTHCHECK NONE");
    assert_eq!(built.config.config.healthcheck.unwrap().test, ["NONE"]);
}

#[test]
fn a_platform_with_a_variant_is_in_the_configuration() {
    let b = Bench::new().args(&["--platform=linux/arm/v7"]);
    let built =
        b.build("FROM scratch\nARG TARGETVARIANT\nARG TARGETPLATFORM\nLABEL v=$TARGETVARIANT p=$TARGETPLATFORM");
    assert_eq!((&*built.config.architecture, built.config.variant.as_deref()), ("arm", Some("v7")));
    assert_eq!((&*built.config.config.labels["v"], &*built.config.config.labels["p"]), ("v7", "linux/arm/v7"));
}

#[test]
fn programs_are_found_in_the_image() {
    let b = Bench::new();
    let built = b.build("FROM busybox\nWORKDIR /w\nRUN cp /bin/busybox ./touch\nRUN [\"./touch\", \"rel\"]\nENV PATH=/w\nRUN [\"touch\", \"found\"]");
    assert!(built.has("w/rel") && built.has("w/found"));
    assert!(Path::new("/bin").exists());
}
