//! Charts of Helm: loading, values, rendering, without the `helm` program.
