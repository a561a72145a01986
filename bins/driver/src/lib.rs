//! What the albatross programs share.
