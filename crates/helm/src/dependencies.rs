//! Which charts of a chart are there, and what of their values their parent gets: conditions, tags, aliases,
//! `import-values`.

use crate::chart::Chart;
use crate::error::RenderError;
use crate::metadata::Dependency;
use crate::values::{Nulls, coalesce, globals, insert};
use crate::version::{Range, Version};
use crate::yaml::{Map, Yaml};

/// What is left of `chart` for `given`; findings that are no errors go to `warnings`.
pub(crate) fn process(chart: &mut Chart, given: &Map, warnings: &mut Vec<String>) -> Result<(), RenderError> {
    enable(chart, given, "", warnings)?;
    import(chart, warnings)
}

/// The values of a chart and of all charts it brings: `given` wins over defaults.
pub(crate) fn all_values(chart: &Chart, given: Map, nulls: Nulls) -> Result<Map, RenderError> {
    let mut values = given;
    for (key, default) in &chart.values {
        let chart_below = chart.charts.iter().any(|chart| chart.metadata.name == *key);
        match values.get_mut(key) {
            None => insert(&mut values, key, default, nulls),
            Some(Yaml::Null) if nulls == Nulls::Remove => drop(values.remove(key)),
            // Nulls for a chart below are kept until its own defaults are there.
            Some(Yaml::Map(own)) => {
                if let Yaml::Map(default) = default {
                    coalesce(own, default, if chart_below { Nulls::Stay } else { nulls }, 0);
                }
            }
            Some(_) => {}
        }
    }
    for below in &chart.charts {
        let name = &below.metadata.name;
        let no_map = || RenderError::NoMap(name.clone());
        let mut own = match values.remove(name) {
            None | Some(Yaml::Null) => Map::new(),
            Some(Yaml::Map(map)) => map,
            Some(_) => return Err(no_map()),
        };
        globals(&mut own, &values);
        values.insert(name.clone(), Yaml::Map(all_values(below, own, nulls)?));
    }
    Ok(values)
}

fn fits(range: &str, version: &str) -> bool {
    let (range, version) = (Range::parse(range), Version::parse(version));
    range.zip(version).is_some_and(|(range, version)| range.has(&version))
}

fn enable(chart: &mut Chart, given: &Map, path: &str, warnings: &mut Vec<String>) -> Result<(), RenderError> {
    if !chart.metadata.lists_dependencies {
        return Ok(());
    }
    let wanted = |dependency: &Dependency, chart: &Chart| {
        dependency.name == chart.metadata.name && fits(&dependency.version, &chart.metadata.version)
    };
    let dependencies = &chart.metadata.dependencies;
    // Charts that no dependency names are there, too.
    let mut charts: Vec<Chart> = chart
        .charts
        .iter()
        .filter(|below| !dependencies.iter().any(|dependency| wanted(dependency, below)))
        .cloned()
        .collect();
    for dependency in dependencies {
        let Some(found) = chart.charts.iter().find(|below| wanted(dependency, below)) else { continue };
        let mut found = found.clone();
        if !dependency.alias.is_empty() {
            found.metadata.name.clone_from(&dependency.alias);
        }
        charts.push(found);
    }
    for dependency in &mut chart.metadata.dependencies {
        if !dependency.alias.is_empty() {
            dependency.name.clone_from(&dependency.alias);
        }
    }
    chart.charts = charts;
    let values = all_values(chart, given.clone(), Nulls::Remove)?;
    let off: Vec<String> = chart
        .metadata
        .dependencies
        .iter()
        .filter(|dependency| !enabled(dependency, &values, path, warnings))
        .map(|dependency| dependency.name.clone())
        .collect();
    chart.charts.retain(|below| !off.contains(&below.metadata.name));
    chart.metadata.dependencies.retain(|dependency| !off.contains(&dependency.name));
    for below in &mut chart.charts {
        let path = format!("{path}{}.", below.metadata.name);
        enable(below, &values, &path, warnings)?;
    }
    Ok(())
}

/// Tags first; the first condition that is true or false has the last word.
fn enabled(dependency: &Dependency, values: &Map, path: &str, warnings: &mut Vec<String>) -> bool {
    let tags = match values.get("tags") {
        Some(Yaml::Map(tags)) => tags,
        _ => &Map::new(),
    };
    let given: Vec<bool> = dependency
        .tags
        .iter()
        .filter_map(|tag| match tags.get(tag) {
            Some(Yaml::Bool(yes)) => Some(*yes),
            _ => None,
        })
        .collect();
    let mut on = given.is_empty() || given.contains(&true);
    for condition in dependency.condition.trim().split(',').map(str::trim).filter(|condition| !condition.is_empty()) {
        match at(values, &format!("{path}{condition}")) {
            Some(Yaml::Bool(yes)) => {
                on = *yes;
                break;
            }
            None | Some(Yaml::Map(_)) => {}
            Some(_) => warnings.push(format!(
                "the condition `{condition}` of the dependency {} is neither true nor false",
                dependency.name
            )),
        }
    }
    on
}

/// The value at a path of names with dots.
pub(crate) fn at<'v>(values: &'v Map, path: &str) -> Option<&'v Yaml> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = values.get(first)?;
    rest.map_or(Some(value), |rest| value.at(rest))
}

/// The innermost first.
fn import(chart: &mut Chart, warnings: &mut Vec<String>) -> Result<(), RenderError> {
    for below in &mut chart.charts {
        import(below, warnings)?;
    }
    if chart.metadata.dependencies.is_empty() {
        return Ok(());
    }
    // Also where nothing is imported, what the charts below say becomes the parent's: of two charts that are below each
    // other, a null of the upper one then removes what the lower one says.
    let mut values = all_values(chart, Map::new(), Nulls::Stay)?;
    let mut imported = Map::new();
    for dependency in &chart.metadata.dependencies {
        for entry in &dependency.import_values {
            let (child, parent) = match entry {
                Yaml::String(name) => (format!("exports.{name}"), String::new()),
                Yaml::Map(map) => {
                    let of = |key: &str| map.get(key).and_then(Yaml::as_str).unwrap_or_default().to_owned();
                    (of("child"), of("parent"))
                }
                _ => continue,
            };
            let path = format!("{}.{child}", dependency.name);
            match at(&values, &path) {
                Some(Yaml::Map(found)) => {
                    coalesce(&mut imported, &below(&parent, found.clone()), Nulls::Stay, 0);
                }
                _ => warnings.push(format!("import-values: {} has no map `{child}`", dependency.name)),
            }
        }
    }
    // What the parent says itself wins, also where it says null.
    coalesce(&mut values, &imported, Nulls::Stay, 0);
    chart.values = values;
    Ok(())
}

/// `map` at the end of `path`; a path of nothing or `.` is the top.
fn below(path: &str, map: Map) -> Map {
    if path.is_empty() || path == "." {
        return map;
    }
    path.rsplit('.').fold(map, |map, key| Map::from([(key.to_owned(), Yaml::Map(map))]))
}
