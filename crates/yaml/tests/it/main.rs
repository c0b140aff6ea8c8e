//! Text in, values and places out.

mod hostile;
mod reading;
