//! The HCL2 language: syntax with places, expressions, functions, formatting.
//!
//! [`parser`] turns a text into an [`ast::Body`] and diagnostics, several in one run; [`json_syntax`] does the same for
//! the JSON form. [`eval::Evaluator`] gives the [`value::Value`] of an expression in a [`scope::Scope`]: what is
//! sensitive or not known yet stays so through every operation. Nothing here opens a file or reads a clock; functions
//! that must know ask a [`world::World`].
//!
//! [`lexer`] text → tokens        [`parser`] tokens → [`ast`]       [`json`] [`json_syntax`] the JSON form
//! [`number`] exact numbers       [`value`] [`types`] [`convert`] what expressions give, and its types
//! [`typing`] type constraints    [`scope`] names                  [`eval`] expressions → values
//! [`functions`] all functions    [`console`] values for people    [`format`] source text in its canonical form
//!
//! Adding a function: its row in the table of the noun it belongs to in `functions/`, and a row in the oracle's table.
#![forbid(unsafe_code)]

pub mod ast;
pub mod console;
pub mod convert;
pub mod eval;
pub mod format;
pub mod functions;
pub mod json;
pub mod json_syntax;
pub mod lexer;
pub mod number;
pub mod parser;
pub mod scope;
pub mod types;
pub mod typing;
pub mod value;
pub mod world;
