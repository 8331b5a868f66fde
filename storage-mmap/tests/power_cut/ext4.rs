//! The project's own `FileSystem` on an image, for the checks of what stores rely on.

use super::mount::Image;
use chronik_conformance::check::{Failure, Verdict};
use chronik_conformance::file_system::{Backend, Rig};
use chronik_conformance::world::Seed;
use chronik_core::FileSystem;
use chronik_storage_mmap::RealFs;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) struct Ext4 {
    /// What this machine has not.
    pub(crate) missing: Option<String>,
}

impl Backend for Ext4 {
    fn name(&self) -> &str {
        "storage-mmap on ext4"
    }

    fn rig(&self, seed: Seed) -> Result<Box<dyn Rig>, Failure> {
        match &self.missing {
            Some(what) => Err(Failure::new(what.clone())),
            None => Ok(Box::new(ImageRig {
                image: Image::new(&format!("fs-{seed}"))?,
                in_use: false,
            })),
        }
    }
}

struct ImageRig {
    image: Image,
    in_use: bool,
}

impl Rig for ImageRig {
    fn mount(&mut self) -> Result<(Arc<dyn FileSystem>, PathBuf), Failure> {
        if self.in_use {
            self.image.unmount()?;
        }
        self.image.mount()?;
        self.in_use = true;
        Ok((Arc::new(RealFs), self.image.mount_point()))
    }

    fn cut_power(&mut self) -> Verdict {
        self.image.cut_power().map(drop)
    }

    fn rounds(&self) -> u64 {
        3
    }
}
