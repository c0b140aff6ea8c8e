//! A template with the options that all verbs share, and the world as it sees it.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kiln_node::ui::Masks;
use kiln_packer::fault::Fault;
use kiln_packer::hcl2::{self, Files, SharedWorld};
use kiln_packer::machine::{self, Record};
use kiln_packer::model::Template;
use kiln_packer::world::{Answer, Given, Request, World};
use kiln_spec::source::Source;

use crate::error::{self, CliError};

/// As large a template, or a file that it reads, may be.
pub const MAX_FILE: u64 = 64 << 20;

/// Options about what a template means.
#[derive(Debug, clap::Args)]
pub struct TemplateOptions {
    /// A variable's value (repeat); the last one counts
    #[arg(long, value_name = "NAME=VALUE")]
    var: Vec<String>,
    /// A file of variables (repeat)
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
    /// Only these builds, and post-processors of these names
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    only: Vec<String>,
    /// All builds but these, also of those that -only names
    #[arg(long, value_name = "GLOB,…", value_delimiter = ',')]
    except: Vec<String>,
    /// The template: a file, a directory of *.pkr.hcl files, or - for JSON on standard input
    #[arg(value_name = "TEMPLATE")]
    template: PathBuf,
}

/// The machine that a template is read on.
struct Here {
    now: i64,
    random: u128,
    directory: String,
}

impl Here {
    fn new() -> Result<Here, CliError> {
        let bytes = random()?;
        let directory = std::env::current_dir()
            .map_err(|e| CliError::environment(format!("the working directory cannot be found: {e}")))?;
        Ok(Here { now: now(), random: u128::from_ne_bytes(bytes), directory: directory.display().to_string() })
    }
}

impl World for Here {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn random(&self) -> u128 {
        self.random
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        read(Path::new(path)).map_err(|e| e.to_string())
    }

    fn working_directory(&self) -> String {
        self.directory.clone()
    }

    fn fetch(&self, request: &Request) -> Result<Answer, String> {
        super::data::fetch(request)
    }

    fn is_file(&self, path: &str) -> Result<bool, String> {
        match std::fs::metadata(path) {
            Ok(meta) => Ok(meta.is_file()),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(e) => Err(e.to_string()),
        }
    }

    fn files(&self, path: &str, limit: usize) -> Result<Vec<String>, String> {
        let (mut found, mut open) = (Vec::new(), vec![String::new()]);
        while let Some(below) = open.pop() {
            for entry in std::fs::read_dir(Path::new(path).join(&below)).map_err(|e| e.to_string())? {
                let entry = entry.map_err(|e| e.to_string())?;
                let name =
                    entry.file_name().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?;
                let name = if below.is_empty() { name } else { format!("{below}/{name}") };
                // Directories behind links are not entered, so that there is an end.
                match entry.file_type().map_err(|e| e.to_string())?.is_dir() {
                    true => open.push(name),
                    false => found.push(name),
                }
                if found.len() + open.len() > limit {
                    return Err(format!("it holds more than {limit} files"));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// What the clock says, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Random bytes of the system.
pub fn random() -> Result<[u8; 16], CliError> {
    use std::io::Read;
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|e| CliError::environment(format!("the system gives no random numbers: {e}")))?;
    Ok(bytes)
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    bounded(std::fs::File::open(path)?)
}

fn bounded(from: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(std::io::Error::other("it is larger than 64 MiB")),
        false => Ok(bytes),
    }
}

/// A template's file; `-` is standard input.
pub fn source(path: &Path) -> Result<Arc<Source>, CliError> {
    let piped = path == Path::new("-");
    let name = if piped { "standard input".to_owned() } else { path.display().to_string() };
    let bytes = if piped { bounded(std::io::stdin().lock()) } else { read(path) };
    let bytes = bytes.map_err(|e| CliError::input(format!("cannot read {name}: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|_| CliError::input(format!("{name} is not UTF-8")))?;
    Ok(Arc::new(Source { name, text }))
}

/// Reads the template; or says what is wrong with it.
fn load(options: &TemplateOptions) -> Result<Result<Template, Vec<Fault>>, CliError> {
    let given =
        Given { only: options.only.clone(), except: options.except.clone(), ..given(&options.var, &options.var_file)? };
    let path = &options.template;
    if is_hcl(path) {
        let (files, world) = hcl(path)?;
        return Ok(hcl2::load(&files, &given, &world));
    }
    Ok(kiln_packer::json::load(&source(path)?, &given, &Here::new()?))
}

/// What the command line says about variables.
pub fn given(vars: &[String], files: &[PathBuf]) -> Result<Given, CliError> {
    let mut given = Given { packer_version: PACKER_VERSION.to_owned(), ..Given::default() };
    for text in vars {
        let Some((name, value)) = text.split_once('=') else {
            return Err(CliError::usage("-var: expected NAME=VALUE"));
        };
        given.vars.push((name.to_owned(), value.to_owned()));
    }
    for path in files {
        given.var_files.push(source(path)?);
    }
    Ok(given)
}

/// This machine, as templates ask it.
pub fn world() -> Result<SharedWorld, CliError> {
    Ok(Arc::new(Here::new()?))
}

/// HCL2 is told by its name, and by being a directory.
pub fn is_hcl(path: &Path) -> bool {
    let name = path.to_string_lossy();
    path.is_dir() || name.ends_with(".pkr.hcl") || name.ends_with(".pkr.json")
}

/// The files of a template in HCL2, and the world it asks.
pub fn hcl(path: &Path) -> Result<(Files, SharedWorld), CliError> {
    let world: SharedWorld = Arc::new(Here::new()?);
    let name = path.to_str().ok_or_else(|| CliError::input(format!("{} is not UTF-8", path.display())))?;
    Ok((Files::gather(name, &*world).map_err(CliError::input)?, world))
}

/// The version of Packer that templates are told, and whose constraints they may set.
pub const PACKER_VERSION: &str = "1.9.5";

/// Shows what is wrong with a template, all of it.
pub fn mistakes(found: Vec<Fault>) -> CliError {
    Teller::default().mistakes(&found)
}

/// Shows faults on standard error.
pub fn tell(found: &[Fault]) {
    Teller::default().tell(found);
}

/// How mistakes of a template are told.
#[derive(Debug, Clone, Default)]
pub struct Teller {
    /// For programs: as records on standard output, where they look for them.
    pub machine: bool,
    /// What must not be seen, once that is known.
    pub masks: Masks,
}

impl Teller {
    /// Reads the template, tells its warnings, and from then on hides what is sensitive in it.
    ///
    /// # Errors
    /// Its mistakes were told.
    pub fn load(&mut self, options: &TemplateOptions) -> Result<Template, CliError> {
        let template = match load(options)? {
            Ok(template) => template,
            Err(found) => return Err(self.mistakes(&found)),
        };
        self.masks = Masks::new(template.sensitive.iter().map(|value| &**value));
        self.tell(&template.warnings);
        Ok(template)
    }

    /// Tells what is wrong, all of it.
    pub fn mistakes(&self, found: &[Fault]) -> CliError {
        self.tell(found);
        CliError::Told { code: 1 }
    }

    /// Tells faults.
    pub fn tell(&self, found: &[Fault]) {
        let color = error::in_color() && !self.machine;
        for fault in found {
            let text = self.masks.apply(fault.render(color).trim_end());
            if !self.machine {
                eprintln!("{text}");
                continue;
            }
            let kind = if fault.is_error() { "error" } else { "say" };
            self.record(kind, &text);
        }
    }

    /// A line of the user interface as a record.
    pub fn record(&self, kind: &str, text: &str) {
        let line = machine::line(now(), &Record::new("ui", [kind, text]));
        // Nothing can be done about a reader that is gone.
        let _ = std::io::stdout().write_all(line.as_bytes());
    }
}
