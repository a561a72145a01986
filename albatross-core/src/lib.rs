//! What albatross decides, without I/O.
