//! What names mean where an expression is evaluated.

use std::collections::BTreeMap;

use crate::value::Value;

/// Variables by name, and those of the scope around.
#[derive(Debug, Clone, Default)]
pub struct Scope<'p> {
    parent: Option<&'p Scope<'p>>,
    variables: BTreeMap<String, Value>,
    /// The item of a splat.
    item: Option<Value>,
}

impl<'p> Scope<'p> {
    /// A scope with these variables and none around it.
    pub fn new(variables: BTreeMap<String, Value>) -> Scope<'static> {
        Scope { parent: None, variables, item: None }
    }

    /// A scope inside of this one.
    pub fn child(&'p self) -> Scope<'p> {
        Scope { parent: Some(self), variables: BTreeMap::new(), item: None }
    }

    /// Sets a variable of this scope.
    pub fn set(&mut self, name: &str, value: Value) {
        self.variables.insert(name.to_owned(), value);
    }

    /// What `name` is here.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.variables.get(name).or_else(|| self.parent?.get(name))
    }

    /// All names, for guessing what was meant.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.variables.keys().map(String::as_str).collect();
        names.extend(self.parent.iter().flat_map(|parent| parent.names()));
        names
    }

    pub(crate) fn with_item(&'p self, item: Value) -> Scope<'p> {
        Scope { item: Some(item), ..self.child() }
    }

    pub(crate) fn item(&self) -> Option<&Value> {
        self.item.as_ref().or_else(|| self.parent?.item())
    }
}
