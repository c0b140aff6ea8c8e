//! The HCL2 language: syntax with places, expressions, functions, formatting.
#![forbid(unsafe_code)]
