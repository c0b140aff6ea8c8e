//! What `inspect` prints about a template.

use std::fmt::Write;

use kiln_hcl::console::show;
use kiln_hcl::scope::Scope;
use kiln_hcl::value::Value;

use super::builds::pipelines;
use super::project::{Found, Project, evaluate};

/// All of it.
pub(super) fn print(project: &Project) -> String {
    let mut text = String::from("Packer Inspect: HCL2 mode\n\n");
    text.push_str(&variables(project));
    text.push_str("\n> builds:\n");
    for (index, found) in project.builds.iter().enumerate() {
        text.push_str(&build(project, index, found));
    }
    text
}

/// Variables and locals, with their values.
pub(super) fn variables(project: &Project) -> String {
    let mut text = String::from("> input-variables:\n\n");
    let line = |text: &mut String, kind: &str, name: &str, value: &Value| {
        let shown = if value.has_marks() { "<sensitive>".to_owned() } else { show(value) };
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{kind}.{name}: {:?}", shown);
    };
    for one in &project.variables {
        line(&mut text, "var", &one.name, one.value.as_ref().unwrap_or(&Value::null()));
    }
    text.push_str("\n> local-variables:\n\n");
    for (name, value) in &project.local {
        line(&mut text, "local", name, value);
    }
    text
}

fn constant(project: &Project, found: &Found, name: &str) -> Option<String> {
    let attribute = found.attribute(name)?;
    let value = evaluate(&project.world, &attribute.expr, &Scope::new(project.scope()), &found.source).ok()?;
    Some(if value.has_marks() { "<sensitive>".to_owned() } else { show(&value) })
}

fn build(project: &Project, index: usize, found: &Found) -> String {
    let name = constant(project, found, "name").unwrap_or_else(|| format!("<unnamed build {index}>"));
    let mut text = format!("\n  > {name}:\n");
    if let Some(description) = constant(project, found, "description") {
        text.push_str(&format!("\n  > Description: {description}\n"));
    }
    let mut list = |title: &str, none: &str, entries: Vec<String>| {
        text.push_str(&format!("\n    {title}:\n\n"));
        let separator = if title == "provisioners" { "\n" } else { "\n\n" };
        let entries = if entries.is_empty() { vec![format!("      <no {none}>")] } else { entries };
        text.push_str(&entries.join(separator));
        text.push('\n');
    };
    list("sources", "source", sources(project, found).into_iter().map(|name| format!("      {name}")).collect());
    let named = |found: &Found| {
        let kind = found.block.labels.first().map_or("", |label| label.text.as_str());
        match constant(project, found, "name") {
            Some(name) => format!("{kind}.{name}"),
            None => kind.to_owned(),
        }
    };
    list(
        "provisioners",
        "provisioner",
        found.inner("provisioner").iter().map(|one| format!("      {}", named(one))).collect(),
    );
    let pipelines = pipelines(found).into_iter().enumerate().map(|(index, pipeline)| {
        let names: Vec<String> = pipeline.iter().map(|one| format!("        {}", named(one))).collect();
        format!("      {index}:\n{}", names.join("\n"))
    });
    list("post-processors", "post-processor", pipelines.collect());
    text
}

fn sources(project: &Project, found: &Found) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(attribute) = found.attribute("sources") {
        let value = evaluate(&project.world, &attribute.expr, &Scope::new(project.scope()), &found.source);
        names.extend(
            value
                .iter()
                .flat_map(|value| value.children().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()),
        );
    }
    let inner = found.inner("source");
    names.extend(inner.iter().filter_map(|one| Some(one.block.labels.first()?.text.clone())));
    names.iter().map(|name| name.strip_prefix("source.").unwrap_or(name).to_owned()).collect()
}
