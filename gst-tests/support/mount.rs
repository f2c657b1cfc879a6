//! Small file systems in memory, for disks that are full or read-only. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted when dropped.
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts one with these options at a folder, which is made if need be. `None`, with a word on standard
    /// output, where that is not permitted.
    pub fn new(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder can be made");
        let mounted = mount(&["-t", "tmpfs", "-o", options, "none"], at);
        if !mounted {
            println!("no permission to mount a file system: not tested");
        }
        mounted.then(|| Self { at: at.to_owned() })
    }

    /// Changes its options.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], &self.at), "cannot remount with {options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have a file open.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.at).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.at.display());
        }
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let run = Command::new("mount").args(arguments).arg(at).output();
    run.is_ok_and(|output| output.status.success())
}
