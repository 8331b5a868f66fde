//! Checks that a backend keeps the contracts of `chronik-core`, and the simulated disk they run on.
