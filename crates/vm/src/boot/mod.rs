//! Boot commands: keys that are typed into a machine before anything on it can be talked to.
//!
//! The language is Packer's: text is typed as it stands, `<enter>` presses a special key, `<leftCtrlOn>` and
//! `<leftCtrlOff>` hold one, `<wait>`, `<wait10>` and `<wait1m30s>` wait. What looks like one of these and is none is
//! an error with its place, where Packer would type its letters into the installer.
//!
//! Adding a special key: a row in [`keys`].

mod keys;
mod parse;

use std::time::Duration;

pub use keys::Key;

use crate::VmError;
use crate::qmp::Qmp;

/// One thing to do at the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A key goes down and up again, with shift held if that is needed for the character.
    Press(Key),
    /// A key goes down and stays there.
    Down(Key),
    /// A key comes up.
    Up(Key),
    /// Nothing is typed for a while.
    Wait(Duration),
}

/// A boot command, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// What to do, in order.
    pub actions: Vec<Action>,
}

/// How fast one types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After each key: `boot_key_interval`.
    pub key: Duration,
    /// After each run of keys without a wait: `boot_keygroup_interval`.
    pub group: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { key: Duration::from_millis(100), group: Duration::ZERO }
    }
}

/// A keyboard of a machine.
pub trait Keyboard {
    /// A key goes down or up.
    ///
    /// # Errors
    /// The machine is gone.
    fn key(&mut self, key: Key, down: bool) -> Result<(), VmError>;
}

/// The keyboard at qemu's control socket.
impl Keyboard for &Qmp {
    fn key(&mut self, key: Key, down: bool) -> Result<(), VmError> {
        self.keys(&[key.qcode], down)
    }
}

impl Command {
    /// Reads a command, or several that are typed one after the other (`boot_command` is a list in templates).
    /// Templates in them have been rendered.
    ///
    /// # Errors
    /// [`VmError::BootCommand`] with the offset in characters from the beginning of the first.
    pub fn parse<S: AsRef<str>>(parts: &[S]) -> Result<Command, VmError> {
        let text: String = parts.iter().map(AsRef::as_ref).collect();
        parse::parse(&text)
    }

    /// How long all waits take together.
    pub fn waits(&self) -> Duration {
        let waits = self.actions.iter().filter_map(|a| if let Action::Wait(time) = a { Some(*time) } else { None });
        waits.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Types it. `pause` waits for that long and may say that there is no sense in going on. Keys that are still held
    /// at the end are let go.
    ///
    /// # Errors
    /// What the keyboard or `pause` say.
    pub fn type_on<E: From<VmError>>(
        &self,
        keyboard: &mut dyn Keyboard,
        pace: Pace,
        mut pause: impl FnMut(Duration) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut held: Vec<Key> = Vec::new();
        let mut run = false;
        for action in &self.actions {
            match *action {
                Action::Wait(time) => {
                    if std::mem::take(&mut run) && !pace.group.is_zero() {
                        pause(pace.group)?;
                    }
                    pause(time)?;
                    continue;
                }
                Action::Press(key) => {
                    let shift_is_held = held.iter().any(|k| k.qcode.starts_with("shift"));
                    let key = if shift_is_held { key.shifted() } else { key };
                    let shifted = key.shift && !shift_is_held;
                    if shifted {
                        keyboard.key(Key::SHIFT, true)?;
                    }
                    keyboard.key(key, true)?;
                    keyboard.key(key, false)?;
                    if shifted {
                        keyboard.key(Key::SHIFT, false)?;
                    }
                }
                Action::Down(key) => {
                    held.push(key);
                    keyboard.key(key, true)?;
                }
                Action::Up(key) => {
                    held.retain(|k| *k != key);
                    keyboard.key(key, false)?;
                }
            }
            run = true;
            pause(pace.key)?;
        }
        if run && !pace.group.is_zero() {
            pause(pace.group)?;
        }
        for key in held.into_iter().rev() {
            keyboard.key(key, false)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Paper(String);

    impl Keyboard for Paper {
        fn key(&mut self, key: Key, down: bool) -> Result<(), VmError> {
            self.0 += &format!("{}{} ", if down { '+' } else { '-' }, key.qcode);
            Ok(())
        }
    }

    fn typed(text: &str, pace: Pace) -> (String, Duration) {
        let mut paper = Paper(String::new());
        let mut time = Duration::ZERO;
        let pause = |t| -> Result<(), VmError> {
            time += t;
            Ok(())
        };
        Command::parse(&[text]).unwrap().type_on(&mut paper, pace, pause).unwrap();
        (paper.0.trim_end().to_owned(), time)
    }

    #[test]
    fn keys_go_down_and_up() {
        let pace = Pace { key: Duration::from_millis(1), group: Duration::ZERO };
        assert_eq!(typed("aB<", pace).0, "+a -a +shift +b -b -shift +shift +comma -comma -shift");
        assert_eq!(typed("<leftShiftOn>aB<leftShiftOff>", pace).0, "+shift +a -a +b -b -shift");
        assert_eq!(typed("<leftCtrlOn><leftAltOn><del>", pace).0, "+ctrl +alt +delete -delete -alt -ctrl");
        assert_eq!(typed("<enter>", pace).0, "+ret -ret");
    }

    #[test]
    fn pauses_are_as_asked() {
        let pace = Pace { key: Duration::from_millis(10), group: Duration::from_secs(1) };
        assert_eq!(typed("ab<wait5>c<wait><wait>", pace).1, Duration::from_millis(30 + 2000 + 7000));
        let pace = Pace::default();
        assert_eq!(typed("ab<wait5>c<wait100ms>", pace).1, Duration::from_millis(300 + 5100));
    }

    #[test]
    fn a_pause_can_end_it() {
        let mut paper = Paper(String::new());
        let command = Command::parse(&["abc"]).unwrap();
        let stop = |_| Err(VmError::Control { why: "gone".to_owned() });
        assert!(command.type_on(&mut paper, Pace::default(), stop).is_err());
        assert_eq!(paper.0, "+a -a ");
    }
}
