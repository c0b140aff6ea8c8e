//! What goes wrong with charts.

use crate::yaml::YamlError;

/// Why files are no chart.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChartError {
    /// There is no `Chart.yaml`.
    #[error("Chart.yaml file is missing")]
    NoChartYaml,
    /// A file is no YAML that can be used.
    #[error("{file}: {message}")]
    Yaml {
        /// Its name in the chart.
        file: String,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A field of `Chart.yaml` that must be there.
    #[error("Chart.yaml: `{field}` is required")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field of `Chart.yaml` that is something else than it must be.
    #[error("Chart.yaml: `{field}` must be {wanted}")]
    Field {
        /// The field.
        field: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// Two dependencies that values could not tell apart.
    #[error("Chart.yaml: more than one dependency with the name or alias `{name}`")]
    TwoDependencies {
        /// The name.
        name: String,
    },
    /// A name of a file that leads out of the chart.
    #[error("the name `{name}` leads out of the chart, or is no name at all")]
    Escapes {
        /// The name.
        name: String,
    },
    /// Something is too large.
    #[error("{what} is beyond the limit of {limit}")]
    TooLarge {
        /// What it is.
        what: String,
        /// The limit, in bytes or files.
        limit: usize,
    },
    /// Too many charts in a chart.
    #[error("charts bring more charts than the limit of {limit}")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// No archive of a chart.
    #[error("the archive of the chart: {message}")]
    Archive {
        /// What is wrong.
        message: String,
    },
    /// A line of `.helmignore`.
    #[error(".helmignore: {message}")]
    Ignore {
        /// What is wrong.
        message: String,
    },
    /// A chart that the chart brings.
    #[error("{place}: {error}")]
    Within {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        error: Box<ChartError>,
    },
}

/// Why a chart cannot be rendered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RenderError {
    /// A template has a mistake, or failed. The error has template, line, column, expression, and who called.
    #[error("{}", template_message(.0))]
    Template(kiln_gotmpl::Error),
    /// A template is no text.
    #[error("{template}: the template is no UTF-8")]
    NoText {
        /// Its name.
        template: String,
    },
    /// What a template gave is no YAML.
    #[error("YAML parse error on {template}: {error}")]
    Manifest {
        /// The template.
        template: String,
        /// What is wrong, in lines of what it gave.
        error: YamlError,
    },
    /// The chart is not for this version of Kubernetes.
    #[error("chart requires kubeVersion: {wanted} which is incompatible with Kubernetes {version}")]
    KubeVersion {
        /// The range that the chart names.
        wanted: String,
        /// The version given.
        version: String,
    },
    /// A library has nothing to render.
    #[error("library charts are not installable")]
    Library,
    /// The values do not fit the chart's schema.
    #[error("values don't meet the specifications of the schema(s) in the following chart(s):\n{}", .0.join("\n"))]
    Schema(Vec<String>),
    /// Charts that `Chart.yaml` names are not in `charts`.
    #[error("found in Chart.yaml, but missing in charts/ directory: {}", .0.join(", "))]
    MissingCharts(Vec<String>),
    /// A value that charts below need to be a map is none.
    #[error("the value of `{0}`, which is a chart, must be a map")]
    NoMap(String),
    /// A limit was reached.
    #[error("{what} beyond the limit of {limit}")]
    Limit {
        /// What has a limit.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The thread to render on could not be started.
    #[error("cannot start a thread to render on: {0}")]
    Thread(String),
}

/// The error with its callers, the inner ones first.
fn template_message(error: &kiln_gotmpl::Error) -> String {
    let mut message = error.to_string();
    for caller in error.callers() {
        let (line, column) = caller.position;
        message += &format!("\n  called from {}:{line}:{column} by `{}`", caller.template, caller.expression);
    }
    message
}
