//! Inventories of real systems beside what their own tools say, and documents beside the validators of their formats.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests ask other programs")]

mod debian;
mod documents;
mod languages;
mod rpm;
mod validators;
