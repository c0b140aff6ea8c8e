//! Faults that a test machine cannot have, put into the facts of a healthy fleet.
