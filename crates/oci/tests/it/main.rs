//! What Kiln writes, read by the tools people have; what those tools write, read by Kiln.

mod tools;
