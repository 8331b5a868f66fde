//! Writes the Rust of `schema/` into a folder: `cargo run --example regenerate -- transport-capnp/src/generated`.
//!
//! It runs the `capnp` compiler (Debian: capnproto), which a build does not need because the result is committed.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: regenerate FOLDER")?;
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    capnpc::CompilerCommand::new()
        .src_prefix(&schema)
        .file(schema.join("session.capnp"))
        .output_path(folder)
        .run()?;
    Ok(())
}
