//! Who named what: kept in the image, so that `kiln cluster images --why` can say it anywhere.

use kiln_manifests::rule::Rule;
use kiln_oci::Platform;
use serde::{Deserialize, Serialize};

/// How sure it is that a name is an image that will be needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// A list names it, or a field that holds images.
    Certain,
    /// A field that is called as if it held an image.
    Likely,
    /// It looks like an image, and is not contained unless a list names it.
    Possible,
}

/// A place that names an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Named {
    /// The file in the root file system, or on the command line.
    pub file: String,
    /// The line, from 1; of what a chart renders to, the template's, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The object: `Deployment kube-system/coredns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The rule that found it.
    pub rule: String,
    /// How sure it is.
    pub certainty: Certainty,
    /// The platforms it is wanted for, if the place says: a node selector, or the line of a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
}

impl Named {
    /// A file that names an image by a rule, and says no more of it.
    pub fn new(file: String, rule: &Rule, certainty: Certainty) -> Named {
        Named { file, line: None, object: None, rule: rule.id.to_owned(), certainty, platforms: Vec::new() }
    }

    /// The same place, as that of another image.
    pub fn within(&self, image: &str) -> Named {
        Named { file: format!("{image}: {}", self.file), ..self.clone() }
    }

    /// In one line.
    pub fn text(&self) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let object = self.object.as_ref().map(|object| format!(", {object}")).unwrap_or_default();
        let platforms: Vec<String> = self.platforms.iter().map(ToString::to_string).collect();
        let platforms = if platforms.is_empty() { String::new() } else { format!(" for {}", platforms.join(", ")) };
        format!("{}{line}{object}{platforms} ({})", self.file, self.rule)
    }
}

/// An image that is contained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its whole name, as the index has it.
    pub name: String,
    /// Who names it.
    pub named: Vec<Named>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chart {
    /// Its directory or archive in the root file system.
    pub path: String,
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version of what it installs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
}

/// All that is known of what is contained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Report {
    /// Contained images, by name.
    pub images: Vec<Image>,
    /// Charts, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<Chart>,
    /// What looks like an image and is not contained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub possible: Vec<Image>,
}
