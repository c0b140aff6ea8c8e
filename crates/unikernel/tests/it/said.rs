//! What images say of kernels, in both ways.

use base64_of::base64;
use kiln_oci::manifest::Annotations;
use kiln_oci::{Descriptor, ImageConfig, Manifest, Platform, media};
use kiln_unikernel::parcel::{Form, Place};
use kiln_unikernel::{Kind, Monitor, Parcel, kraftkit, urunc};

/// Base64 by hand, so that it is not checked by itself.
mod base64_of {
    pub fn base64(text: &str) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let letter = |bits: u32| char::from(LETTERS[(bits & 63) as usize]);
        let mut out = String::new();
        for chunk in text.as_bytes().chunks(3) {
            let at = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
            let bits = at(0) << 16 | at(1) << 8 | at(2);
            let four: String = [bits >> 18, bits >> 12, bits >> 6, bits].into_iter().map(letter).collect();
            out += &four[..=chunk.len()];
            out += &"=".repeat(3 - chunk.len());
        }
        out
    }
}

fn parcel(form: Form) -> Parcel {
    Parcel {
        form,
        kind: Kind::Unikraft,
        version: Some("0.17.0".to_owned()),
        monitor: Monitor::Qemu,
        line: "-c /nginx.conf".to_owned(),
        architecture: "amd64".to_owned(),
        kernel: Place::Path("/.boot/kernel".to_owned()),
        initrd: Some(Place::Path("/.boot/rootfs".to_owned())),
        block: None,
        mounted: false,
    }
}

fn said(pairs: &[(&str, &str)]) -> Annotations {
    pairs.iter().map(|(key, value)| (format!("com.urunc.unikernel.{key}"), (*value).to_owned())).collect()
}

const WHOLE: [(&str, &str); 3] = [("unikernelType", "mirage"), ("hypervisor", "spt"), ("binary", "/kernel")];

#[test]
fn urunc_gets_the_keys_it_wants_and_they_come_back() {
    let parcel = parcel(Form::Urunc);
    let written = urunc::annotations(&parcel);
    let wanted = said(&[
        ("unikernelType", "unikraft"),
        ("unikernelVersion", "0.17.0"),
        ("hypervisor", "qemu"),
        ("binary", "/.boot/kernel"),
        ("cmdline", "-c /nginx.conf"),
        ("initrd", "/.boot/rootfs"),
        ("mountRootfs", "false"),
    ]);
    assert_eq!(written, wanted);
    assert_eq!(urunc::read(&written, "amd64").unwrap(), parcel);
    let file: serde_json::Value = serde_json::from_slice(&urunc::file(&parcel)).unwrap();
    for (key, value) in &wanted {
        assert_eq!(file[key], base64(value), "{key}");
    }
    assert_eq!(urunc::read_file(&urunc::file(&parcel)).unwrap(), wanted);
}

#[test]
fn annotations_in_base64_are_read_as_older_builders_wrote_them() {
    let encoded: Annotations = said(&WHOLE).into_iter().map(|(key, value)| (key, base64(&value))).collect();
    let parcel = urunc::read(&encoded, "amd64").unwrap();
    assert_eq!((parcel.kind, parcel.monitor), (Kind::Solo5, Monitor::Spt));
    let marked = said(&WHOLE).into_iter().map(|(key, value)| (key, format!("b64:{}", base64(&value))));
    let file = serde_json::to_vec(&marked.collect::<Annotations>()).unwrap();
    assert_eq!(urunc::read_file(&file).unwrap(), said(&WHOLE));
}

#[test]
fn what_makes_no_sense_is_told_with_its_key() {
    let with = |key: &str, value: &str| {
        let mut all = said(&WHOLE);
        all.insert(format!("com.urunc.unikernel.{key}"), value.to_owned());
        urunc::read(&all, "amd64").unwrap_err().to_string()
    };
    assert!(
        with("binary", "../../etc/shadow").starts_with("com.urunc.unikernel.binary: `../../etc/shadow` is no path")
    );
    assert!(with("binary", "/").contains("it names the root"));
    assert!(with("binary", "").contains("it is not there, and has to be"));
    assert!(with("initrd", "a//b").contains("com.urunc.unikernel.initrd"));
    assert!(with("hypervisor", "hyperlight").contains("`hyperlight` is none of qemu, firecracker, hvt, spt, xen"));
    assert!(with("cmdline", "a\nb").contains("control character"));
    assert!(with("cmdline", &"x".repeat(20_000)).contains("has 20000 bytes"));
    assert!(with("unikernelType", "a b").contains("is no word"));
    let file = |text: &str| urunc::read_file(text.as_bytes()).unwrap_err().to_string();
    assert!(file("{").starts_with("/urunc.json: "));
    assert!(file("[]").contains("it is no object"));
    assert!(file(r#"{"com.urunc.unikernel.binary":1}"#).contains("is no text"));
    assert!(
        file(r#"{"com.urunc.unikernel.binary":"%%"}"#).contains("com.urunc.unikernel.binary: its value is not base64")
    );
    assert!(file(r#"{"com.urunc.unikernel.binary":"/w=="}"#).contains("not text"));
}

fn image(config: ImageConfig, layers: Vec<Descriptor>, annotations: Annotations) -> (Manifest, ImageConfig) {
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::OCI_MANIFEST.to_owned()),
        artifact_type: None,
        config: Descriptor::of(media::OCI_CONFIG, b"{}"),
        layers,
        subject: None,
        annotations,
    };
    (manifest, config)
}

#[test]
fn kraftkit_gets_its_platform_and_annotations() {
    let parcel = Parcel { monitor: Monitor::Firecracker, ..parcel(Form::Kraftkit) };
    let platform = kraftkit::platform(&parcel).unwrap();
    assert_eq!(
        serde_json::to_value(&platform).unwrap(),
        serde_json::json!({
            "architecture": "x86_64", "os": "fc", "os.version": "0.17.0",
        })
    );
    let said = kraftkit::annotations(&parcel, Some("unikraft.org/nginx"), "kiln-1").unwrap();
    assert_eq!(said["sh.kraftkit.version"], "kiln-1");
    assert_eq!(said["org.unikraft.image.name"], "unikraft.org/nginx");
    assert_eq!((&*said["org.unikraft.kernel.arch"], &*said["org.unikraft.kernel.plat"]), ("x86_64", "fc"));
    let spt = Parcel { monitor: Monitor::Spt, ..parcel };
    assert!(kraftkit::platform(&spt).unwrap_err().to_string().contains("pack it for urunc"));
}

#[test]
fn images_of_kraftkit_are_read_with_layers_of_both_kinds() {
    let mut config = ImageConfig::scratch(&Platform { architecture: "x86_64".into(), .."qemu/amd64".parse().unwrap() });
    config.config.cmd = Some(vec!["-c".to_owned(), "/nginx.conf".to_owned()]);
    let mut layer = Descriptor::of(media::OCI_LAYER, b"tar");
    layer.annotations.insert("org.unikraft.kernel.image".to_owned(), "/unikraft/bin/kernel".to_owned());
    let (manifest, config) = image(config, vec![layer], Annotations::new());
    assert!(kraftkit::is_one(&manifest, &config));
    let parcel = kraftkit::read(&manifest, &config).unwrap();
    assert_eq!((parcel.monitor, &*parcel.line, &*parcel.architecture), (Monitor::Qemu, "-c /nginx.conf", "amd64"));
    assert_eq!(parcel.kernel, Place::Path("/unikraft/bin/kernel".to_owned()));
    assert_eq!(parcel.initrd, Some(Place::Perhaps("unikraft/bin/initrd".to_owned())));
    let raw = ["application/vnd.unikraft.initrd.v1", "application/vnd.unikraft.kernel.v1+gzip"];
    let (manifest, config) = image(config, raw.map(|kind| Descriptor::of(kind, b"x")).to_vec(), Annotations::new());
    let parcel = kraftkit::read(&manifest, &config).unwrap();
    assert_eq!((parcel.kernel, parcel.initrd), (Place::Layer(1), Some(Place::Layer(0))));
    for key in ["org.unikraft.kernel.image", "org.unikraft.kernel.initrd"] {
        let mut layer = Descriptor::of(media::OCI_LAYER, b"tar");
        layer.annotations.insert(key.to_owned(), "../files".to_owned());
        let (manifest, config) = image(config.clone(), vec![layer], Annotations::new());
        let told = kraftkit::read(&manifest, &config).unwrap_err().to_string();
        assert!(told.starts_with(&format!("{key}: `../files` is no path in an image")), "{told}");
    }
    let (plain, config) = image(ImageConfig::scratch(&Platform::linux("amd64")), Vec::new(), Annotations::new());
    assert!(!kraftkit::is_one(&plain, &config));
    assert!(kraftkit::read(&plain, &config).unwrap_err().to_string().contains("its system is `linux`"));
}
