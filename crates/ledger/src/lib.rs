//! What builds made in clouds and must take away again.
//!
//! Before a builder asks a cloud for a thing it writes down in its [`Book`] what that will be and how it is deleted; the
//! line is on disk before the call leaves. When the thing is gone again, or is to stay, it is struck out. So whatever ends
//! a build, a failure, a signal or a power cut, the book has everything that may still cost money, and `kiln node gc`
//! [`sweep`](sweep::sweep)s it. No secret ever goes into a book.
//!
//! [`ledger`] the directory of all books     [`book`] that of one build     [`line`] how a book is written
//! [`sweep`] deleting what a book has open   [`poll`] waiting between questions to a cloud
//!
//! Adding a cloud: implement [`sweep::Cloud`] in its crate, and name it where `kiln node gc` chooses.
#![forbid(unsafe_code)]

pub mod book;
pub mod error;
pub mod ledger;
pub mod line;
pub mod poll;
pub mod sweep;

pub use book::{Book, Entry};
pub use error::{LedgerError, Result};
pub use ledger::{Found, Ledger};
pub use line::{About, Resource};
