//! Provisioners: what a template's blocks do to a target.
//!
//! [`shell`] scripts there    [`file`] files there and back    [`local`] scripts here    [`pause`] `sleep`, `breakpoint`
//! [`ansible`] `ansible-local`    [`ansible_ssh`] `ansible`
//! [`environment`] variables for scripts    [`arguments`] what must not be among those of programs
//! [`verify`] profiles that must pass
//! [`own`] Kiln's: time zone, swap, kernel parameters, name servers, repositories, images, kernel
//!
//! A block is parsed strictly, before anything runs and once more with the facts of its machine.
//!
//! Adding a provisioner: its module, its variant of [`Provisioner`], its row in [`KINDS`].

pub mod ansible;
pub mod ansible_ssh;
pub mod arguments;
pub mod environment;
pub mod file;
pub mod local;
pub mod own;
pub mod pause;
pub mod shell;
pub mod verify;

use kiln_packer::config::Config;
use kiln_packer::fields::Fields;
use kiln_packer::model::{Block, BuildFacts};
use kiln_packer::render::Text;
use kiln_sandbox::Cancel;

use crate::error::{NodeError, Result};
use crate::images::Images;
use crate::run::ask::Asker;
use crate::target::Target;
use crate::ui::BuildUi;

/// What a provisioner works with.
pub struct Stage<'a> {
    /// Where it says what it does.
    pub ui: &'a BuildUi,
    /// What it changes.
    pub target: &'a mut dyn Target,
    /// What is known of the build.
    pub facts: &'a BuildFacts,
    /// The name of the build.
    pub build: &'a str,
    /// The type of its builder.
    pub kind: &'a str,
    /// Stops what runs here.
    pub cancel: &'a Cancel,
    /// Who answers questions.
    pub asker: &'a dyn Asker,
    /// Where container images come from.
    pub images: &'a dyn Images,
    /// The position of the block among the build's, for names that must differ.
    pub position: usize,
}

/// A provisioner, parsed.
pub enum Provisioner {
    /// `shell`.
    Shell(shell::Shell),
    /// `file`.
    File(file::File),
    /// `shell-local`.
    Local(local::Local),
    /// `sleep`.
    Sleep(pause::Sleep),
    /// `breakpoint`.
    Breakpoint(pause::Breakpoint),
    /// `ansible-local`.
    AnsibleLocal(ansible::AnsibleLocal),
    /// `ansible`.
    Ansible(ansible_ssh::Ansible),
    /// `kiln-verify`.
    Verify(verify::Verify),
    /// `kiln-preload`.
    Preload(own::Preload),
    /// `kiln-headers`.
    Headers(own::Headers),
    /// One of Kiln's own.
    Own(own::Own),
}

/// Parses a configuration.
type Parse = fn(&Config) -> Result<Provisioner>;

/// Types of provisioners.
pub const KINDS: [(&str, Parse); 16] = [
    ("shell", |c| shell::Shell::parse(c).map(Provisioner::Shell)),
    ("file", |c| file::File::parse(c).map(Provisioner::File)),
    ("shell-local", |c| local::Local::parse(c).map(Provisioner::Local)),
    ("sleep", |c| pause::Sleep::parse(c).map(Provisioner::Sleep)),
    ("breakpoint", |c| pause::Breakpoint::parse(c).map(Provisioner::Breakpoint)),
    ("ansible-local", |c| ansible::AnsibleLocal::parse(c).map(Provisioner::AnsibleLocal)),
    ("ansible", |c| ansible_ssh::Ansible::parse(c).map(Provisioner::Ansible)),
    ("kiln-verify", |c| verify::Verify::parse(c).map(Provisioner::Verify)),
    ("kiln-timezone", |c| own::timezone(c).map(Provisioner::Own)),
    ("kiln-swap", |c| own::swap(c).map(Provisioner::Own)),
    ("kiln-sysctl", |c| own::sysctl(c).map(Provisioner::Own)),
    ("kiln-dns", |c| own::dns(c).map(Provisioner::Own)),
    ("kiln-repository", |c| own::repository(c).map(Provisioner::Own)),
    ("kiln-preload", |c| own::preload(c).map(Provisioner::Preload)),
    ("kiln-headers", |c| own::headers(c).map(Provisioner::Headers)),
    ("kiln-kernel", |c| own::kernel(c).map(Provisioner::Own)),
];

/// Types that Packer has and Kiln has not, and why.
const ABSENT: [(&str, &str); 7] = [
    ("powershell", "it is for Windows guests"),
    ("windows-shell", "it is for Windows guests"),
    ("windows-restart", "it is for Windows guests"),
    ("chef-solo", "it was taken out of Packer"),
    ("puppet-masterless", "it was taken out of Packer"),
    ("salt-masterless", "it was taken out of Packer"),
    ("hcp-sbom", "it talks to HashiCorp's cloud; `kiln sbom` lists what is installed"),
];

/// Parses a block, with what is known when it is about to run.
///
/// # Errors
/// When its type is not known, or its configuration has mistakes.
pub fn parse(block: &Block, facts: &BuildFacts) -> Result<Provisioner> {
    let Some((_, parse)) = KINDS.iter().find(|(kind, _)| *kind == block.kind) else {
        return Err(unknown(block));
    };
    parse(&block.config(facts)?)
}

fn unknown(block: &Block) -> NodeError {
    let kind = &block.kind;
    if let Some((_, why)) = ABSENT.iter().find(|(name, _)| name == kind) {
        let message = format!("the provisioner `{kind}` is not supported: {why}");
        return block.place.error("UnsupportedProvisioner", message).into();
    }
    let fault = block.place.error("UnknownProvisioner", format!("there is no provisioner `{kind}`"));
    fault.suggest(kind, KINDS.iter().map(|(name, _)| *name)).into()
}

impl Provisioner {
    /// Does it.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, stage: &mut Stage<'_>) -> Result<()> {
        match self {
            Provisioner::Shell(shell) => shell.run(stage),
            Provisioner::File(file) => file.run(stage),
            Provisioner::Local(local) => local.run(&local::Place::of(stage), stage.cancel),
            Provisioner::Sleep(sleep) => sleep.run(stage),
            Provisioner::Breakpoint(breakpoint) => breakpoint.run(stage),
            Provisioner::AnsibleLocal(ansible) => ansible.run(stage),
            Provisioner::Ansible(ansible) => ansible.run(stage),
            Provisioner::Verify(verify) => verify.run(stage),
            Provisioner::Preload(preload) => preload.run(stage),
            Provisioner::Headers(headers) => headers.run(stage),
            Provisioner::Own(own) => own.run(stage),
        }
    }
}

/// A text with the values that are known only now.
///
/// # Errors
/// When an action in it fails.
pub fn render(text: &Text, data: &[(&str, &str)]) -> Result<String> {
    Ok(text.render(data)?)
}

/// Ends decoding: what nobody asked for is a mistake.
///
/// # Errors
/// Keys that nobody knows.
pub fn finish(fields: Fields<'_>) -> Result<()> {
    Ok(fields.finish()?)
}
