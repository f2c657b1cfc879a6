//! What elements leave behind: threads, descriptors and objects.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gst::prelude::*;
use tempfile::TempDir;

/// How long threads and descriptors that are on their way out may take.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// Runs an ignored test of this program in a process of its own, where everything that is counted is its.
///
/// # Panics
/// When it fails.
pub fn run_alone(test: &str) {
    let cache = TempDir::new().expect("a folder can be made");
    let run = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("GST_TRACERS", "leaks")
        .env("G_DEBUG", "fatal-criticals")
        .env("XDG_CACHE_HOME", cache.path())
        .output()
        .expect("this program can be run");
    let said = [run.stdout, run.stderr].concat();
    assert!(run.status.success(), "{}: {}", run.status, String::from_utf8_lossy(&said));
}

/// The entries of a folder that the system has of this process.
fn own(what: &str) -> std::fs::ReadDir {
    std::fs::read_dir(Path::new("/proc/self").join(what)).unwrap()
}

/// The names of this process's threads, and what its descriptors lead to.
pub fn held() -> String {
    let threads = own("task").flatten();
    let threads = threads.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let threads: Vec<_> = threads.map(|name| name.trim_end().to_owned()).collect();
    let files: Vec<_> = own("fd").flatten().filter_map(|fd| std::fs::read_link(fd.path()).ok()).collect();
    format!("{threads:?}, {files:?}")
}

/// Threads and descriptors of this process, once there are no more than `wanted` or no fewer come.
pub fn settled(wanted: usize) -> usize {
    let deadline = Instant::now() + GONE_WITHIN;
    let mut last = usize::MAX;
    loop {
        let now = own("task").count() + own("fd").count();
        let rests = wanted == usize::MAX && now == last;
        if now <= wanted && wanted != usize::MAX || rests || Instant::now() > deadline {
            return now;
        }
        last = now;
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// The tracer that counts objects, from now on. (Its list of live objects is of no use: 1.22 takes references that it does
/// not have.)
pub fn tracer() -> gst::Tracer {
    let mut tracers = gst::active_tracers().into_iter();
    let tracer = tracers.find(|t| t.type_().name() == "GstLeaksTracer").expect("GST_TRACERS=leaks is set");
    tracer.emit_by_name::<()>("activity-start-tracking", &[]);
    tracer
}

/// Types of which more objects were made than went away since the tracking began, and how many more.
pub fn left_objects(tracer: &gst::Tracer) -> BTreeMap<String, isize> {
    let checkpoint = tracer.emit_by_name::<gst::Structure>("activity-get-checkpoint", &[]);
    let mut left = BTreeMap::new();
    for (list, one) in [("objects-created-list", 1), ("objects-removed-list", -1)] {
        for entry in checkpoint.get::<gst::List>(list).unwrap().iter() {
            let entry = entry.get::<gst::Structure>().unwrap();
            *left.entry(entry.get::<String>("type-name").unwrap()).or_default() += one;
        }
    }
    left.retain(|_, count| *count > 0);
    left
}
