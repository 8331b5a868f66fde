//! Names and contracts shared by every part of Chronik.
