//! Layers on real file systems.
