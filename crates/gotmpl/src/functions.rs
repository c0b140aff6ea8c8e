//! The functions a template may call, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::builtin;
use crate::error::Failure;
use crate::exec::Engine;
use crate::value::Value;

type Plain<'f> = dyn Fn(&[Value]) -> Result<Value, Failure> + Send + Sync + 'f;
type Engaged<'f> = dyn Fn(&mut Engine<'_, '_>, &[Value]) -> Result<Value, Failure> + Send + Sync + 'f;

/// One of them.
#[derive(Clone)]
pub(crate) enum Function<'f> {
    Plain(Arc<Plain<'f>>),
    /// It may execute templates itself.
    Engaged(Arc<Engaged<'f>>),
    Builtin(fn(&[Value]) -> Result<Value, Failure>),
}

/// A registry of functions. Go's own are always there, and may be replaced.
#[derive(Clone, Default)]
pub struct Functions<'f> {
    named: BTreeMap<String, Function<'f>>,
}

impl<'f> Functions<'f> {
    /// Only Go's own: `and call eq ge gt html index js le len lt ne not or print printf println slice urlquery`.
    pub fn new() -> Functions<'f> {
        Functions::default()
    }

    /// Adds a function.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        function: impl Fn(&[Value]) -> Result<Value, Failure> + Send + Sync + 'f,
    ) {
        self.named.insert(name.into(), Function::Plain(Arc::new(function)));
    }

    /// Adds a function that executes templates itself, such as Helm's `include` and `tpl`.
    pub fn add_with_engine(
        &mut self,
        name: impl Into<String>,
        function: impl Fn(&mut Engine<'_, '_>, &[Value]) -> Result<Value, Failure> + Send + Sync + 'f,
    ) {
        self.named.insert(name.into(), Function::Engaged(Arc::new(function)));
    }

    /// The function `name`.
    pub(crate) fn get(&self, name: &str) -> Option<Function<'f>> {
        self.named.get(name).cloned().or_else(|| builtin::find(name).map(Function::Builtin))
    }

    /// Whether `name` was added, and is not only Go's own.
    pub(crate) fn replaces(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// Whether there is a function `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.replaces(name) || builtin::find(name).is_some()
    }

    /// The names of all functions, Go's own included.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.named.keys().map(String::as_str).collect();
        for name in builtin::names() {
            names.push(name);
        }
        names
    }
}

impl std::fmt::Debug for Functions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.named.keys()).finish()
    }
}
