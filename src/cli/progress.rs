//! What people see on standard error while something takes time.
//!
//! On a terminal: bars and status lines that redraw themselves. Elsewhere (a file, a pipe, `TERM=dumb`): a
//! plain line now and then, without a control character. With `--quiet`: nothing. Whoever prints a
//! stranger's text here has escaped it before.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::metainfo::text::is_harmless;
use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressStyle};

/// Pause between two plain lines of the same bar or status.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Columns for what a bar is about.
const TITLE_WIDTH: usize = 24;
/// Most status lines on a terminal; more torrents than that share one.
pub(super) const MAX_LINES: usize = 12;

/// Everything that redraws itself; other output goes through it so that it does not tear a bar.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
static MODE: OnceLock<Mode> = OnceLock::new();

/// How much is shown, and how.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Redrawn in place.
    Live,
    /// A line now and then.
    Lines,
    /// Nothing but warnings and errors.
    Quiet,
}

/// Decides once for this process.
pub(super) fn set_up(quiet: bool) {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let mode = match io::stderr().is_terminal() && !dumb {
        _ if quiet => Mode::Quiet,
        true => Mode::Live,
        false => Mode::Lines,
    };
    // A second call can only come from a test in the same process; the first decision holds.
    let _ = MODE.set(mode);
}

fn mode() -> Mode {
    *MODE.get_or_init(|| Mode::Lines)
}

/// A line for people, left out with `--quiet`.
pub(super) fn say(line: &str) {
    if mode() != Mode::Quiet {
        print(line);
    }
}

/// A line that says that something is wrong.
pub(super) fn warn(line: &str) {
    print(&format!("swarm: {line}"));
}

fn print(line: &str) {
    // Nothing can be told to anybody when standard error is gone.
    SCREEN.suspend(|| drop(writeln!(io::stderr(), "{line}")));
}

/// Where log lines go: standard error, above the bars.
pub(super) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        SCREEN.suspend(|| io::stderr().write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decides when the next plain line is due. The first one comes after a pause too: short work stays silent.
struct Pace(Mutex<Instant>);

impl Pace {
    fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.elapsed() >= LINE_EVERY;
        if due {
            *last = Instant::now();
        }
        due
    }
}

/// Work of a known number of bytes. May be moved by many threads at once.
pub(super) struct Bar {
    bar: ProgressBar,
    title: String,
    pace: Pace,
}

impl Bar {
    /// A bar from 0 to `total` bytes.
    pub(super) fn new(title: impl Into<Cow<'static, str>>, total: u64) -> Self {
        let title = title.into();
        let bar = match mode() {
            Mode::Live => SCREEN.add(ProgressBar::new(total)),
            Mode::Lines | Mode::Quiet => {
                ProgressBar::with_draw_target(Some(total), indicatif::ProgressDrawTarget::hidden())
            }
        };
        bar.set_style(style("{prefix} [{bar:12}] {percent:>3} % of {binary_total_bytes}  {wide_msg}"));
        bar.set_prefix(shorten(&title, TITLE_WIDTH));
        Self { bar, title: title.into_owned(), pace: Pace::new() }
    }

    /// More bytes are done; the rest of the line is the bar's own rate and estimate.
    pub(super) fn add(&self, bytes: u64) {
        self.bar.inc(bytes);
        let rate = self.bar.per_sec();
        // Rates are shown with three digits: what a float loses is never seen.
        let rest = format!("{}/s, {} left", BinaryBytes(rate as u64), clock(self.bar.eta()));
        self.show(rest);
    }

    /// So many bytes are done, and this is to be said about it.
    pub(super) fn set(&self, bytes: u64, rest: String) {
        self.bar.set_position(bytes);
        self.show(rest);
    }

    fn show(&self, rest: String) {
        if mode() == Mode::Lines && self.pace.is_due() {
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
            say(&format!("{}: {} of {}, {rest}", self.title, percent(done, total), BinaryBytes(total)));
        }
        self.bar.set_message(rest);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        SCREEN.remove(&self.bar);
    }
}

/// Lines that are rewritten in place.
pub(super) struct Status {
    lines: Vec<ProgressBar>,
    pace: Pace,
}

impl Status {
    /// Nothing is shown yet.
    pub(super) fn new() -> Self {
        Self { lines: Vec::new(), pace: Pace::new() }
    }

    /// Shows these lines (at most [`MAX_LINES`]); where nothing can be rewritten, `summary` now and then.
    pub(super) fn show(&mut self, lines: &[String], summary: &str) {
        match mode() {
            Mode::Quiet => {}
            Mode::Lines if self.pace.is_due() => say(summary),
            Mode::Lines => {}
            Mode::Live => self.redraw(lines),
        }
    }

    fn redraw(&mut self, lines: &[String]) {
        let wanted = lines.len().min(MAX_LINES);
        for gone in self.lines.drain(wanted.min(self.lines.len())..) {
            gone.finish_and_clear();
            SCREEN.remove(&gone);
        }
        while self.lines.len() < wanted {
            let line = SCREEN.add(ProgressBar::no_length());
            line.set_style(style("{wide_msg}"));
            self.lines.push(line);
        }
        for (bar, line) in self.lines.iter().zip(lines) {
            bar.set_message(line.clone());
            bar.tick();
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.redraw(&[]);
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// A text of any length without the characters that could harm a terminal; names of strangers, which need to
/// be bounded too, go through [`escape`](crate::metainfo::text::escape).
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) { shown.push(c) } else { shown.extend(c.escape_default()) }
    }
    shown
}

/// An error and its causes on one harmless line. Causes that the error quotes already are not repeated.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            line.push_str(if line.is_empty() { "" } else { ": " });
            line.push_str(&cause);
        }
    }
    harmless(&line)
}

/// The text, or its beginning and an ellipsis.
pub(super) fn shorten(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// `42.0 %`; nothing of nothing is all of it, and 100 % is never rounded up to.
pub(super) fn percent(done: u64, total: u64) -> String {
    let tenths = (u128::from(done) * 1_000).checked_div(u128::from(total)).unwrap_or(1_000);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// `4:15`, `1:00:00`: a time that one reads at a glance, rounded to seconds.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        1..=999 => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => "very long".to_owned(),
    }
}

/// A time as options have it: `500ms`, `30s`, `5:00`, `1:00:00`.
pub(super) fn time(time: Duration) -> String {
    if time < Duration::from_secs(60) { humantime::format_duration(time).to_string() } else { clock(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_do_not_reach_a_hundred_early() {
        assert_eq!(percent(999_999, 1_000_000), "99.9 %");
        assert_eq!(percent(1, 1), "100.0 %");
        assert_eq!(percent(0, 0), "100.0 %");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0 %");
    }

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!(clock(Duration::from_secs(255)), "4:15");
        assert_eq!(clock(Duration::from_millis(3_599_600)), "1:00:00");
        assert_eq!(clock(Duration::ZERO), "0:00");
        assert_eq!(clock(Duration::MAX - Duration::from_secs(1)), "very long");
    }

    #[test]
    fn times_read_as_they_are_written() {
        let times = ["500ms", "30s", "5:00", "1:00:00"];
        let read = times.map(|text| time(super::super::values::span(text).unwrap()));
        assert_eq!(read, times);
    }

    #[test]
    fn causes_are_told_once_and_cannot_move_the_cursor() {
        let error = anyhow::anyhow!("no\u{1b}[2J file").context("no\u{1b}[2J file; move it").context("get x");
        assert_eq!(chain(&error), "get x: no\\u{1b}[2J file; move it");
    }

    #[test]
    fn long_names_are_cut_by_characters() {
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("äöüx", 3), "äö…");
    }

    #[test]
    fn bars_and_lines_work_where_there_is_no_terminal() {
        let bar = Bar::new("hashing", 10);
        bar.add(4);
        bar.set(10, "done".to_owned());
        let mut status = Status::new();
        status.show(&["one".to_owned(), "two".to_owned()], "two torrents");
        status.redraw(&["one".to_owned()]);
        assert_eq!(status.lines.len(), 1);
    }
}
