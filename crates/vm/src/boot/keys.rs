//! The keys of a US keyboard: names in boot commands, symbols of VNC, codes of qemu.

/// A key, with shift or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// X's number for the symbol, which VNC sends.
    pub keysym: u32,
    /// qemu's name for the key.
    pub qcode: &'static str,
    /// Whether shift is held for this symbol.
    pub shift: bool,
}

impl Key {
    /// The left shift key.
    pub const SHIFT: Key = Key { keysym: 0xffe1, qcode: "shift", shift: false };

    /// The key of a printable ASCII character.
    pub fn of(symbol: char) -> Option<Key> {
        let keysym = u32::from(symbol);
        if let 'a'..='z' | '0'..='9' | 'A'..='Z' = symbol {
            let at = LETTERS.find(symbol.to_ascii_lowercase())?;
            return Some(Key { keysym, qcode: LETTERS.get(at..=at)?, shift: symbol.is_ascii_uppercase() });
        }
        let (_, qcode, shift) = SIGNS.iter().find(|(s, ..)| *s == symbol)?;
        Some(Key { keysym, qcode, shift: *shift })
    }

    /// The same key with shift held. VNC sends symbols, and a server that is told `a` while shift is held takes that
    /// for caps lock.
    pub(super) fn shifted(self) -> Key {
        (' '..='~').filter_map(Key::of).find(|k| k.shift && k.qcode == self.qcode).unwrap_or(self)
    }

    /// The special key of that name; case does not count.
    pub fn named(name: &str) -> Option<Key> {
        let (_, keysym, qcode) = SPECIAL.iter().find(|(n, ..)| n.eq_ignore_ascii_case(name))?;
        Some(Key { keysym: *keysym, qcode, shift: false })
    }

    /// Names of all special keys.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SPECIAL.iter().map(|(name, ..)| *name)
    }
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789";

const SIGNS: &[(char, &str, bool)] = &[
    (' ', "spc", false),
    ('-', "minus", false),
    ('_', "minus", true),
    ('=', "equal", false),
    ('+', "equal", true),
    ('[', "bracket_left", false),
    ('{', "bracket_left", true),
    (']', "bracket_right", false),
    ('}', "bracket_right", true),
    ('\\', "backslash", false),
    ('|', "backslash", true),
    (';', "semicolon", false),
    (':', "semicolon", true),
    ('\'', "apostrophe", false),
    ('"', "apostrophe", true),
    ('`', "grave_accent", false),
    ('~', "grave_accent", true),
    (',', "comma", false),
    ('<', "comma", true),
    ('.', "dot", false),
    ('>', "dot", true),
    ('/', "slash", false),
    ('?', "slash", true),
    ('!', "1", true),
    ('@', "2", true),
    ('#', "3", true),
    ('$', "4", true),
    ('%', "5", true),
    ('^', "6", true),
    ('&', "7", true),
    ('*', "8", true),
    ('(', "9", true),
    (')', "0", true),
];

const SPECIAL: &[(&str, u32, &str)] = &[
    ("bs", 0xff08, "backspace"),
    ("del", 0xffff, "delete"),
    ("down", 0xff54, "down"),
    ("end", 0xff57, "end"),
    ("enter", 0xff0d, "ret"),
    ("esc", 0xff1b, "esc"),
    ("f1", 0xffbe, "f1"),
    ("f2", 0xffbf, "f2"),
    ("f3", 0xffc0, "f3"),
    ("f4", 0xffc1, "f4"),
    ("f5", 0xffc2, "f5"),
    ("f6", 0xffc3, "f6"),
    ("f7", 0xffc4, "f7"),
    ("f8", 0xffc5, "f8"),
    ("f9", 0xffc6, "f9"),
    ("f10", 0xffc7, "f10"),
    ("f11", 0xffc8, "f11"),
    ("f12", 0xffc9, "f12"),
    ("home", 0xff50, "home"),
    ("insert", 0xff63, "insert"),
    ("left", 0xff51, "left"),
    ("leftAlt", 0xffe9, "alt"),
    ("leftCtrl", 0xffe3, "ctrl"),
    ("leftShift", 0xffe1, "shift"),
    ("leftSuper", 0xffeb, "meta_l"),
    ("menu", 0xff67, "menu"),
    ("pageDown", 0xff56, "pgdn"),
    ("pageUp", 0xff55, "pgup"),
    ("return", 0xff0d, "ret"),
    ("right", 0xff53, "right"),
    ("rightAlt", 0xffea, "alt_r"),
    ("rightCtrl", 0xffe4, "ctrl_r"),
    ("rightShift", 0xffe2, "shift_r"),
    ("rightSuper", 0xffec, "meta_r"),
    ("spacebar", 0x20, "spc"),
    ("tab", 0xff09, "tab"),
    ("up", 0xff52, "up"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_has_a_key() {
        for symbol in ' '..='~' {
            assert_eq!(Key::of(symbol).map(|k| k.keysym), Some(u32::from(symbol)), "{symbol}");
        }
        assert_eq!(Key::of('\n').or(Key::of('é')).or(Key::of('\u{7f}')), None);
        assert_eq!(Key::named("LEFTSHIFT"), Some(Key::SHIFT));
        assert_eq!(Key::names().count(), 37);
        assert_eq!(Key::of('a').map(Key::shifted), Key::of('A'));
        assert_eq!(Key::of('-').map(Key::shifted), Key::of('_'));
        assert_eq!(Key::SHIFT.shifted(), Key::SHIFT);
    }
}
