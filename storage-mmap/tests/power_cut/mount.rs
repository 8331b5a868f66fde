//! An ext4 image whose power can be cut.

use chronik_conformance::check::Failure;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What is missing for the test, or `None`.
pub(crate) fn obstacle() -> Option<String> {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        return Some("not root".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("no loop devices".to_owned());
    }
    for tool in ["mkfs.ext4", "mount", "umount", "losetup", "unshare"] {
        if !has(tool) {
            return Some(format!("{tool} is not installed"));
        }
    }
    (!has("xfs_io") && !has("python3")).then(|| "neither xfs_io nor python3 is installed".to_owned())
}

fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/sbin".into(), "/usr/sbin".into()])
        .any(|folder| folder.join(tool).exists())
}

/// Runs a program to its end; returns what it wrote.
fn call(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| Failure(format!("{program}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure(format!(
        "{program} {}: {}",
        arguments.join(" "),
        said.trim()
    )))
}

/// A disk in a file, and where it is mounted.
pub(crate) struct Image {
    folder: PathBuf,
    /// The loop device, while it is attached.
    device: Option<String>,
    mounted: bool,
}

/// How often something is tried that waits for others: loop devices are taken and freed by anybody.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

impl Image {
    /// A new file system of 192 MiB.
    pub(crate) fn new(name: &str) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("chronik-power-cut-{}-{name}", std::process::id()));
        std::fs::create_dir_all(folder.join("mnt")).map_err(|error| Failure(error.to_string()))?;
        let image = Self {
            folder,
            device: None,
            mounted: false,
        };
        let file = std::fs::File::create(image.file()).map_err(|error| Failure(error.to_string()))?;
        file.set_len(192 << 20)
            .map_err(|error| Failure(error.to_string()))?;
        call("mkfs.ext4", &["-q", "-F", &text(&image.file())])?;
        Ok(image)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    /// Where it is mounted.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.folder.join("mnt")
    }

    /// Mounts it. The journal is not committed by time, so that only syncs make anything durable.
    pub(crate) fn mount(&mut self) -> Result<(), Failure> {
        let device = self.attach()?;
        let point = text(&self.mount_point());
        call("mount", &["-t", "ext4", "-o", "commit=300", &device, &point])?;
        self.mounted = true;
        // While it is mounted that is a wish: the device is free once the mount is gone, however this process ends.
        self.detach()
    }

    /// Attaches the file to a free loop device.
    fn attach(&mut self) -> Result<String, Failure> {
        self.detach()?;
        let file = text(&self.file());
        let mut answer = Err(Failure::new("no loop device was asked for"));
        for _ in 0..ATTEMPTS {
            answer = call("losetup", &["--find", "--show", &file]);
            if answer.is_ok() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let device = answer?.trim().to_owned();
        self.device = Some(device.clone());
        Ok(device)
    }

    /// Gives the loop device back.
    fn detach(&mut self) -> Result<(), Failure> {
        match self.device.take() {
            Some(device) => call("losetup", &["--detach", &device]).map(drop),
            None => Ok(()),
        }
    }

    /// Stops the file system without writing anything back: from now on every call fails. Returns when that began,
    /// by the wall clock: a sync that is under way then may answer with success and lose what it covered (ext4 takes
    /// a journal that is shut down for one that has committed), so nothing follows from later answers.
    pub(crate) fn cut_power(&self) -> Result<u128, Failure> {
        let point = text(&self.mount_point());
        if !has("python3") {
            let began = now_ns();
            return call("xfs_io", &["-x", "-c", "shutdown", &point]).map(|_| began);
        }
        // FS_IOC_SHUTDOWN with the flag that leaves the journal unflushed.
        let program = "import fcntl, os, struct, sys, time\n\
                       fd = os.open(sys.argv[1], os.O_RDONLY)\n\
                       began = time.time_ns()\n\
                       fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))\n\
                       print(began)";
        let said = call("python3", &["-c", program, &point])?;
        let began = said.trim().parse();
        began.map_err(|_| Failure(format!("the power cut said \"{said}\"")))
    }

    /// Unmounts it, once whoever used it is gone: the threads of a store end after it was closed.
    pub(crate) fn unmount(&mut self) -> Result<(), Failure> {
        let point = text(&self.mount_point());
        let mut answer = call("umount", &[&point]);
        for _ in 0..ATTEMPTS {
            if answer.is_ok() {
                break;
            }
            std::thread::sleep(PAUSE);
            answer = call("umount", &[&point]);
        }
        answer?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if self.mounted {
            let _ = call("umount", &["-l", &text(&self.mount_point())]);
        }
        let _ = self.detach();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The wall clock, which processes share.
pub(crate) fn now_ns() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
