//! Which kernel a boot loader starts: GRUB's menu and saved entry, and entries of the Boot Loader Specification.

use kiln_spec::glob::fnmatch;

use super::{lines, version};
use crate::system::{Result, System};

/// The largest menu, in entries.
const MAX_ENTRIES: usize = 1000;
/// How deep menus lie in menus.
const MAX_DEPTH: usize = 8;

/// An entry of a boot menu.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// What the menu shows.
    pub title: String,
    /// Its stable name, where it has one.
    pub id: Option<String>,
    /// Numbers from 0 of the entry and the menus around it, outermost first.
    pub path: Vec<usize>,
    /// Titles of the menus around it.
    pub menus: Vec<String>,
    /// The release of its kernel, from the file name of the image.
    pub release: Option<String>,
    /// The kernel's command line.
    pub command_line: String,
    /// Where the entry begins: `/boot/grub/grub.cfg:12`.
    pub place: String,
}

/// Where GRUB keeps its menu.
const MENUS: [&str; 4] =
    ["/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/boot/efi/EFI/debian/grub.cfg", "/etc/grub2.cfg"];
/// Where entries of the Boot Loader Specification are.
const ENTRIES: [&str; 3] = ["/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries"];

/// The entry that starts without anybody choosing; `None` when no menu is found or the default names no entry.
///
/// # Errors
/// A file cannot be read.
pub fn default_entry(system: &dyn System) -> Result<Option<Entry>> {
    let mut chosen = None;
    let mut entries = Vec::new();
    for path in MENUS {
        let Some(text) = lines::text(system, path)? else { continue };
        let menu = parse(path, &text);
        let saved = saved_entry(system, path)?;
        chosen = menu
            .default
            .map(|value| if value.contains("saved_entry") { saved.clone().unwrap_or_default() } else { value });
        chosen = chosen.or(saved);
        entries = menu.entries;
        if !entries.is_empty() {
            break;
        }
    }
    if entries.is_empty() {
        entries = specified(system)?;
        if chosen.is_none() {
            chosen = loader_default(system)?;
        }
    }
    let wanted = chosen.unwrap_or_default();
    Ok(pick(&entries, &wanted).cloned())
}

/// The entry that a default names: by number, title or id, with `>` between menus. Nothing names the first.
fn pick<'a>(entries: &'a [Entry], wanted: &str) -> Option<&'a Entry> {
    let first = || entries.iter().find(|entry| entry.path.iter().all(|at| *at == 0)).or_else(|| entries.first());
    if wanted.is_empty() {
        return first();
    }
    let parts: Vec<&str> = wanted.split('>').map(str::trim).collect();
    let by_path = |entry: &&Entry| {
        let numbers: Vec<String> = entry.path.iter().map(ToString::to_string).collect();
        let titles: Vec<&str> = entry.menus.iter().map(String::as_str).chain([entry.title.as_str()]).collect();
        parts.len() == numbers.len()
            && parts.iter().enumerate().all(|(at, part)| numbers[at] == *part || titles[at] == *part)
    };
    let last = parts.last().copied().unwrap_or(wanted).trim_end_matches(".conf");
    let by_id = |entry: &&Entry| entry.id.as_deref().is_some_and(|id| id == last || fnmatch(last, id));
    entries.iter().find(by_path).or_else(|| entries.iter().find(by_id))
}

/// A menu of GRUB.
#[derive(Debug, Default)]
struct Menu {
    entries: Vec<Entry>,
    default: Option<String>,
}

/// Reads the entries of a `grub.cfg`, which is a program: only what its generators write is understood.
fn parse(path: &str, text: &str) -> Menu {
    let mut menu = Menu::default();
    // Menus around the line, each with the number of its next entry; other blocks are `None`.
    let mut open: Vec<Option<(String, usize, usize)>> = Vec::new();
    let mut next = 0;
    let mut current: Option<Entry> = None;
    for (at, line) in text.lines().enumerate() {
        let words = words(line);
        let Some(first) = words.first().map(String::as_str) else { continue };
        match first {
            "menuentry" | "submenu" => {
                let number = next_number(&mut open, &mut next);
                let title = words.get(1).cloned().unwrap_or_default();
                if first == "submenu" {
                    open.push(Some((title, number, 0)));
                    continue;
                }
                let menus: Vec<&(String, usize, usize)> = open.iter().flatten().collect();
                current = Some(Entry {
                    id: id(&words),
                    title,
                    path: menus.iter().map(|(_, at, _)| *at).chain([number]).collect(),
                    menus: menus.iter().map(|(title, _, _)| title.clone()).collect(),
                    place: lines::place(path, at + 1),
                    ..Entry::default()
                });
                open.push(None);
            }
            "linux" | "linux16" | "linuxefi" => {
                if let (Some(entry), Some(image)) = (&mut current, words.get(1)) {
                    entry.release = release(image);
                    entry.command_line = words[2..].join(" ");
                }
            }
            "}" => {
                if open.pop().flatten().is_none()
                    && let Some(entry) = current.take()
                    && menu.entries.len() < MAX_ENTRIES
                {
                    menu.entries.push(entry);
                }
            }
            "set" => {
                if let Some(value) = words.get(1).and_then(|word| word.strip_prefix("default=")) {
                    // `set default="${next_entry}"` is for one boot.
                    if !value.contains("next_entry") && menu.default.as_ref().is_none_or(String::is_empty) {
                        menu.default = Some(value.to_owned());
                    }
                }
            }
            _ if line.trim_end().ends_with('{') && open.len() < MAX_DEPTH * 4 => open.push(None),
            _ => {}
        }
    }
    menu
}

fn next_number(open: &mut [Option<(String, usize, usize)>], outermost: &mut usize) -> usize {
    let counter = open.iter_mut().rev().flatten().next().map_or(outermost, |(_, _, next)| next);
    *counter += 1;
    *counter - 1
}

/// The id of an entry: after `--id`, or after the variable that old generators write for it.
fn id(words: &[String]) -> Option<String> {
    let at = words.iter().position(|word| word == "--id" || word == "$menuentry_id_option")?;
    words.get(at + 1).cloned()
}

/// The release in the name of an image: `/boot/vmlinuz-6.1.0-1-amd64`.
fn release(image: &str) -> Option<String> {
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once('-') {
        Some(("vmlinuz" | "vmlinux" | "kernel" | "Image", release)) => Some(release.to_owned()),
        _ => {
            let mut parts = image.rsplit('/').skip(1);
            // `/MACHINE/RELEASE/linux` of kernel-install, `/usr/lib/modules/RELEASE/vmlinuz`.
            parts
                .next()
                .filter(|part| part.starts_with(|c: char| c.is_ascii_digit()) && part.contains('.'))
                .map(str::to_owned)
        }
    }
}

/// The words of a line of a shell: quotes are taken away, a `{` at the end is none.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.trim().chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The entry that `grub2-set-default` chose.
fn saved_entry(system: &dyn System, menu: &str) -> Result<Option<String>> {
    let beside = menu.rsplit_once('/').map_or("/boot/grub", |(dir, _)| dir);
    for path in [format!("{beside}/grubenv"), "/boot/grub2/grubenv".to_owned(), "/boot/grub/grubenv".to_owned()] {
        if let Some(text) = lines::text(system, &path)? {
            let value = text.lines().find_map(|line| line.strip_prefix("saved_entry="));
            return Ok(value.map(str::to_owned).filter(|value| !value.is_empty()));
        }
    }
    Ok(None)
}

/// The entries of the Boot Loader Specification, the newest first.
fn specified(system: &dyn System) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for dir in ENTRIES {
        for name in system.list(dir)?.unwrap_or_default() {
            let Some(id) = name.strip_suffix(".conf").filter(|_| found.len() < MAX_ENTRIES) else { continue };
            let path = format!("{dir}/{name}");
            let Some(text) = lines::text(system, &path)? else { continue };
            let value = |key: &str| {
                let mut pairs = text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
                pairs.find(|(k, _)| *k == key).map(|(_, value)| value.trim().to_owned())
            };
            found.push(Entry {
                title: value("title").unwrap_or_default(),
                id: Some(id.to_owned()),
                release: value("linux").and_then(|image| release(&image)).or_else(|| value("version")),
                command_line: value("options").unwrap_or_default(),
                place: path.clone(),
                ..Entry::default()
            });
        }
    }
    found.sort_by(|a, b| version::debian(b.release.as_deref().unwrap_or(""), a.release.as_deref().unwrap_or("")));
    for (at, entry) in found.iter_mut().enumerate() {
        entry.path = vec![at];
    }
    Ok(found)
}

/// The default of systemd-boot.
fn loader_default(system: &dyn System) -> Result<Option<String>> {
    for dir in ["/boot/loader", "/boot/efi/loader", "/efi/loader"] {
        if let Some(text) = lines::text(system, &format!("{dir}/loader.conf"))? {
            let mut pairs = text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
            return Ok(pairs.find(|(key, _)| *key == "default").map(|(_, value)| value.trim().to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::Memory;

    const MENU: &str = r#"
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
function load_video {
  insmod all_video
}
menuentry 'Debian' --class debian $menuentry_id_option 'simple' {
	linux	/boot/vmlinuz-6.1.0-2-amd64 root=UUID=1 ro quiet
	initrd	/boot/initrd.img-6.1.0-2-amd64
}
submenu "Advanced" $menuentry_id_option 'advanced' {
	menuentry 'Debian 2' --id two {
		linux	/vmlinuz-6.1.0-2-amd64 root=UUID=1 ro
	}
	menuentry 'Debian 1' --id one {
		if [ x = x ]; then
		  insmod gzio
		fi
		linux	/vmlinuz-6.1.0-1-amd64 root=UUID=1 ro
	}
}
"#;

    fn release_of(system: &Memory) -> Option<String> {
        default_entry(system).unwrap().and_then(|entry| entry.release)
    }

    #[test]
    fn defaults_name_entries_in_several_ways() {
        let with = |default: &str| {
            Memory::new().file("/boot/grub/grub.cfg", MENU.replace("default=\"0\"", &format!("default=\"{default}\"")))
        };
        for (default, wanted) in [
            ("0", "6.1.0-2-amd64"),
            ("1>1", "6.1.0-1-amd64"),
            ("Advanced>Debian 1", "6.1.0-1-amd64"),
            ("advanced>one", "6.1.0-1-amd64"),
            ("one", "6.1.0-1-amd64"),
        ] {
            assert_eq!(release_of(&with(default)).as_deref(), Some(wanted), "{default}");
        }
        assert_eq!(release_of(&with("no such")), None);
        let saved = with("${saved_entry}").file("/boot/grub/grubenv", "# GRUB\nsaved_entry=1>1\n####");
        assert_eq!(release_of(&saved).as_deref(), Some("6.1.0-1-amd64"));
        let entry = default_entry(&with("0")).unwrap().unwrap();
        assert_eq!(
            (entry.place.as_str(), entry.command_line.as_str()),
            ("/boot/grub/grub.cfg:10", "root=UUID=1 ro quiet")
        );
    }

    #[test]
    fn entries_of_the_specification() {
        let entry =
            |release: &str| format!("title X\nversion {release}\nlinux /m/{release}/linux\noptions root=x quiet\n");
        let system = Memory::new()
            .file("/boot/loader/entries/m-6.9.0.conf", entry("6.9.0"))
            .file("/boot/loader/entries/m-6.10.0.conf", entry("6.10.0"));
        assert_eq!(release_of(&system).as_deref(), Some("6.10.0"));
        let chosen = system.file("/boot/loader/loader.conf", "timeout 1\ndefault m-6.9*\n");
        assert_eq!(release_of(&chosen).as_deref(), Some("6.9.0"));
        assert_eq!(release_of(&Memory::new()), None);
        let broken = Memory::new().file("/boot/grub/grub.cfg", "}\n}\nmenuentry\nlinux\nset\n{ {\n'");
        assert_eq!(release_of(&broken), None);
    }
}
