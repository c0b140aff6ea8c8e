//! What a build's result must be: profiles asked of it before it is one.
//!
//! The files are judged as soon as the provisioners are through with them, and a disk that comes of them, too: whether it
//! boots. A profile that fails fails the build, and so does one that could not be checked.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;

use kiln_checks::profile::find::FindError;
use kiln_checks::report::file::Form;
use kiln_checks::report::text;
use kiln_checks::{Profile, Report, System};

use crate::artifact::Artifact;
use crate::disk::Disk;
use crate::error::{NodeError, Result};
use crate::target::Target;
use crate::ui::BuildUi;

/// The profile that every disk is asked for.
pub const DISK: &str = "disk";

/// What is asked, and where the answers go.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// Checks that only warn, by name or id.
    pub ignored: Vec<String>,
    /// Files that get the report.
    pub reports: Vec<PathBuf>,
}

/// Why there is no such wish.
#[derive(Debug, thiserror::Error)]
pub enum WishError {
    /// A profile is not there.
    #[error(transparent)]
    Profile(#[from] FindError),
    /// The ending of a report's file says no form.
    #[error("the report {path}: the ending says in which form it is written")]
    Form {
        /// Which file.
        path: String,
    },
    /// There are reports, and nothing that they could be of.
    #[error("a report needs a profile")]
    NoProfile,
}

impl WishError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            WishError::Profile(e) => e.hint(),
            WishError::Form { .. } => Some(format!("use {}", Form::ENDINGS)),
            WishError::NoProfile => Some("the profiles: kiln node verify --list".to_owned()),
        }
    }
}

impl Wish {
    /// From names of profiles and paths of reports.
    ///
    /// # Errors
    /// When a profile is not there or has mistakes, or the ending of a report says nothing.
    pub fn of(profiles: &[String], ignored: &[String], reports: &[PathBuf]) -> Result<Wish, WishError> {
        if profiles.is_empty() && !reports.is_empty() {
            return Err(WishError::NoProfile);
        }
        if let Some(path) = reports.iter().find(|path| Form::of(path).is_none()) {
            return Err(WishError::Form { path: path.display().to_string() });
        }
        let profiles = profiles.iter().map(|name| Profile::find(name)).collect::<Result<_, _>>()?;
        Ok(Wish { profiles, ignored: ignored.to_vec(), reports: reports.to_vec() })
    }

    /// Judges a system; a disk also by whether it boots.
    pub fn judge(&self, system: &dyn System) -> Report {
        let mut profiles = self.profiles.clone();
        if system.media().is_some() && !profiles.iter().any(|profile| profile.name == DISK) {
            profiles.extend(Profile::built_in(DISK));
        }
        kiln_checks::verify(system, &profiles, &self.ignored)
    }

    /// Writes the report to all files it is to be in.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn write(&self, report: &Report) -> Result<()> {
        self.reports.iter().try_for_each(|path| report.write(path).map_err(NodeError::file("write", path)))
    }

    /// The same for one of several builds, which must not write over each other's reports: `report.html` becomes
    /// `report-NAME.html`.
    #[must_use]
    pub fn of_build(&self, name: &str) -> Wish {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = name.chars().map(plain).collect();
        let own = |path: &PathBuf| {
            let part = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
            path.with_file_name(format!("{}-{name}.{}", part(path.file_stem()), part(path.extension())))
        };
        Wish { reports: self.reports.iter().map(own).collect(), ..self.clone() }
    }

    /// Judges what provisioners made, shows the report and writes it.
    ///
    /// # Errors
    /// When it is not as it must be, or that cannot be told.
    pub fn enforce(&self, system: &dyn System, ui: &BuildUi) -> Result<Report> {
        let report = self.judge(system);
        self.write(&report)?;
        shown(&report).lines().for_each(|line| ui.message(line));
        passed(&report).map(|()| report)
    }

    /// Judges the files of a build before a result is made of them; `None` when only the result is asked about.
    ///
    /// # Errors
    /// When they are not as they must be, or that cannot be told.
    pub fn of_files(&self, target: &mut dyn Target, ui: &BuildUi) -> Result<Option<Report>> {
        // Files alone say nothing of how a disk boots.
        let mut of_files = self.clone();
        of_files.profiles.retain(|profile| profile.name != DISK);
        if of_files.profiles.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = of_files.profiles.iter().map(|profile| &*profile.name).collect();
        ui.say(&format!("Verifying: {}", names.join(", ")));
        let mut report = None;
        target.system(&mut |system| {
            report = Some(of_files.enforce(system, ui)?);
            Ok(())
        })?;
        Ok(report)
    }

    /// Judges a disk that is not where it shall be yet.
    ///
    /// # Errors
    /// The report, when it is not as it must be; or why it cannot be read.
    pub fn inspect(&self, disk: &File, title: &str) -> Result<(), String> {
        let disk = disk.try_clone().map_err(|e| e.to_string())?;
        let disk = Disk::of_file(disk, title).map_err(|e| e.to_string())?;
        let report = self.judge(&disk);
        self.write(&report).map_err(|e| e.to_string())?;
        passed(&report).map_err(|_| shown(&report))
    }

    /// Judges the disks among what a build made by whether they boot; and by all that is asked where the files were those of
    /// a machine that ran: of one, what matters for an image alone is not asked. The report then is of both.
    ///
    /// # Errors
    /// When one is not as it must be, or cannot be read; or there is none, and the profile for disks is asked for.
    pub fn of_result(&self, made: Option<&Artifact>, files: Option<Report>, ran: bool, ui: &BuildUi) -> Result<()> {
        let wish = if ran { self.clone() } else { Wish::boots() };
        let mut whole = files;
        let mut any = false;
        for file in made.iter().flat_map(|artifact| &artifact.files).filter(|file| file.is_file()) {
            if !Disk::is_one(file)? {
                continue;
            }
            any = true;
            let report = wish.judge(&Disk::open(file, &file.display().to_string())?);
            shown(&report).lines().for_each(|line| ui.message(line));
            match &mut whole {
                Some(whole) => whole.add(&report),
                None => whole = Some(report.clone()),
            }
            whole.iter().try_for_each(|whole| self.write(whole))?;
            passed(&report)?;
        }
        match !any && self.profiles.iter().any(|profile| profile.name == DISK) {
            false => Ok(()),
            true => Err(NodeError::Unsupported {
                what: "the profile `disk` is asked for, and the result is no disk".to_owned(),
                hint: Some("-format qcow2, raw, vhd, vmdk or gce makes one".to_owned()),
            }),
        }
    }

    /// That a disk boots, and nothing else.
    fn boots() -> Wish {
        Wish { profiles: Profile::built_in(DISK).into_iter().collect(), ..Wish::default() }
    }
}

fn shown(report: &Report) -> String {
    text::render(report, text::Options { color: false, all: false })
}

/// Whether a report lets a build go on.
fn passed(report: &Report) -> Result<()> {
    if report.code() == 0 {
        return Ok(());
    }
    let counts = report.counts();
    let what = match counts.errors {
        0 => format!("{} checks could not be made", counts.unknown),
        1 => "1 check failed".to_owned(),
        n => format!("{n} checks failed"),
    };
    Err(NodeError::NotVerified { profiles: report.profiles.join(", "), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_have_reports_of_their_own() {
        let reports = ["out/report.html", "junit.xml"].map(PathBuf::from).to_vec();
        let wish = Wish { reports, ..Wish::default() };
        let own = wish.of_build("all.qemu/a b").reports;
        assert_eq!(own, ["out/report-all.qemu_a_b.html", "junit-all.qemu_a_b.xml"].map(PathBuf::from));
    }
}
