//! Virtual users: which ids a process would have, by the rules of `credentials(7)`.

use std::collections::HashMap;
use std::fs;

use rustix::io::Errno;

/// The four ids of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
    /// What files are made and opened as.
    pub files: u32,
}

impl Ids {
    fn all(id: u32) -> Ids {
        Ids { real: id, effective: id, saved: id, files: id }
    }

    fn may(&self, privileged: bool, id: Option<u32>, of: &[u32]) -> Result<(), Errno> {
        match id {
            Some(id) if !privileged && !of.contains(&id) => Err(Errno::PERM),
            _ => Ok(()),
        }
    }

    /// `setuid`.
    pub fn set(&mut self, privileged: bool, id: u32) -> Result<(), Errno> {
        self.may(privileged, Some(id), &[self.real, self.saved])?;
        match privileged {
            true => *self = Ids::all(id),
            false => (self.effective, self.files) = (id, id),
        }
        Ok(())
    }

    /// `setreuid`.
    pub fn set_two(&mut self, privileged: bool, real: Option<u32>, effective: Option<u32>) -> Result<(), Errno> {
        self.may(privileged, real, &[self.real, self.effective])?;
        self.may(privileged, effective, &[self.real, self.effective, self.saved])?;
        let changes_saved = real.is_some() || effective.is_some_and(|id| id != self.real);
        self.real = real.unwrap_or(self.real);
        self.effective = effective.unwrap_or(self.effective);
        self.saved = if changes_saved { self.effective } else { self.saved };
        self.files = self.effective;
        Ok(())
    }

    /// `setresuid`.
    pub fn set_three(&mut self, privileged: bool, ids: [Option<u32>; 3]) -> Result<(), Errno> {
        let old = [self.real, self.effective, self.saved];
        ids.iter().try_for_each(|id| self.may(privileged, *id, &old))?;
        let [real, effective, saved] = ids;
        self.real = real.unwrap_or(self.real);
        self.effective = effective.unwrap_or(self.effective);
        self.saved = saved.unwrap_or(self.saved);
        self.files = self.effective;
        Ok(())
    }

    /// `execve` of a program that has a set-id bit, or none.
    pub fn execute(&mut self, becomes: Option<u32>) {
        self.effective = becomes.unwrap_or(self.effective);
        (self.saved, self.files) = (self.effective, self.effective);
    }

    /// `setfsuid`, which answers with the old one whether it may or not.
    pub fn set_files(&mut self, privileged: bool, id: u32) -> u32 {
        let old = self.files;
        if self.may(privileged, Some(id), &[self.real, self.effective, self.saved, self.files]).is_ok() {
            self.files = id;
        }
        old
    }
}

/// Who a process would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub user: Ids,
    pub group: Ids,
    pub groups: Vec<u32>,
}

impl Person {
    pub fn new(uid: u32, gid: u32, mut groups: Vec<u32>) -> Person {
        // In the order in which the kernel keeps and tells them.
        groups.sort_unstable();
        Person { user: Ids::all(uid), group: Ids::all(gid), groups }
    }

    /// Whether it may become anybody.
    pub fn privileged(&self) -> bool {
        self.user.effective == 0
    }
}

/// Who each process is.
pub struct People {
    first: Person,
    /// Empty until a process becomes somebody else: until then all are as the first.
    known: HashMap<u32, Person>,
}

/// As many parents are asked for a process that nothing is known of.
const MAX_PARENTS: usize = 64;

impl People {
    pub fn all_as(first: Person) -> People {
        People { first, known: HashMap::new() }
    }

    /// Who the process of this thread is.
    pub fn of(&mut self, thread: u32) -> Person {
        if self.known.is_empty() {
            return self.first.clone();
        }
        let Some((process, mut parent)) = family(thread) else { return self.first.clone() };
        if let Some(person) = self.known.get(&process) {
            return person.clone();
        }
        let mut person = self.first.clone();
        for _ in 0..MAX_PARENTS {
            if let Some(known) = self.known.get(&parent) {
                person = known.clone();
                break;
            }
            match family(parent) {
                Some((_, above)) if above > 1 => parent = above,
                _ => break,
            }
        }
        // It is its own from now on, whatever its parent becomes.
        self.known.insert(process, person.clone());
        person
    }

    /// Makes the process of this thread somebody else.
    pub fn become_other(&mut self, thread: u32, person: Person) {
        if self.known.is_empty() && person == self.first {
            return;
        }
        let Some((process, _)) = family(thread) else { return };
        if self.known.is_empty() {
            // Whoever is here by now has not inherited this change.
            for other in processes() {
                self.known.insert(other, self.first.clone());
            }
        }
        self.known.insert(process, person);
    }
}

/// The process a thread belongs to, and its parent.
fn family(thread: u32) -> Option<(u32, u32)> {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    Some((field("Tgid:")?, field("PPid:")?))
}

/// The mode creation mask of a thread.
pub fn umask(thread: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o022)
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(real: u32, effective: u32, saved: u32) -> Ids {
        Ids { real, effective, saved, files: effective }
    }

    #[test]
    fn root_becomes_anybody_and_cannot_come_back() {
        let mut user = Ids::all(0);
        user.set(true, 42).unwrap();
        assert_eq!(user, Ids::all(42));
        assert_eq!(user.set(false, 0), Err(Errno::PERM));
        assert_eq!(user.set_three(false, [None, Some(0), None]), Err(Errno::PERM));
        assert_eq!((user.set_files(false, 0), user.files), (42, 42));
    }

    #[test]
    fn who_keeps_a_saved_id_can_come_back() {
        let mut user = Ids::all(0);
        user.set_three(true, [None, Some(42), None]).unwrap();
        assert_eq!(user, ids(0, 42, 0));
        user.set_three(false, [None, Some(0), None]).unwrap();
        assert_eq!(user, Ids::all(0));
        user.set_two(true, None, Some(7)).unwrap();
        assert_eq!(user, ids(0, 7, 7));
        user.set_two(false, Some(7), Some(0)).unwrap();
        assert_eq!(user, ids(7, 0, 0));
    }

    #[test]
    fn processes_inherit_until_they_change() {
        let own = std::process::id();
        let mut people = People::all_as(Person::new(0, 0, vec![0]));
        assert!(people.of(own).privileged());
        people.become_other(own, Person::new(5, 6, vec![]));
        assert_eq!(people.of(own).user.real, 5);
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        assert_eq!(people.of(child.id()).group.real, 6);
        people.become_other(own, Person::new(9, 9, vec![]));
        assert_eq!(people.of(child.id()).user.real, 5, "it had been asked about before");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(people.of(1).privileged());
    }
}
