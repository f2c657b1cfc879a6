//! A child process that cannot outlive the test: it is ended by its id on drop, and the kernel ends it when
//! the thread that started it dies.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::wait;

/// How long a process may take to end after it was asked to.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// How much of a log a failure shows.
const LOG_TAIL: usize = 4_000;

/// A running child process; its output goes to a log file.
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A command that the kernel kills together with the calling thread.
pub fn bound_command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

impl Running {
    /// Starts a command made by [`bound_command`]; standard output and errors go to `folder/name.log`.
    pub fn start(name: &str, folder: &Path, mut command: Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log).expect("the log can be made");
        let errors = out.try_clone().expect("a file handle can be cloned");
        let child = command
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }

    /// Everything that it has printed so far.
    pub fn log(&self) -> String {
        read(&self.log)
    }

    /// The end of its log with its name above, for failure messages.
    pub fn story(&self) -> String {
        story(&self.name, &self.log)
    }

    /// Writes one line to its standard input.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("standard input is still open");
        writeln!(stdin, "{line}").unwrap_or_else(|e| panic!("{} does not listen: {e}", self.name));
    }

    /// Its standard input, to be fed from another thread; it can be had once.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("standard input was not taken yet")
    }

    /// Waits until its log contains `text`.
    pub fn until_printed(&mut self, text: &str, limit: Duration) {
        let Self { name, child, log } = self;
        let what = format!("{name} to print `{text}`");
        let printed = || {
            let ended = child.try_wait().expect("a child can be asked");
            let printed = read(log).contains(text);
            assert!(
                printed || ended.is_none(),
                "{name} ended before it printed `{text}`\n{}",
                story(name, log)
            );
            printed
        };
        wait::until(&what, limit, printed, || story(name, log));
    }

    /// Waits until it ends by itself.
    pub fn until_ended(&mut self, limit: Duration) -> ExitStatus {
        let Self { name, child, log } = self;
        let ended = || child.try_wait().expect("a child can be asked");
        wait::until_some(&format!("{name} to end"), limit, ended, || story(name, log))
    }

    /// Waits until it ends by itself and demands success.
    pub fn until_succeeded(&mut self, limit: Duration) {
        let status = self.until_ended(limit);
        assert!(status.success(), "{} ended with {status}\n{}", self.name, self.story());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // A failure means that it has ended already: whoever waits for it will see that.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Asks it to end as Ctrl-C does and waits for that.
    pub fn interrupt(&mut self) -> ExitStatus {
        self.signal(Signal::INT);
        self.until_ended(ENDS_WITHIN)
    }

    /// Closes its standard input and waits for its end.
    pub fn close(&mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.until_ended(ENDS_WITHIN)
    }

    /// Kills it without a warning, as a crash would.
    pub fn kill(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned()
}

fn story(name: &str, log: &Path) -> String {
    let log = read(log);
    let from = log.ceil_char_boundary(log.len().saturating_sub(LOG_TAIL));
    format!("--- {name} printed:\n{}", &log[from..])
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
