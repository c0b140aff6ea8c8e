//! Kernels made by hand, whole and broken; what images say of them.

mod broken;
mod kinds;
mod said;
mod started;
