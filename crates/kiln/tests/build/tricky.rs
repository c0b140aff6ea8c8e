//! Corners where builders are known to differ. Expectations are BuildKit's; where Kiln differs on purpose, the reason is
//! in `docs/deviations.md`.

mod add;
mod arguments;
mod config;
mod copy;
mod layers;
mod stages;
