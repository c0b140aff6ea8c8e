//! Every image format against qemu-img.

use std::fs::File;
use std::path::{Path, PathBuf};

use kiln_disk::image::{self, Backing, Compression, Format, Options};
use kiln_disk::{ReadAt, WriteAt};
use tempfile::TempDir;

use crate::tools::{run, text, try_run};

/// A disk with holes, text, noise and a last sector, of an odd size.
fn sample(dir: &Path, len: u64) -> PathBuf {
    let path = dir.join("source.raw");
    let mut file = File::create_new(&path).unwrap();
    file.zero_at(0, len).unwrap();
    let mut state = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(300_000)
    .collect();
    let prose = b"the same words again and again ".repeat(30_000);
    for (at, data) in [(0, &prose[..]), (5_000_000, &noise), (len / 2, &prose), (len - 512, &noise[..512])] {
        file.write_at(data, at).unwrap();
    }
    path
}

fn written(dir: &Path, source: &Path, name: &str, options: &Options) -> PathBuf {
    let path = dir.join(name);
    let mut out = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    image::write(&File::open(source).unwrap(), &mut out, options).unwrap();
    path
}

fn bytes(disk: &dyn image::Source) -> Vec<u8> {
    let mut all = vec![0; disk.len().unwrap() as usize];
    let mut at = 0;
    // What is no data has to be zero, which the comparison then shows.
    while let Some(range) = disk.data(at).unwrap() {
        disk.read_exact_at(&mut all[range.start as usize..range.end as usize], range.start).unwrap();
        at = range.end;
    }
    all
}

fn qemu_name(format: Format) -> &'static str {
    match format {
        Format::VhdFixed | Format::VhdDynamic => "vpc",
        Format::Vmdk | Format::VmdkStream => "vmdk",
        Format::Qcow2 => "qcow2",
        _ => "raw",
    }
}

#[test]
fn qemu_reads_what_is_written() {
    let dir = TempDir::new().unwrap();
    let source = sample(dir.path(), 70 << 20);
    let all = [
        (Format::Raw, None),
        (Format::Qcow2, None),
        (Format::Qcow2, Some(Compression::Zlib)),
        (Format::Qcow2, Some(Compression::Zstd)),
        (Format::VhdFixed, None),
        (Format::VhdDynamic, None),
        (Format::Vmdk, None),
        (Format::VmdkStream, None),
    ];
    for (i, (format, compression)) in all.into_iter().enumerate() {
        let options = Options { compression, threads: 2, ..Options::new(format) };
        let path = written(dir.path(), &source, &format!("{i}.img"), &options);
        let name = qemu_name(format);
        let said = run("qemu-img", &["compare", "-f", "raw", "-F", name, text(&source), text(&path)]);
        assert!(said.contains("identical"), "{format:?}: {said}");
        if matches!(format, Format::Qcow2 | Format::Vmdk) {
            run("qemu-img", &["check", "-f", name, text(&path)]);
        }
        let image = image::open(File::open(&path).unwrap(), None, &Backing::Refuse).unwrap();
        assert_eq!(qemu_name(image.format), name);
        assert!(bytes(&*image.disk) == std::fs::read(&source).unwrap(), "{format:?} is not read back");
        let alone = Options { threads: 1, ..options };
        let again = written(dir.path(), &source, &format!("{i}.again"), &alone);
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&again).unwrap(), "{format:?}: threads change bytes");
    }
}

#[test]
fn what_qemu_writes_is_read() {
    let dir = TempDir::new().unwrap();
    let source = sample(dir.path(), 70 << 20);
    let all: [&[&str]; 9] = [
        &["-O", "qcow2"],
        &["-O", "qcow2", "-o", "compat=0.10"],
        &["-O", "qcow2", "-c"],
        &["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
        &["-O", "qcow2", "-o", "cluster_size=512"],
        &["-O", "qcow2", "-c", "-o", "cluster_size=2M"],
        &["-O", "vpc", "-o", "subformat=fixed,force_size"],
        &["-O", "vpc", "-o", "subformat=dynamic,force_size"],
        &["-O", "vmdk", "-o", "subformat=streamOptimized"],
    ];
    let want = std::fs::read(&source).unwrap();
    for args in all {
        let path = dir.path().join("x");
        let mut line = vec!["convert", "-f", "raw"];
        line.extend(args);
        line.extend([text(&source), text(&path)]);
        run("qemu-img", &line);
        let image = image::open(File::open(&path).unwrap(), None, &Backing::Refuse).unwrap();
        assert!(bytes(&*image.disk) == want, "{args:?}");
    }
    run("qemu-img", &["convert", "-f", "raw", "-O", "vmdk", text(&source), text(&dir.path().join("y"))]);
    let image = image::open(File::open(dir.path().join("y")).unwrap(), None, &Backing::Refuse).unwrap();
    assert!(bytes(&*image.disk) == want);
}

#[test]
fn backing_files_only_by_leave() {
    let dir = TempDir::new().unwrap();
    let source = sample(dir.path(), 8 << 20);
    let at = |name: &str| dir.path().join(name);
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", text(&source), text(&at("absolute"))]);
    let make = |name: &str, back: &str| {
        run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", back, text(&at(name)), "16M"]);
    };
    run("qemu-img", &["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "source.raw", text(&at("a")), "16M"]);
    make("b", "a");
    make("circle", "circle");
    make("out", "../a");
    let open = |name: &str, backing: &Backing| image::open(File::open(at(name)).unwrap(), None, backing);
    let below = Backing::Below(dir.path().to_owned());
    let error = |name, backing| open(name, backing).unwrap_err().to_string();
    assert!(error("b", &Backing::Refuse).contains("not allowed"));
    assert!(error("absolute", &below).contains("outside"));
    assert!(error("out", &below).contains("outside"));
    assert!(error("circle", &below).contains("circle"));
    let mut want = std::fs::read(&source).unwrap();
    want.resize(16 << 20, 0);
    assert!(bytes(&*open("b", &below).unwrap().disk) == want);
}

#[test]
fn hostile_images_are_errors() {
    let dir = TempDir::new().unwrap();
    let source = sample(dir.path(), 8 << 20);
    for (format, head) in
        [(Format::Qcow2, 112), (Format::VhdDynamic, 1700), (Format::Vmdk, 600), (Format::VmdkStream, 80)]
    {
        let options = Options { compression: Some(Compression::Zlib), ..Options::new(format) };
        let path = written(dir.path(), &source, format.name(), &options);
        let good = std::fs::read(&path).unwrap();
        let places: Vec<usize> =
            (0..head).chain((0..8).map(|i| 65536 + i)).chain(good.len() - 600..good.len()).collect();
        let bad = File::options().read(true).write(true).open(&path).unwrap();
        for at in places {
            for value in [0x00, 0x7f, 0xff] {
                bad.try_clone().unwrap().write_at(&[value], at as u64).unwrap();
                // Nothing may panic or take long; an error or other bytes are both right.
                let Ok(image) = image::open(bad.try_clone().unwrap(), Some(format), &Backing::Refuse) else { continue };
                let mut buf = vec![0; 4096];
                for offset in [0, 1 << 20, 5_000_000, 8 << 20] {
                    let _ = image.disk.read_at(&mut buf, offset);
                    let _ = image.disk.data(offset);
                }
            }
            bad.try_clone().unwrap().write_at(&good[at..=at], at as u64).unwrap();
        }
        for len in [0, 3, 100, 511, 513, 70_000] {
            let mut cut = tempfile::tempfile().unwrap();
            cut.write_at(&good[..len], 0).unwrap();
            if let Ok(image) = image::open(cut, Some(format), &Backing::Refuse) {
                let _ = image.disk.read_exact_at(&mut [0; 4096], 5_000_000);
            }
        }
    }
}

#[test]
fn what_is_not_read_is_named() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    // qemu-img makes no encrypted ones where it cannot measure how long keys take; the header says which cipher there is.
    run("qemu-img", &["create", "-q", "-f", "qcow2", text(&at("luks")), "1M"]);
    let luks = std::fs::OpenOptions::new().write(true).open(at("luks")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&luks, &2_u32.to_be_bytes(), 32).unwrap();
    let data = format!("data_file={}", text(&at("data")));
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", &data, text(&at("external")), "1M"]);
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", text(&at("extended")), "1M"]);
    run("qemu-img", &["create", "-q", "-f", "vdi", text(&at("vdi")), "1M"]);
    run("qemu-img", &["create", "-q", "-f", "vhdx", text(&at("vhdx")), "1M"]);
    let want = [
        ("luks", "encryption"),
        ("external", "external data file"),
        ("extended", "extended L2"),
        ("vdi", "VDI"),
        ("vhdx", "VHDX"),
    ];
    for (name, what) in want {
        let error = image::open(File::open(at(name)).unwrap(), None, &Backing::Refuse).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("qemu-img"), "{name}: {error}");
    }
}

#[test]
fn tar_unpacks_what_google_imports() {
    let dir = TempDir::new().unwrap();
    let source = sample(dir.path(), 70 << 20);
    let path = written(dir.path(), &source, "disk.tar.gz", &Options { threads: 2, ..Options::new(Format::Gce) });
    let list = run("tar", &["-tvzf", text(&path)]);
    assert!(list.contains("1073741824") && list.contains("disk.raw"), "{list}");
    run("tar", &["-xzf", text(&path), "-C", text(dir.path())]);
    let said =
        try_run("qemu-img", &["compare", "-f", "raw", "-F", "raw", text(&source), text(&dir.path().join("disk.raw"))]);
    assert!(said.status.success(), "{said:?}");
    let again = written(dir.path(), &source, "2", &Options::new(Format::Gce));
    assert!(std::fs::read(&path).unwrap().len() == std::fs::read(&again).unwrap().len(), "threads change bytes");
}
