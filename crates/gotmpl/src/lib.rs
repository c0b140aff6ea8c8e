//! Go's text/template language: parsed, and executed on values, within limits.
//!
//! What Go's package accepts is accepted, and gives the same text; what it does not know is an error with line, column
//! and the expression. Nothing here asks the world: functions come from the caller, as closures. A template can neither
//! loop without end nor write without end: steps, depth and output have [`Limits`].
//!
//! [`render`] one text, at once     [`Set`] texts that call each other     [`Functions`] what they may call
//! [`Value`] [`Dict`] [`Object`] what they work on     [`Error`] [`Reason`] [`Failure`] what goes wrong
//! [`fmt`] Go's formats of values, for functions that make texts
//! `lex` `parse` `exec` text → tokens → trees → text     `builtin` `compare` `print` `printf` Go's own functions
//!
//! Not there: complex numbers, unsigned numbers beyond 64 bits, and `range` over functions.
//!
//! Adding a builtin: its row in `builtin.rs`, its case in `tests/it/cases.rs`, which Go itself confirms.
#![forbid(unsafe_code)]

mod ast;
mod builtin;
mod compare;
mod error;
mod exec;
pub mod fmt;
mod functions;
mod lex;
mod number;
mod parse;
mod print;
mod printf;
mod value;

use std::sync::Arc;

pub use error::{Caller, Error, Failure, Reason};
pub use exec::Engine;
pub use functions::Functions;
pub use value::{Callable, Dict, Object, Value};

use ast::Tree;
use lex::Delimiters;

/// What a key that a map does not hold stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// Nothing, as do its fields: `missingkey=default`.
    #[default]
    Nothing,
    /// Nothing, which has no fields: `missingkey=zero`.
    Zero,
    /// It is an error: `missingkey=error`.
    Error,
}

/// What an execution may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes written.
    pub output: usize,
    /// Templates, blocks and parentheses inside of each other, executed at once.
    pub depth: usize,
    /// Actions, loop rounds and commands executed.
    pub steps: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { output: 64 << 20, depth: 300, steps: 10_000_000 }
    }
}

/// How templates are read and executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What opens an action.
    pub left: String,
    /// What closes it.
    pub right: String,
    /// What a missing key stands for.
    pub missing: Missing,
    /// What an execution may take.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            left: "{{".to_owned(),
            right: "}}".to_owned(),
            missing: Missing::default(),
            limits: Limits::default(),
        }
    }
}

/// Templates that may call each other.
#[derive(Debug, Clone)]
pub struct Set<'f> {
    functions: Functions<'f>,
    options: Options,
    trees: Arc<exec::Trees>,
}

impl<'f> Set<'f> {
    /// A set without templates.
    pub fn new(functions: Functions<'f>, options: Options) -> Set<'f> {
        Set { functions, options, trees: Arc::default() }
    }

    /// Parses a text and adds it as `name`, with what it defines. A later definition replaces an earlier one, unless it
    /// is empty.
    ///
    /// # Errors
    /// When it is not a template, or names a function or variable that does not exist.
    pub fn parse(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let marks = Delimiters { left: &self.options.left, right: &self.options.right };
        let parsed = parse::parse(name, &Arc::from(text), marks, &|name| self.functions.contains(name))?;
        for (name, tree) in parsed.defined {
            self.insert(name, tree);
        }
        self.insert(name.to_owned(), parsed.main);
        Ok(())
    }

    fn insert(&mut self, name: String, tree: Tree) {
        let trees = Arc::make_mut(&mut self.trees);
        if !tree.is_empty() || !trees.contains_key(&name) {
            trees.insert(name, Arc::new(tree));
        }
    }

    /// The names of its templates.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.trees.keys().map(String::as_str)
    }

    /// Executes the template `name` with `data` as its dot.
    ///
    /// # Errors
    /// When there is no such template, it fails, or reaches a limit.
    pub fn execute(&self, name: &str, data: &Value) -> Result<String, Error> {
        exec::execute(&self.trees, name, data, &self.functions, &self.options)
    }
}

/// Parses and executes one text.
///
/// # Errors
/// When it is not a template, fails, or reaches a limit.
pub fn render(text: &str, data: &Value, functions: &Functions<'_>, options: &Options) -> Result<String, Error> {
    const NAME: &str = "template";
    let marks = Delimiters { left: &options.left, right: &options.right };
    let parsed = parse::parse(NAME, &Arc::from(text), marks, &|name| functions.contains(name))?;
    let mut trees: exec::Trees = parsed.defined.into_iter().map(|(name, tree)| (name, Arc::new(tree))).collect();
    trees.insert(NAME.to_owned(), Arc::new(parsed.main));
    exec::execute(&Arc::new(trees), NAME, data, functions, options)
}
