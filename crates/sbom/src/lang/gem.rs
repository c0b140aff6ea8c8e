//! Ruby: specifications of installed gems, and `Gemfile.lock`.

use crate::{Evidence, Finding, Kind, Licence, Package, Unreadable};

/// `specifications/NAME-VERSION.gemspec`, as RubyGems writes it when it installs: its first comment is
/// `# stub: NAME VERSION PLATFORM DIRECTORIES`.
///
/// # Errors
/// It has no such comment: it is a program, which only Ruby can read.
pub fn specification(bytes: &[u8]) -> Result<Finding, Unreadable> {
    let text = String::from_utf8_lossy(bytes);
    let stub = text.lines().take(10).find_map(|line| line.strip_prefix("# stub: "));
    let mut words = stub.ok_or("it was not written by RubyGems, and is a program")?.split_whitespace();
    let (name, version) = (words.next().ok_or("it has no name")?, words.next().unwrap_or_default());
    let mut package = Package::new(Kind::Gem, name, version);
    package.architecture = words.next().filter(|platform| *platform != "ruby").map(str::to_owned);
    package.homepage = assigned(&text, "homepage").and_then(|value| quoted(value).next()).map(str::to_owned);
    package.licences = assigned(&text, "licenses").into_iter().flat_map(quoted).take(16).map(Licence::spdx).collect();
    Ok(Finding::packages(vec![package]))
}

/// What follows `s.NAME = `.
fn assigned<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("s."));
    lines.find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='))
}

/// The texts in double quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2).filter(|text| !text.is_empty())
}

/// `Gemfile.lock`: lines of four spaces below `specs:` are gems, deeper ones what those need.
pub fn lock(bytes: &[u8]) -> Finding {
    let text = String::from_utf8_lossy(bytes);
    let mut in_specs = false;
    let mut found = Finding::default();
    for line in text.lines() {
        match line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')) {
            Some(gem) if in_specs => locked(gem).into_iter().for_each(|package| found.push(package)),
            Some(_) => {}
            None if line.starts_with("      ") => {}
            None => in_specs = line.trim() == "specs:",
        }
    }
    found
}

/// `NAME (VERSION[-PLATFORM])`.
fn locked(gem: &str) -> Option<Package> {
    let (name, rest) = gem.split_once(" (")?;
    let version = rest.trim_end().strip_suffix(')')?;
    let (version, platform) = version.split_once('-').map_or((version, None), |(v, p)| (v, Some(p.to_owned())));
    let mut package = Package::new(Kind::Gem, name, version).known(Evidence::Locked);
    package.architecture = platform;
    Some(package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_is_known_by_its_stub() {
        let text = "# -*- encoding: utf-8 -*-\n# stub: nokogiri 1.15.0 x86_64-linux lib\n\nGem::Specification.new do |s|\n  \
            s.name = \"nokogiri\".freeze\n  s.licenses = [\"MIT\".freeze, \"Ruby\".freeze]\n  s.homepage = \"https://nokogiri.org\".freeze\nend\n";
        let found = specification(text.as_bytes()).unwrap();
        let package = &found.packages[0];
        assert_eq!((package.name.as_str(), package.version.as_str()), ("nokogiri", "1.15.0"));
        assert_eq!(package.architecture.as_deref(), Some("x86_64-linux"));
        assert_eq!(package.homepage.as_deref(), Some("https://nokogiri.org"));
        assert_eq!(package.licences.len(), 2);
        assert!(specification(b"Gem::Specification.new").is_err() && specification(b"# stub: \n").is_err());
    }

    #[test]
    fn a_lock_file_lists_gems_of_all_sources() {
        let text = b"PATH\n  remote: .\n  specs:\n    me (0.1)\n\nGEM\n  remote: https://rubygems.org/\n  specs:\n    rake (13.0.6)\n    \
            rack (3.0)\n      base64 (>= 0)\n    nokogiri (1.15.0-x86_64-linux)\n\nDEPENDENCIES\n  rake\n    odd (1)\n";
        let seen: Vec<_> = lock(text).packages.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
        assert_eq!(seen, ["me 0.1", "rake 13.0.6", "rack 3.0", "nokogiri 1.15.0"]);
    }
}
