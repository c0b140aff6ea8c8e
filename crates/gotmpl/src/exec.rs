//! Trees executed on data.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Options;
use crate::ast::{Branch, Command, Kind, Node, Operand, Pipe, Span, Tree};
use crate::error::{Error, Failure, Reason};
use crate::functions::{Function, Functions};
use crate::lex::Delimiters;
use crate::parse::parse;
use crate::print::{self, Bounded};
use crate::value::Value;
use crate::{Limits, Missing};

/// Templates by name.
pub(crate) type Trees = BTreeMap<String, Arc<Tree>>;

/// An execution under way. Functions that execute templates themselves get it.
pub struct Engine<'e, 'f> {
    functions: &'e Functions<'f>,
    options: &'e Options,
    trees: Arc<Trees>,
    tree: Arc<Tree>,
    out: String,
    /// What was written to outer texts, which `out` does not hold.
    written: usize,
    variables: Vec<(String, Value)>,
    depth: usize,
    steps: usize,
}

/// What comes after a node.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Executes the template `name`.
pub(crate) fn execute(
    trees: &Arc<Trees>,
    name: &str,
    data: &Value,
    functions: &Functions<'_>,
    options: &Options,
) -> Result<String, Error> {
    let unknown = || Error::new(Reason::UnknownTemplate(name.to_owned()), name, "", (0, 0));
    let tree = trees.get(name).cloned().ok_or_else(unknown)?;
    let mut engine = Engine {
        functions,
        options,
        trees: Arc::clone(trees),
        tree: Arc::clone(&tree),
        out: String::new(),
        written: 0,
        variables: Vec::new(),
        depth: 0,
        steps: 0,
    };
    engine.run(&tree, data, (0, 0))?;
    Ok(engine.out)
}

impl Engine<'_, '_> {
    /// Executes the template `name` with `data` as its dot; its output.
    ///
    /// # Errors
    /// When there is no such template, or it fails.
    pub fn include(&mut self, name: &str, data: &Value) -> Result<String, Failure> {
        let unknown = || Failure::new(format!("there is no template named `{name}`"));
        let tree = self.trees.get(name).cloned().ok_or_else(unknown)?;
        self.apart(&tree, data)
    }

    /// Parses and executes `text`, which may use all templates and define more for itself; its output.
    ///
    /// # Errors
    /// When it is not a template, or fails.
    pub fn evaluate(&mut self, name: &str, text: &str, data: &Value) -> Result<String, Failure> {
        let marks = Delimiters { left: &self.options.left, right: &self.options.right };
        let parsed = parse(name, &Arc::from(text), marks, &|name| self.functions.contains(name))?;
        let main = Arc::new(parsed.main);
        let outer = Arc::clone(&self.trees);
        if !parsed.defined.is_empty() {
            let mut trees = Trees::clone(&outer);
            trees.extend(parsed.defined.into_iter().map(|(name, tree)| (name, Arc::new(tree))));
            self.trees = Arc::new(trees);
        }
        let done = self.apart(&main, data);
        self.trees = outer;
        done
    }

    /// What `tree` writes, apart from the output so far.
    fn apart(&mut self, tree: &Arc<Tree>, data: &Value) -> Result<String, Failure> {
        let outer = std::mem::take(&mut self.out);
        self.written += outer.len();
        let done = self.run(tree, data, (0, 0));
        self.written -= outer.len();
        let inner = std::mem::replace(&mut self.out, outer);
        done?;
        Ok(inner)
    }

    fn error(&self, reason: Reason, span: Span) -> Error {
        Error::new(reason, &self.tree.name, &self.tree.text, span)
    }

    fn wrong(&self, message: impl Into<String>, span: Span) -> Error {
        self.error(Reason::WrongType(message.into()), span)
    }

    fn limit(&self, what: &'static str, limit: usize, span: Span) -> Error {
        self.error(Reason::Limit { what, limit }, span)
    }

    fn step(&mut self, span: Span) -> Result<(), Error> {
        let Limits { steps, .. } = self.options.limits;
        self.steps += 1;
        if self.steps <= steps { Ok(()) } else { Err(self.limit("steps", steps, span)) }
    }

    fn deeper(&mut self, span: Span) -> Result<(), Error> {
        let Limits { depth, .. } = self.options.limits;
        self.depth += 1;
        if self.depth <= depth { Ok(()) } else { Err(self.limit("templates and blocks nested", depth, span)) }
    }

    fn write(&mut self, text: &str, span: Span) -> Result<(), Error> {
        let Limits { output, .. } = self.options.limits;
        if self.written.saturating_add(self.out.len()).saturating_add(text.len()) > output {
            return Err(self.limit("bytes of output", output, span));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Executes `tree`, called at `span` of the tree at work.
    fn run(&mut self, tree: &Arc<Tree>, data: &Value, span: Span) -> Result<(), Error> {
        let depth = self.depth;
        self.deeper(span)?;
        let outer = std::mem::replace(&mut self.tree, Arc::clone(tree));
        let variables = std::mem::replace(&mut self.variables, vec![("$".to_owned(), data.clone())]);
        let done = self.list(&tree.nodes, data);
        // Put back whatever happened: a function may go on after a failure of what it executed.
        self.variables = variables;
        self.tree = outer;
        self.depth = depth;
        done.map(drop)
    }

    fn list(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Error> {
        self.deeper((0, 0))?;
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::On {
                self.depth -= 1;
                return Ok(flow);
            }
        }
        self.depth -= 1;
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Flow, Error> {
        match node {
            Node::Text(text) => {
                self.step((0, 0))?;
                self.write(text, (0, 0))?;
            }
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.print(&value, pipe.span)?;
                }
            }
            Node::If(branch) => return self.scoped(|engine| engine.choose(branch, dot, false)),
            Node::With(branch) => return self.scoped(|engine| engine.choose(branch, dot, true)),
            Node::Range(branch) => return self.scoped(|engine| engine.range(branch, dot)),
            Node::Template { name, pipe, span } => {
                self.step(*span)?;
                let unknown = || self.error(Reason::UnknownTemplate(name.clone()), *span);
                let tree = self.trees.get(name).cloned().ok_or_else(unknown)?;
                let data = match pipe {
                    Some(pipe) => self.pipe(pipe, dot)?,
                    None => Value::Nil,
                };
                let done = self.run(&tree, &data, *span);
                done.map_err(|error| error.called(&self.error(Reason::Syntax(String::new()), *span)))?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn print(&mut self, value: &Value, span: Span) -> Result<(), Error> {
        match value {
            Value::String(text) => self.write(text, span),
            Value::Nil => self.write("<no value>", span),
            Value::Function(_) => Err(self.wrong("a function cannot be printed: `call` it", span)),
            other => {
                let mut out = Bounded::new();
                print::value(&mut out, other);
                let text = out.finish().map_err(|failure| self.failed("print", failure, span))?;
                self.write(&text, span)
            }
        }
    }

    /// Runs `work`; the variables it declares end with it.
    fn scoped(&mut self, work: impl FnOnce(&mut Self) -> Result<Flow, Error>) -> Result<Flow, Error> {
        let known = self.variables.len();
        let flow = work(self)?;
        self.variables.truncate(known);
        Ok(flow)
    }

    fn choose(&mut self, branch: &Branch, dot: &Value, with: bool) -> Result<Flow, Error> {
        let value = self.pipe(&branch.pipe, dot)?;
        match value.truth() {
            true if with => self.list(&branch.body, &value),
            true => self.list(&branch.body, dot),
            false => self.list(&branch.otherwise, dot),
        }
    }

    fn range(&mut self, branch: &Branch, dot: &Value) -> Result<Flow, Error> {
        let pipe = &branch.pipe;
        let known = self.variables.len();
        let over = self.commands(pipe, dot)?;
        let mut empty = true;
        // One entry at a time: a number may be large, and its loop be left early.
        let entries: Box<dyn Iterator<Item = (Value, Value)>> = match over {
            Value::Nil => Box::new(std::iter::empty()),
            Value::List(items) => {
                let count = items.len();
                Box::new((0..count).map(move |at| (Value::Int(at as i64), items.get(at).cloned().unwrap_or_default())))
            }
            Value::Map(map) => Box::new(map.entries().into_iter().map(|(key, value)| (Value::from(key), value))),
            Value::Int(count) | Value::Int64(count) => Box::new((0..count.max(0)).map(|at| (Value::Int(at), Value::Int(at)))),
            Value::Object(object) if object.entries().is_some() => {
                let entries = object.entries().unwrap_or_default();
                Box::new(entries.into_iter().map(|(key, value)| (Value::from(key), value)))
            }
            Value::Object(object) if matches!(object.content(), Some(Value::List(_))) => {
                let Some(Value::List(items)) = object.content() else { return Ok(Flow::On) };
                let count = items.len();
                Box::new((0..count).map(move |at| (Value::Int(at as i64), items.get(at).cloned().unwrap_or_default())))
            }
            other => return Err(self.wrong(format!("`range` cannot go over {}", other.noun()), pipe.span)),
        };
        for (key, value) in entries {
            empty = false;
            self.step(pipe.span)?;
            self.variables.truncate(known);
            match pipe.variables.as_slice() {
                [] => {}
                [only] => self.bind(pipe, only, value.clone())?,
                [first, second, ..] => {
                    self.bind(pipe, first, key)?;
                    self.bind(pipe, second, value.clone())?;
                }
            }
            if self.list(&branch.body, &value)? == Flow::Break {
                break;
            }
        }
        if empty { self.list(&branch.otherwise, dot) } else { Ok(Flow::On) }
    }

    fn bind(&mut self, pipe: &Pipe, name: &str, value: Value) -> Result<(), Error> {
        if !pipe.assigns {
            self.variables.push((name.to_owned(), value));
            return Ok(());
        }
        match self.variables.iter_mut().rev().find(|(variable, _)| variable == name) {
            Some((_, held)) => {
                *held = value;
                Ok(())
            }
            None => Err(self.error(Reason::UndeclaredVariable(name.to_owned()), pipe.span)),
        }
    }

    /// The value of a pipeline, given to its variables.
    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Error> {
        let value = self.commands(pipe, dot)?;
        for variable in &pipe.variables {
            self.bind(pipe, variable, value.clone())?;
        }
        Ok(value)
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Error> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?);
        }
        Ok(value.unwrap_or_default())
    }

    /// The value of a command; `last` comes through `|` and is its last argument.
    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, Error> {
        self.step(command.span)?;
        let Some((first, rest)) = command.operands.split_first() else { return Ok(Value::Nil) };
        let value = match &first.kind {
            Kind::Function(name) => return self.call(name, rest, dot, last, command.span),
            Kind::Field(names) => {
                let arguments = self.arguments(rest, dot, last)?;
                return self.fields(dot.clone(), names, &arguments, first.span);
            }
            Kind::Variable(name, names) if !names.is_empty() => {
                let arguments = self.arguments(rest, dot, last)?;
                let value = self.variable(name, first.span)?;
                return self.fields(value, names, &arguments, first.span);
            }
            Kind::Chain(inner, names) => {
                let arguments = self.arguments(rest, dot, last)?;
                let value = self.operand(inner, dot)?;
                return self.fields(value, names, &arguments, first.span);
            }
            Kind::Nil => return Err(self.wrong("`nil` is no value to print or to pass on", first.span)),
            _ => self.operand(first, dot)?,
        };
        if !rest.is_empty() || last.is_some() {
            let message = format!("{} takes no arguments: it is no function", value.noun());
            return Err(self.wrong(message, command.span));
        }
        Ok(value)
    }

    fn arguments(&mut self, operands: &[Operand], dot: &Value, last: Option<Value>) -> Result<Vec<Value>, Error> {
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        Ok(arguments)
    }

    /// The value of an operand that is given no arguments.
    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Error> {
        Ok(match &operand.kind {
            Kind::Dot => dot.clone(),
            Kind::Nil => Value::Nil,
            Kind::Bool(yes) => Value::Bool(*yes),
            Kind::Int(number) => Value::Int(*number),
            Kind::Float(number) => Value::Float(*number),
            Kind::String(text) => Value::String(Arc::clone(text)),
            Kind::Field(names) => self.fields(dot.clone(), names, &[], operand.span)?,
            Kind::Variable(name, names) => {
                let value = self.variable(name, operand.span)?;
                self.fields(value, names, &[], operand.span)?
            }
            Kind::Function(name) => self.call(name, &[], dot, None, operand.span)?,
            Kind::Pipe(pipe) => {
                self.deeper(operand.span)?;
                let value = self.pipe(pipe, dot)?;
                self.depth -= 1;
                value
            }
            Kind::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(value, names, &[], operand.span)?
            }
        })
    }

    fn variable(&self, name: &str, span: Span) -> Result<Value, Error> {
        let held = self.variables.iter().rev().find(|(variable, _)| variable == name);
        held.map(|(_, value)| value.clone())
            .ok_or_else(|| self.error(Reason::UndeclaredVariable(name.to_owned()), span))
    }

    /// Follows `names` from `value`; the last may be a method that is given arguments.
    fn fields(&self, value: Value, names: &[String], arguments: &[Value], span: Span) -> Result<Value, Error> {
        let mut value = value;
        let missing = self.options.missing;
        for (at, name) in names.iter().enumerate() {
            let given: &[Value] = if at + 1 == names.len() { arguments } else { &[] };
            value = match &value {
                Value::Object(object) => match object.call(name, given) {
                    Some(done) => done.map_err(|failure| self.failed(name, failure, span))?,
                    None => match object.field(name) {
                        Some(field) if given.is_empty() => field,
                        Some(_) => return Err(self.no_method(name, span)),
                        None => return Err(self.no_field(name, &value, span)),
                    },
                },
                Value::Map(_) if !given.is_empty() => return Err(self.no_method(name, span)),
                Value::Map(map) => match map.get(name) {
                    Some(field) => field,
                    None if missing == Missing::Error => {
                        return Err(self.error(Reason::MissingKey(name.clone()), span));
                    }
                    // What is missing has no fields, and whoever asks for one gets nothing again.
                    None if missing == Missing::Nothing => return Ok(Value::Nil),
                    None => Value::Nil,
                },
                Value::Nil if at == 0 && missing != Missing::Error => return Ok(Value::Nil),
                other => return Err(self.no_field(name, other, span)),
            };
        }
        Ok(value)
    }

    fn no_method(&self, name: &str, span: Span) -> Error {
        self.wrong(format!("`{name}` is given arguments but is no method"), span)
    }

    fn no_field(&self, name: &str, of: &Value, span: Span) -> Error {
        self.error(Reason::NoField { name: name.to_owned(), of: of.noun().to_owned() }, span)
    }

    fn call(
        &mut self,
        name: &str,
        operands: &[Operand],
        dot: &Value,
        last: Option<Value>,
        span: Span,
    ) -> Result<Value, Error> {
        if matches!(name, "and" | "or") && !self.functions.replaces(name) {
            return self.junction(name, operands, dot, last, span);
        }
        let unknown = || self.error(Reason::UnknownFunction(name.to_owned()), span);
        let function = self.functions.get(name).ok_or_else(unknown)?;
        let arguments = self.arguments(operands, dot, last)?;
        let done = match function {
            Function::Plain(function) => function(&arguments),
            Function::Engaged(function) => function(self, &arguments),
            Function::Builtin(function) => function(&arguments),
        };
        done.map_err(|failure| self.failed(name, failure, span))
    }

    /// `and` and `or`: what follows the argument that decides is not evaluated.
    fn junction(
        &mut self,
        name: &str,
        operands: &[Operand],
        dot: &Value,
        last: Option<Value>,
        span: Span,
    ) -> Result<Value, Error> {
        let decides = name == "or";
        let mut value = None;
        for operand in operands {
            let argument = self.operand(operand, dot)?;
            if argument.truth() == decides {
                return Ok(argument);
            }
            value = Some(argument);
        }
        last.or(value).ok_or_else(|| self.wrong(format!("`{name}` wants an argument"), span))
    }

    fn failed(&self, function: &str, failure: Failure, span: Span) -> Error {
        match failure.inner {
            Some(error) => error.called(&self.error(Reason::Syntax(String::new()), span)),
            None => {
                let reason = Reason::Failed { function: function.to_owned(), message: failure.message };
                self.error(reason, span).with_hint(failure.hint)
            }
        }
    }
}
