//! Floor 4: the operator's door, the command `swarm`.
//!
//! Standard output is for programs (JSON, or the film itself), standard error for people. Every error says
//! what failed, with which value, and what to do; `exit` has the exit codes.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]
// Clap's help is written as documentation: its brackets are for terminals, not links.
#![allow(rustdoc::broken_intra_doc_links)]

mod create;
mod describe;
mod download;
mod engine;
mod exit;
mod feeding;
mod get;
mod goal;
mod guard;
mod hashing;
mod input;
mod library;
mod live;
mod media;
mod output;
mod progress;
mod seed;
mod show;
mod signals;
mod sim;
mod sink;
mod source;
mod taking_up;
mod tracker;
mod values;
mod watch;

use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use exit::Exit;

const LONG_ABOUT: &str = "\
Create, share, fetch and inspect torrents for swarmsrc, the GStreamer element that plays a film while it
downloads, from others who watch it too. A first evening:

  swarm create film.mkv --tracker http://192.0.2.7:6969/announce
  swarm seed film.mkv.torrent --tracker        # shares it and runs that tracker
  swarm get film.mkv.torrent -o - | mpv -      # somewhere else

`swarm sim` shows in a made world what a crowd of viewers would feel.";

const AFTER_HELP: &str = "\
Exit codes:
  0    done (for `seed`, `tracker` and `live` also: ended by Ctrl-C)
  1    failed; standard error says what, and what to do about it
  2    the command line cannot be understood
  3    done in part: `get --give-up` gave up (what is there is kept), `seed` had to leave out a torrent
  130  ended by Ctrl-C before it was done

The first Ctrl-C finishes properly (trackers are told, for a few seconds at most), the second one ends at once.

Sizes and rates: K, M, G (or KiB, MiB, GiB) are powers of 1024, kB, MB, GB powers of 1000. Rates are bytes
per second, never bits.

Times: 30s, 5:00 or 1:00:00; 500ms, 5min and 1h are understood as well.

Environment:
  SWARM_LOG          what to log to standard error, e.g. `gstswarm::swarm=debug` (overrides -v)
  SOURCE_DATE_EPOCH  `create` writes this date, so that the same input gives the same torrent
  NO_COLOR           no colours in log lines
";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "swarm", version, about = "Create, share, fetch and inspect torrents for swarmsrc")]
#[command(long_about = LONG_ABOUT, after_long_help = AFTER_HELP, max_term_width = 100)]
#[command(arg_required_else_help = true)]
struct Cli {
    /// Log more to standard error: -v what happens, -vv why, -vvv everything
    #[arg(short, long, global = true, help_heading = "Common", action = ArgAction::Count)]
    verbose: u8,
    /// Show nothing but warnings and errors
    #[arg(short, long, global = true, help_heading = "Common")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Args),
    Seed(seed::Args),
    Tracker(tracker::Args),
    Get(get::Args),
    Live(live::Args),
    Show(show::Args),
    Sim(sim::Args),
}

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    progress::set_up(cli.quiet);
    log_to_stderr(cli.verbose);
    let (name, result) = match cli.command {
        Command::Create(args) => ("create", create::run(args)),
        Command::Seed(args) => ("seed", seed::run(args)),
        Command::Tracker(args) => ("tracker", tracker::run(&args)),
        Command::Get(args) => ("get", get::run(args)),
        Command::Live(args) => ("live", live::run(args)),
        Command::Show(args) => ("show", show::run(&args)),
        Command::Sim(args) => ("sim", sim::run(&args)),
    };
    let exit = result.unwrap_or_else(|error| report(name, &error));
    exit.into()
}

/// Prints an error with its causes.
fn report(command: &str, error: &anyhow::Error) -> Exit {
    if error.is::<output::Closed>() {
        return Exit::Done;
    }
    // Causes may quote file names, which may hold anything.
    progress::warn(&format!("{command}: {}", progress::chain(error)));
    if error.is::<exit::Usage>() { Exit::Usage } else { Exit::Failed }
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "gstswarm=warn",
        1 => "gstswarm=info",
        2 => "gstswarm=debug",
        _ => "gstswarm=trace",
    };
    let filter = match std::env::var("SWARM_LOG") {
        Ok(directives) => EnvFilter::builder().parse_lossy(directives),
        Err(_) => EnvFilter::new(level),
    };
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(|| progress::LogWriter)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_by_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("  swarm {}", command.get_name())), "{}", command.get_name());
        }
    }
}
