//! What distributions called licences, and what SPDX calls the same.
//!
//! Only names that mean one licence are here: `BSD` is a family, and `public-domain` is none.

use std::borrow::Cow;

/// Short names of Debian's machine-readable copyright files, lower case. Those that SPDX has too are not listed.
pub const DEBIAN: [(&str, &str); 36] = [
    ("agpl-3", "AGPL-3.0-only"),
    ("agpl-3+", "AGPL-3.0-or-later"),
    ("apache-2", "Apache-2.0"),
    ("artistic", "Artistic-1.0"),
    ("artistic-2", "Artistic-2.0"),
    ("boost-1", "BSL-1.0"),
    ("bsl-1", "BSL-1.0"),
    ("cc0", "CC0-1.0"),
    ("expat", "MIT"),
    ("gfdl-1.2", "GFDL-1.2-only"),
    ("gfdl-1.2+", "GFDL-1.2-or-later"),
    ("gfdl-1.3", "GFDL-1.3-only"),
    ("gfdl-1.3+", "GFDL-1.3-or-later"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-2.0+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("gpl-3.0+", "GPL-3.0-or-later"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.0+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("lgpl-3.0+", "LGPL-3.0-or-later"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2", "MPL-2.0"),
    ("psf-2", "PSF-2.0"),
    ("python-2", "Python-2.0"),
    ("zlib/libpng", "Zlib"),
    ("zpl-2.1", "ZPL-2.1"),
    ("&", "AND"),
];

/// Fedora's short names, lower case, of one word: those of several never stand beside others in a way that is certain.
pub const FEDORA: [(&str, &str); 25] = [
    ("afl", "AFL-3.0"),
    ("agplv3", "AGPL-3.0-only"),
    ("agplv3+", "AGPL-3.0-or-later"),
    ("boost", "BSL-1.0"),
    ("cc0", "CC0-1.0"),
    ("gpl+", "GPL-1.0-or-later"),
    ("gplv1", "GPL-1.0-only"),
    ("gplv2", "GPL-2.0-only"),
    ("gplv2+", "GPL-2.0-or-later"),
    ("gplv3", "GPL-3.0-only"),
    ("gplv3+", "GPL-3.0-or-later"),
    ("isc", "ISC"),
    ("lgplv2", "LGPL-2.1-only"),
    ("lgplv2+", "LGPL-2.1-or-later"),
    ("lgplv3", "LGPL-3.0-only"),
    ("lgplv3+", "LGPL-3.0-or-later"),
    ("mplv1.1", "MPL-1.1"),
    ("mplv2.0", "MPL-2.0"),
    ("openldap", "OLDAP-2.8"),
    ("openssl", "OpenSSL"),
    ("postgresql", "PostgreSQL"),
    ("vim", "Vim"),
    ("wtfpl", "WTFPL"),
    ("zlib", "Zlib"),
    ("zplv2.1", "ZPL-2.1"),
];

/// Fedora's names of several words, as Fedora writes them.
pub const FEDORA_PHRASES: [(&str, &str); 3] =
    [("ASL 1.1", "Apache-1.1"), ("ASL 2.0", "Apache-2.0"), ("Artistic 2.0", "Artistic-2.0")];

/// The SPDX word for `word`, or `word`. SPDX's own names are the same in any case.
pub(super) fn translate<'a>(word: &'a str, names: &[(&str, &'static str)]) -> Cow<'a, str> {
    if let Some(operator) = ["AND", "OR", "WITH"].into_iter().find(|operator| operator.eq_ignore_ascii_case(word)) {
        return Cow::Borrowed(operator);
    }
    if let Some((_, spdx)) = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
        return Cow::Borrowed(spdx);
    }
    let (base, plus) = word.strip_suffix('+').map_or((word, false), |base| (base, true));
    let Some(listed) = spdx::identifiers::LICENSES.iter().find(|l| l.name.eq_ignore_ascii_case(base)) else {
        return Cow::Borrowed(word);
    };
    let gnu = spdx::license_id(listed.name).filter(|id| id.is_gnu());
    match gnu.and_then(|_| spdx::gnu_license_id(listed.name, plus)) {
        Some(id) => Cow::Borrowed(id.name),
        None if plus => Cow::Owned(format!("{}+", listed.name)),
        None => Cow::Borrowed(listed.name),
    }
}
