//! `kiln node pack`: a unikernel made elsewhere becomes an image.

use std::path::PathBuf;

use kiln_engine::transfer::push::check_target;
use kiln_engine::transfer::{Origin, Platforms};
use kiln_node::unikernel::pack::{self, Wanted};
use kiln_oci::{Mtime, time};
use kiln_unikernel::Monitor;
use kiln_unikernel::parcel::Form;

use super::failed;
use crate::cli::Global;
use crate::cmd::copy::{self, Place};
use crate::error::{CliError, in_a_line};
use crate::named;
use crate::options::RegistryOptions;
use crate::surroundings::said_time;

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The kernel
    #[arg(value_name = "KERNEL")]
    kernel: PathBuf,
    /// The name of the image
    #[arg(short, long, value_name = "NAME")]
    tag: String,
    /// Files that the kernel gets: an initramfs, an application of Hermit
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// The application's arguments; a kernel that says nothing of its makers gets them as its command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    cmdline: String,
    /// For whom the image says what is in it
    #[arg(long, value_name = "FORMAT", value_parser = Form::NAMES, default_value = "urunc")]
    format: String,
    /// What runs it: qemu, firecracker, hvt, spt, xen [default: what the kernel says]
    #[arg(long, value_name = "MONITOR")]
    monitor: Option<Monitor>,
    /// What it is, where the kernel does not say: mewz, …
    #[arg(long, value_name = "NAME", value_parser = kind)]
    kind: Option<String>,
    /// Push it, too
    #[arg(long)]
    push: bool,
    /// Write it to a place, too: oci:DIR[:TAG], oci-archive:FILE, docker-archive:FILE
    #[arg(short, long, value_name = "PLACE")]
    output: Option<String>,
    /// How registries are reached.
    #[command(flatten)]
    registry: RegistryOptions,
}

const EXAMPLES: &str = "\
Examples:
  kiln node pack hello.spt -t hello                                 MirageOS: its notes say that spt runs it
  kiln node pack nginx_qemu-x86_64 --initrd root.cpio -t web \\
    --cmdline '-c /nginx.conf' --format kraftkit                    Unikraft, as kraftkit packs it
  kiln node pack loader.elf -t osv --cmdline '--rootfs=rofs /app'   OSv
  kiln node pack dns.elf -t registry.example/dns:1 --push           any kernel that qemu can start
  kiln node inspect hello; kiln node run hello

With SOURCE_DATE_EPOCH set, the image says that time; without, it says none. The same kernel gives the same image.";

fn kind(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if good { Ok(text.to_owned()) } else { Err("a kind has letters, digits and `-`".to_owned()) }
}

/// Runs the verb.
pub fn run(args: &Args, global: &Global) -> Result<(), CliError> {
    let name = named::reference(&args.tag)?;
    check_target(&name)?;
    let to = args.output.as_deref().map(|text| copy::parse(text, false)).transpose()?;
    let form = Form::named(&args.format).unwrap_or(Form::Urunc);
    match (&to, form) {
        (Some(Place::Registry(_) | Place::Store(_)), _) => {
            return Err(CliError::usage(
                "--output is a layout or an archive: oci:DIR, oci-archive:FILE, docker-archive:FILE",
            )
            .with_hint("--tag and --push name the store and a registry"));
        }
        (Some(Place::Archive { docker: true, .. }), Form::Kraftkit) => {
            return Err(CliError::usage(
                "docker's archives hold images of containers, and kraftkit's are an index for monitors",
            )
            .with_hint("use oci-archive:FILE, or --format urunc"));
        }
        _ => {}
    }
    let created = said_time()?.map(|seconds| time::rfc3339(Mtime::secs(seconds)));
    let wanted = Wanted {
        kernel: args.kernel.clone(),
        initrd: args.initrd.clone(),
        line: args.cmdline.clone(),
        form,
        monitor: args.monitor,
        kind: args.kind.clone(),
        name: Some(named::repository(&name)),
        maker: format!("kiln-{}", env!("CARGO_PKG_VERSION")),
        created,
    };
    let (around, progress) = named::online(global, &args.registry, false, "Packing")?;
    let mover = named::mover(&around);
    let made = pack::pack(&mover, &wanted).map_err(|e| failed(&e))?;
    around.store.set_ref(&name.to_string(), &made.root)?;
    if args.push || to.is_some() {
        let title = name.familiar();
        let selection = mover.select(&Origin::Store, &title, made.root.clone(), &Platforms::All)?;
        if let Some(to) = &to {
            copy::write(&mover, &selection, vec![name.clone()], to)?;
        }
        if args.push {
            mover.push(&selection, &name)?;
        }
    }
    progress.finish();
    let version = made.parcel.version.as_ref().map(|v| format!(" {v}")).unwrap_or_default();
    let told = format!("{}{version}, for {}: {}", made.parcel.kind, made.parcel.monitor, made.kernel.because);
    eprintln!("{}", in_a_line(&told));
    for warning in &made.warnings {
        eprintln!("warning: {}", in_a_line(warning));
    }
    named::print(&format!("{}\n", made.root.digest))
}
