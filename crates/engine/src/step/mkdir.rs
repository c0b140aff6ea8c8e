//! `WORKDIR`: a directory and what is missing above it, owned by the user in force.

use kiln_oci::Mtime;
use kiln_plan::step::MkdirOp;

use super::Work;
use crate::copy::dest::{Dest, Style};
use crate::copy::{emit, place};
use crate::error::Result;
use crate::rootfs::Layer;
use crate::users;

/// Makes the directory.
pub fn execute(work: &Work<'_>, op: &MkdirOp) -> Result<Layer> {
    let root = work.session.roots.tree(&work.below())?;
    let owner = match &*op.user {
        "" => None,
        user => {
            let (owner, unknown) = users::owner_of_workdir(&root, user).map_err(|e| work.failed(e))?;
            if let Some(why) = unknown {
                let (uid, gid) = (owner.uid, owner.gid);
                work.session.warn(&format!("`{}`: {why}: the directory is made for {uid}:{gid}", work.step().title));
            }
            Some(owner)
        }
    };
    let mtime = op.mtime.map(Mtime::secs);
    let style = Style { owner, chmod: None, mtime, now: Mtime::secs(work.session.settings.now) };
    let mut dest = Dest::new(&root);
    place::directory(&mut dest, &op.path, &style).map_err(|e| work.copy_failed(&e))?;
    let entries = emit::entries(dest).map_err(|e| work.failed_by(&e))?;
    work.write(entries)
}
