//! Kernels made elsewhere, and what images say of them: the first byte chooses between a file, urunc's file, and an image in
//! kraftkit's way.

use std::io::Cursor;

use kiln_oci::{ImageConfig, Manifest};
use kiln_unikernel::parcel::Place;
use kiln_unikernel::{Kind, Monitor, Parcel, kraftkit, line, recognise, urunc};

/// Reads it.
pub fn run(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    match first % 3 {
        0 => file(rest),
        1 => {
            let Ok(said) = urunc::read_file(rest) else { return };
            assert!(said.keys().all(|key| key.starts_with(urunc::PREFIX)));
            let Ok(parcel) = urunc::read(&said, "amd64") else { return };
            // What was read and is written again reads the same.
            let again = urunc::read_file(&urunc::file(&parcel)).expect("its own file");
            assert_eq!(urunc::read(&again, "amd64").expect("its own words"), parcel);
            said_well(&parcel);
        }
        _ => {
            let mut parts = rest.splitn(2, |b| *b == 0);
            let (Some(manifest), Some(config)) = (parts.next(), parts.next()) else { return };
            let manifest: Result<Manifest, _> = serde_json::from_slice(manifest);
            let config: Result<ImageConfig, _> = serde_json::from_slice(config);
            let (Ok(manifest), Ok(config)) = (manifest, config) else { return };
            if let Ok(parcel) = kraftkit::read(&manifest, &config) {
                assert!(kraftkit::is_one(&manifest, &config));
                said_well(&parcel);
            }
        }
    }
}

fn file(bytes: &[u8]) {
    let Ok(kernel) = recognise(&mut Cursor::new(bytes)) else { return };
    assert_eq!(recognise(&mut Cursor::new(bytes)).expect("reading is a function"), kernel);
    assert_eq!(kernel.size, bytes.len() as u64);
    assert!(!kernel.because.chars().any(char::is_control), "{kernel:?}");
    let runs = |monitor: &Monitor| kernel.runs_under(*monitor).is_ok();
    assert_eq!(kernel.monitor().ok(), Monitor::ALL.into_iter().find(runs));
    assert!(kernel.solo5.is_none_or(|s| s.devices.len() <= 64));
}

fn said_well(parcel: &Parcel) {
    if let Place::Path(path) = &parcel.kernel {
        assert!(!path.contains("..") || !path.split('/').any(|part| part == ".."), "{path}");
    }
    for kind in [Kind::Unikraft, Kind::Linux, Kind::Rumprun, Kind::Hermit, parcel.kind.clone()] {
        let version = parcel.version.as_deref();
        let guest = line::Guest { kind: &kind, version, solo5: None, net: Some(&line::QEMU), initrd: true };
        let whole = line::compose(&guest, &parcel.line).expect("what was read is a line");
        assert!(!whole.chars().any(char::is_control), "{whole:?}");
    }
}
