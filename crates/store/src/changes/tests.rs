//! Both ways of finding changes, on real file systems.
