//! The command line as users see it: one module a topic, the real binary, real registries, other tools as readers.

mod archives;
mod charts;
mod doctor;
mod images;
mod nodes;
mod registries;
mod serve;
