//! `swarm show`: what is in a torrent file.

use std::path::PathBuf;

use super::describe::Description;
use super::exit::{AFTER_HELP, Exit};
use super::{engine, output};

/// Show what is in a torrent file
///
/// Prints everything that a torrent file says: info-hash, pieces, files with their numbers (for `get --file`
/// and the element's `file-index`), trackers, duration, bitrate, title, the size of its thumbnail. Of a live
/// broadcast also how long its ring and its window are, and how its pieces are signed.
///
///   swarm show film.mkv.torrent
///   swarm show camera.tstream
///   swarm show --json film.mkv.torrent | jq -r '.files[].path'
///
/// The text is safe to look at: whatever could move the cursor or turn the direction of writing in a
/// stranger's names is escaped. In JSON names are exact.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// The torrent file, or the http:// or https:// URL of one
    #[arg(value_name = "FILE|URL")]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let description = Description::new(&engine::read(&args.file, None)?);
    if args.json {
        output::json(&description)?;
    } else {
        output::write(description.to_text().as_bytes())?;
    }
    Ok(Exit::Done)
}
