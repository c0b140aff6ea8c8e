//! Between a process and the one it was forked from: a word each way, and a descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Two ends, one for each.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// Says that it is the other's turn.
pub fn say(end: &OwnedFd) -> Result<(), Errno> {
    rustix::io::write(end, b"t").map(drop)
}

/// Waits for one's turn.
pub fn wait(end: &OwnedFd) -> Result<(), Errno> {
    match rustix::io::read(end, &mut [0; 1])? {
        1 => Ok(()),
        _ => Err(Errno::PIPE),
    }
}

/// Gives a descriptor away and waits until it is taken.
pub fn hand_over(end: &OwnedFd, given: &OwnedFd) -> Result<(), Errno> {
    let fds = [given.as_fd()];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut room);
    with.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(end, &[IoSlice::new(b"l")], &mut with, SendFlags::empty())?;
    wait(end)
}

/// Takes it.
pub fn take_over(end: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    recvmsg(end, &mut [IoSliceMut::new(&mut byte)], &mut with, RecvFlags::CMSG_CLOEXEC)?;
    let fds = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    say(end)?;
    fds.ok_or(Errno::BADF)
}
