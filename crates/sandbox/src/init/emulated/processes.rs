//! The command's processes: where each is, who it would be, which program it runs.
//!
//! Whoever follows them hears of every fork before the new process does anything, so nothing here has to be guessed.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::io::Errno;

use super::memory::Memory;
use crate::init::owners::who::Person;

/// What a process has that the kernel does not know.
pub struct Process {
    /// Its working directory.
    pub cwd: Rc<OwnedFd>,
    /// Who it would be.
    pub person: Person,
    /// Its mode creation mask.
    pub umask: u32,
    /// The path of its program, in the root.
    pub program: Rc<Vec<u8>>,
    /// Where the stub's own name is in its memory.
    pub itself: u64,
    /// What the stub in it opens next.
    pub loading: VecDeque<OwnedFd>,
    memory: Option<Rc<Memory>>,
}

impl Process {
    /// The first one.
    pub fn new(cwd: OwnedFd, person: Person, umask: u32) -> Process {
        let program = Rc::default();
        Process { cwd: Rc::new(cwd), person, umask, program, itself: 0, loading: VecDeque::new(), memory: None }
    }

    /// A copy, as `fork` makes one.
    fn copied(&self) -> Process {
        Process {
            cwd: self.cwd.clone(),
            person: self.person.clone(),
            umask: self.umask,
            program: self.program.clone(),
            itself: self.itself,
            loading: VecDeque::new(),
            memory: None,
        }
    }

    /// Its memory is another now.
    pub fn forget_memory(&mut self) {
        self.memory = None;
    }
}

/// All of them, and the threads they consist of.
#[derive(Default)]
pub struct Processes {
    processes: HashMap<u32, Process>,
    threads: HashMap<u32, u32>,
}

impl Processes {
    /// Adds the first.
    pub fn begin(&mut self, process: u32, first: Process) {
        self.processes.insert(process, first);
        self.threads.insert(process, process);
    }

    /// Which process a thread is of.
    pub fn of_thread(&self, thread: u32) -> Option<u32> {
        self.threads.get(&thread).copied()
    }

    /// Whether there is such a process, or thread.
    pub fn has(&self, number: u32) -> bool {
        self.threads.contains_key(&number)
    }

    /// A process.
    pub fn get(&mut self, process: u32) -> Result<&mut Process, Errno> {
        self.processes.get_mut(&process).ok_or(Errno::SRCH)
    }

    /// The memory of a process.
    pub fn memory(&mut self, process: u32) -> Result<Rc<Memory>, Errno> {
        let entry = self.get(process)?;
        if let Some(memory) = &entry.memory {
            return Ok(memory.clone());
        }
        let memory = Rc::new(Memory::of(process)?);
        entry.memory = Some(memory.clone());
        Ok(memory)
    }

    /// A thread has made another, which is a process of its own or not.
    pub fn forked(&mut self, parent: u32, child: u32, is_thread: bool) {
        let Some(process) = self.of_thread(parent) else { return };
        if is_thread {
            self.threads.insert(child, process);
            return;
        }
        if let Some(copy) = self.processes.get(&process).map(Process::copied) {
            self.processes.insert(child, copy);
            self.threads.insert(child, child);
        }
    }

    /// Of a process that has become another program one thread is left, with the process's number.
    pub fn executed(&mut self, process: u32) {
        self.threads.retain(|thread, of| *of != process || *thread == process);
    }

    /// A thread has ended.
    pub fn ended(&mut self, thread: u32) {
        let Some(process) = self.threads.remove(&thread) else { return };
        if !self.threads.values().any(|of| *of == process) {
            self.processes.remove(&process);
        }
    }

    /// The numbers of all processes.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.processes.keys().copied()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }
}
