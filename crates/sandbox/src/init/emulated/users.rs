//! Who a process would be.

use rustix::io::Errno;

use super::world::{Answer, Asking, DONE, Reply, World, descriptor, low};
use crate::init::owners::who::{Ids, Person};
use crate::seccomp::asked::Asked;

/// As many groups as the kernel lets one have.
const MAX_GROUPS: u32 = 65536;

fn id(argument: u64) -> Option<u32> {
    Some(low(argument)).filter(|id| *id != u32::MAX)
}

fn value(id: u32) -> Answer {
    Ok(Reply::Value(i64::from(id)))
}

fn three(who: &Asking, ids: Ids) -> Answer {
    for (id, to) in [ids.real, ids.effective, ids.saved].iter().zip(who.a) {
        who.memory.write(to, &id.to_ne_bytes())?;
    }
    DONE
}

impl World {
    /// `getuid`, `setuid` and their kin.
    pub fn identity(&mut self, asked: Asked, who: &Asking) -> Answer {
        let a = who.a;
        let person = &mut self.process(who)?.person;
        let may = person.privileged();
        let three_ids = || [id(a[0]), id(a[1]), id(a[2])];
        match asked {
            Asked::GetUid => return value(person.user.real),
            Asked::GetEuid => return value(person.user.effective),
            Asked::GetGid => return value(person.group.real),
            Asked::GetEgid => return value(person.group.effective),
            Asked::GetResUid => return three(who, person.user),
            Asked::GetResGid => return three(who, person.group),
            Asked::GetGroups => return groups(person, who),
            Asked::SetFsUid => return value(person.user.set_files(may, low(a[0]))),
            Asked::SetFsGid => return value(person.group.set_files(may, low(a[0]))),
            Asked::SetUid => person.user.set(may, low(a[0]))?,
            Asked::SetGid => person.group.set(may, low(a[0]))?,
            Asked::SetReUid => person.user.set_two(may, id(a[0]), id(a[1]))?,
            Asked::SetReGid => person.group.set_two(may, id(a[0]), id(a[1]))?,
            Asked::SetResUid => person.user.set_three(may, three_ids())?,
            Asked::SetResGid => person.group.set_three(may, three_ids())?,
            Asked::SetGroups if may => person.groups = read_groups(who)?,
            Asked::SetGroups => return Err(Errno::PERM),
            _ => return Err(Errno::NOSYS),
        }
        DONE
    }
}

fn groups(person: &Person, who: &Asking) -> Answer {
    let (room, count) = (descriptor(who.a[0]), i32::try_from(person.groups.len()).unwrap_or(i32::MAX));
    if room < 0 || (room > 0 && room < count) {
        return Err(Errno::INVAL);
    }
    if room > 0 && count > 0 {
        let bytes: Vec<u8> = person.groups.iter().flat_map(|gid| gid.to_ne_bytes()).collect();
        who.memory.write(who.a[1], &bytes)?;
    }
    Ok(Reply::Value(i64::from(count)))
}

fn read_groups(who: &Asking) -> Result<Vec<u32>, Errno> {
    let count = low(who.a[0]);
    if count > MAX_GROUPS {
        return Err(Errno::INVAL);
    }
    let mut bytes = vec![0; count as usize * 4];
    if count > 0 {
        who.memory.read(who.a[1], &mut bytes)?;
    }
    let mut groups: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    groups.sort_unstable();
    Ok(groups)
}
