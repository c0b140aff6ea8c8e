//! With `SOURCE_DATE_EPOCH`, the same inputs are the same image, bit for bit: on another machine, at another time, with
//! another number of jobs.

use kiln_testkit::{Rootfs, layout::gzip};

use crate::{Bench, open};

/// What of a machine must not be seen in an image.
struct Machine {
    hostname: &'static str,
    umask: &'static str,
    jobs: &'static str,
    /// Files are made in the opposite order, so that inodes and the order of directories are others.
    reversed: bool,
    /// Times of the files of the context.
    dated: &'static str,
    /// Where one stands, below the directory of results.
    cwd: &'static str,
    epoch: &'static str,
}

const ONE: Machine = Machine {
    hostname: "one",
    umask: "022",
    jobs: "1",
    reversed: false,
    dated: "2001-02-03 04:05:06",
    cwd: "here",
    epoch: "1600000000",
};

const OTHER: Machine = Machine {
    hostname: "other.example",
    umask: "077",
    jobs: "4",
    reversed: true,
    dated: "2030-12-31 23:59:59.5",
    cwd: "some/where/else",
    epoch: "1600000000",
};

/// Everything that makes layers.
const TEXT: &str = "\
FROM busybox AS tools
WORKDIR /made/by
RUN --mount=type=cache,target=/cache echo cached > /cache/f; cp /cache/f here; date > /dev/null; ln here again
RUN <<SCRIPT
umask 022; mkdir -p /out/d; for i in 3 1 2; do echo $i > /out/d/$i; done
ln -s d /out/l; mkfifo /out/p; chmod 4755 /out/d/1; chown app:staff /out/d/2; touch -d '1999-09-09 01:02:03' /out/d/3
SCRIPT
FROM busybox AS side
RUN echo side > /side; rm /etc/group; rm -r /var/tmp
FROM tools
ARG WHO=me
COPY . /context
COPY --chown=app --chmod=640 many /many/
COPY --link many/f1* /linked/
COPY --from=tools /out /out
COPY --from=side /etc /etc-of-side
COPY <<TEXT /text
$WHO
TEXT
ADD a.tar.gz /unpacked/
RUN --mount=type=secret,id=s --mount=type=bind,source=many,target=/m cat /m/* > /all; cat /run/secrets/s > /dev/null
RUN echo $WHO >> /context/many/f3 && rm /context/many/f4 && mv /many/f5 /many/moved
USER app
WORKDIR home/of/app
LABEL who=$WHO
CMD [\"sh\"]
";

/// The digest of the image's manifest, as this machine builds it.
fn built_on(machine: &Machine) -> (String, Vec<String>) {
    let b = Bench::new();
    let mut files: Vec<(String, String)> = (0..40).map(|n| (format!("many/f{n}"), format!("{n}\n"))).collect();
    files.extend([("x/y/z".to_owned(), "deep".to_owned()), ("run.sh".to_owned(), "#!/bin/sh\n".to_owned())]);
    if machine.reversed {
        files.reverse();
    }
    for (path, content) in &files {
        b.t.write(path, if path == "run.sh" { 0o755 } else { 0o644 }, content);
    }
    let archive = Rootfs::new().dir("d", 0o750).owned_file("d/f", 0o640, (7, 8), "f").symlink("l", "d/f");
    b.t.write("a.tar.gz", 0o644, gzip(&archive.tar()));
    b.t.write("Dockerfile", 0o644, TEXT);
    let context = b.t.context();
    std::os::unix::fs::symlink("many/f1", context.join("link")).unwrap();
    let (context, store) = (context.display(), b.t.store().display().to_string());
    let work = b.t.out(machine.cwd).display().to_string();
    let script = format!(
        "hostname {}; find {context} -exec touch -h -d '{}' {{}} +; umask {}; mkdir -p {work}/tmp; cd {work}
         TOKEN=t TMPDIR={work}/tmp KILN_STORE={store} SOURCE_DATE_EPOCH={} exec {} build --quiet \\
         --secret=id=s,env=TOKEN --jobs={} -t t --build-context=busybox=oci-layout://{}:busybox:latest {context}",
        machine.hostname,
        machine.dated,
        machine.umask,
        machine.epoch,
        env!("CARGO_BIN_EXE_kiln"),
        machine.jobs,
        b.t.out("busybox").display(),
    );
    let out = b.t.tool("unshare", &["--uts", "sh", "-c", &script]).ok();
    let image = open(&b.t.store(), "t");
    let layers = image.config.rootfs.diff_ids.iter().zip(image.history()).map(|(d, by)| format!("{d} {by}")).collect();
    (out.text().to_owned(), layers)
}

#[test]
fn another_machine_and_time_and_number_of_jobs_give_the_same_image() {
    let (one, layers) = built_on(&ONE);
    // RUN writes files in another second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let (other, others) = built_on(&OTHER);
    assert_eq!(layers, others);
    assert_eq!(one, other);
    let (later, _) = built_on(&Machine { epoch: "1700000000", ..ONE });
    assert_ne!(one, later);
}

#[test]
fn layers_of_the_base_keep_their_times_and_bytes() {
    let b = Bench::new().env("SOURCE_DATE_EPOCH", "1000");
    let base = b.build("FROM busybox\nLABEL a=b");
    let built = b.build("FROM busybox\nRUN touch /f /etc/passwd");
    assert_eq!(base.manifest.layers[0], built.manifest.layers[0]);
    let times: Vec<i64> = built.indexes[1].entries.iter().map(|e| e.entry.meta.mtime.secs).collect();
    assert_eq!(times, [0, 1000, 1000], "/etc is as old as it was in the base");
    assert_eq!(built.config.created.as_deref(), Some("1970-01-01T00:16:40Z"));
    let dates: Vec<_> = built.config.history[1..].iter().map(|h| h.created.as_deref()).collect();
    assert_eq!(dates, [Some("1970-01-01T00:16:40Z")]);
    let b = b.args(&["--rewrite-timestamp=false"]);
    let built = b.build("FROM busybox\nRUN touch /f");
    assert!(built.indexes[1].entries.iter().any(|e| e.entry.meta.mtime.secs > 1_600_000_000), "as the command left it");
}
