//! Unikernels as users name them: a file, or an image; and what is shown of them.

use std::path::Path;

use kiln_engine::EngineError;
use kiln_engine::images::MAX_DOCUMENT;
use kiln_engine::stored::{self, Found};
use kiln_engine::transfer::{Origin, Platforms};
use kiln_node::unikernel::{Files, carried, open};
use kiln_oci::{Index, Platform, Reference, media};
use kiln_unikernel::parcel::Place;
use kiln_unikernel::solo5::DeviceKind;
use kiln_unikernel::{Kernel, Monitor, Parcel};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::failed;
use crate::cli::Global;
use crate::error::{CliError, in_a_line};
use crate::named::{self, Chosen, PlatformOption};
use crate::options::RegistryOptions;
use crate::surroundings::Surroundings;

/// A kernel taken out of an image; its files are there as long as this is.
pub struct Taken {
    /// What people call the image.
    pub title: String,
    /// What it says.
    pub parcel: Parcel,
    /// Its files.
    pub files: Files,
    /// Which kernel it is.
    pub kernel: Kernel,
    _dir: TempDir,
}

/// Takes the kernel out of an image: of the store, else of its registry.
pub fn take(
    text: &str,
    monitor: Option<Monitor>,
    registry: &RegistryOptions,
    global: &Global,
) -> Result<Taken, CliError> {
    let (around, progress) = named::online(global, registry, false, "Reading")?;
    let found = match stored_or_none(stored::find(&around.store, text))? {
        Some(found) => found,
        None => {
            // Whatever is wrong with the name, a registry need not be asked for it.
            let reference = named::reference(text)?;
            named::mover(&around).pull(&reference, &Platforms::One(Platform::host()))?;
            stored::find(&around.store, text)?
        }
    };
    let image = image_for(&around, text, &found, monitor)?;
    let root = named::root(&around, &image)?;
    let parcel = carried::found(&image.title, &image.manifest, &image.config, &root).map_err(|e| failed(&e))?;
    let Some(parcel) = parcel else {
        let told = CliError::input(format!("image `{text}` says nothing of a unikernel in it"));
        return Err(told.with_hint("it is an image of a container; kiln node pack makes one of a kernel"));
    };
    let made = tempfile::Builder::new().prefix("kiln-unikernel-").tempdir();
    let dir = made.map_err(|e| CliError::environment(format!("cannot make a temporary directory: {e}")))?;
    let from = (&image.manifest, &root);
    let files = carried::take(&image.title, &parcel, from, (&around.store, &around.images), dir.path());
    let files = files.map_err(|e| failed(&e))?;
    let kernel = open::recognised(&files.kernel, "use").map_err(|e| failed(&e))?;
    progress.finish();
    Ok(Taken { title: image.title, parcel, files, kernel, _dir: dir })
}

/// What was found in the store, or none when nothing is called so: any other failure is none of a registry's, nor of a
/// template's that has this name.
fn stored_or_none(found: Result<Found, EngineError>) -> Result<Option<Found>, CliError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(EngineError::NoSuchImage(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The image for a monitor; without one said, for qemu, else for whatever there is.
fn image_for(around: &Surroundings, text: &str, found: &Found, monitor: Option<Monitor>) -> Result<Chosen, CliError> {
    let usual = || named::choose_of(around, found, &PlatformOption::default());
    if !media::is_index(&found.descriptor.media_type) {
        return usual();
    }
    let bytes = around.store.read_blob(&found.descriptor.digest, MAX_DOCUMENT)?;
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|e| CliError::input(format!("image `{text}`: its index cannot be read: {e}")))?;
    if !index.is_for_monitors() {
        return usual();
    }
    let have: Vec<&Platform> = index.manifests.iter().filter_map(|d| d.platform.as_ref()).collect();
    let here = Platform::host().architecture;
    let fits = |p: &Platform, monitor: Monitor| {
        Monitor::of_platform(&p.os) == Some(monitor) && p.normalise().architecture == here
    };
    let chosen = match monitor {
        Some(monitor) => have.iter().find(|p| fits(p, monitor)),
        None => have.iter().find(|p| fits(p, Monitor::Qemu)).or(have.first()),
    };
    match chosen {
        Some(chosen) => {
            let platform = Some(format!("{}/{}", chosen.os, chosen.normalise().architecture));
            named::choose_of(around, found, &PlatformOption { platform })
        }
        None => {
            let have: Vec<String> = have.iter().map(|platform| in_a_line(&platform.to_string())).collect();
            let monitor = monitor.map_or("", Monitor::name);
            Err(CliError::input(format!("image `{text}` has nothing for {monitor}; it has {}", have.join(", "))))
        }
    }
}

/// What is shown of the kernel in a file, or of what an image of the store says; nothing when it is neither.
pub fn described(target: &Path, global: &Global) -> Result<Option<String>, CliError> {
    if target.is_file() {
        if !open::looks_like_one(target).map_err(|e| failed(&e))? {
            return Ok(None);
        }
        let kernel = open::recognised(target, "read").map_err(|e| failed(&e))?;
        return Ok(Some(text(&rows(&kernel))));
    }
    // A template that is not there is told of as one.
    let template = target.extension().is_some_and(|e| e == "json" || e == "hcl");
    let is_name = |name: &&str| !template && !target.exists() && name.parse::<Reference>().is_ok();
    let Some(name) = target.to_str().filter(is_name) else { return Ok(None) };
    let (around, progress) = named::offline(global, true, "Reading")?;
    progress.finish();
    let Some(found) = stored_or_none(stored::find(&around.store, name))? else { return Ok(None) };
    let all = named::mover(&around).select(&Origin::Store, &found.title(), found.descriptor, &Platforms::All)?;
    let mut shown = Vec::new();
    for (descriptor, _) in all.manifests.iter().filter(|(_, manifest)| manifest.subject.is_none()) {
        let image = named::choose(&around, &descriptor.digest.to_string(), &PlatformOption::default())?;
        let said = carried::said(&image.title, &image.manifest, &image.config).map_err(|e| failed(&e))?;
        shown.extend(said.map(|parcel| text(&said_rows(&parcel))));
    }
    match shown.is_empty() {
        true => Err(CliError::input(format!("image `{name}` says nothing of a unikernel in it"))
            .with_hint(format!("kiln inspect {name} shows what it is"))),
        false => Ok(Some(shown.join("\n"))),
    }
}

type Row = (&'static str, String);

fn rows(kernel: &Kernel) -> Vec<Row> {
    let mut rows = vec![("kind", kernel.kind.to_string()), ("because", kernel.because.clone())];
    rows.extend(kernel.version.clone().map(|version| ("version", version)));
    rows.push(("architecture", kernel.architecture.to_owned()));
    rows.push(("entered by", kernel.boot.words()));
    if let Some(solo5) = &kernel.solo5 {
        rows.push(("target", format!("{} (ABI {})", solo5.target.name(), solo5.abi_version)));
        for device in &solo5.devices {
            let what = if device.kind == DeviceKind::Net { "network card" } else { "disk" };
            rows.push((what, device.name.clone()));
        }
    }
    rows.extend(kernel.line.clone().map(|line| ("command line", line)));
    let runs: Vec<&str> =
        Monitor::ALL.into_iter().filter(|m| kernel.runs_under(*m).is_ok()).map(Monitor::name).collect();
    rows.push(("runs under", if runs.is_empty() { "nothing that is known".to_owned() } else { runs.join(", ") }));
    rows.push(("size", format!("{} bytes", kernel.size)));
    rows
}

fn said_rows(parcel: &Parcel) -> Vec<Row> {
    let mut rows = vec![("packed for", parcel.form.name().to_owned()), ("kind", parcel.kind.to_string())];
    rows.extend(parcel.version.clone().map(|version| ("version", version)));
    rows.push(("monitor", parcel.monitor.to_string()));
    rows.push(("architecture", parcel.architecture.clone()));
    rows.push(("command line", parcel.line.clone()));
    rows.push(("kernel", place(&parcel.kernel)));
    rows.extend(parcel.initrd.as_ref().map(|at| ("initrd", place(at))));
    rows.extend(parcel.block.clone().map(|at| ("disk", at)));
    rows
}

fn place(place: &Place) -> String {
    match place {
        Place::Path(path) => path.clone(),
        Place::Perhaps(path) => format!("{path}, if it is there"),
        Place::Layer(number) => format!("layer {number}"),
    }
}

fn text(rows: &[Row]) -> String {
    let line = |(key, value): &Row| {
        let key = format!("{key}:");
        format!("{key:<14}{}", in_a_line(value)).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What an image says, as `kiln inspect` shows it.
pub fn json(parcel: &Parcel) -> Value {
    json!({
        "Format": parcel.form.name(),
        "Kind": parcel.kind.name(),
        "Version": parcel.version,
        "Monitor": parcel.monitor.name(),
        "CommandLine": parcel.line,
        "Kernel": place(&parcel.kernel),
        "Initrd": parcel.initrd.as_ref().map(place),
        "Disk": parcel.block,
    })
}

#[cfg(test)]
mod tests {
    use kiln_unikernel::Kind;
    use kiln_unikernel::parcel::Form;

    use super::*;

    #[test]
    fn what_an_image_says_forges_no_row() {
        let parcel = Parcel {
            form: Form::Kraftkit,
            kind: Kind::Other("a\u{1b}[2J".to_owned()),
            version: Some("1.0\nmonitor:      xen\u{202e}".to_owned()),
            monitor: Monitor::Qemu,
            line: "a \"b\\\" 'ü'".to_owned(),
            architecture: "amd64\rarm64".to_owned(),
            kernel: Place::Path("/k\nsize:         1 bytes".to_owned()),
            initrd: Some(Place::Perhaps("/i\u{85}\u{2028}".to_owned())),
            block: Some("/d\n".to_owned()),
            mounted: false,
        };
        insta::assert_snapshot!(text(&said_rows(&parcel)), @r#"
        packed for:   kraftkit
        kind:         a\u{1b}[2J
        version:      1.0\nmonitor:      xen\u{202e}
        monitor:      qemu
        architecture: amd64\rarm64
        command line: a "b\" 'ü'
        kernel:       /k\nsize:         1 bytes
        initrd:       /i\u{85}\u{2028}, if it is there
        disk:         /d\n
        "#);
    }

    #[test]
    fn only_what_is_not_there_is_asked_for_elsewhere() {
        let name = || "x".to_owned();
        assert!(stored_or_none(Err(EngineError::NoSuchImage(name()))).unwrap().is_none());
        let several = EngineError::Image { name: name(), message: "several images begin so: a, b".to_owned() };
        assert!(stored_or_none(Err(several)).unwrap_err().message().contains("several images begin so"));
        let broken = kiln_store::StoreError::ReadRefs { path: "/s".into(), source: std::io::Error::other("broken") };
        assert!(stored_or_none(Err(broken.into())).is_err());
    }
}
