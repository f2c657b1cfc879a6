//! Answers to queries that `GstBaseSrc` would answer wrongly for a swarm.

use super::load::Loaded;
use super::running::Buffered;
use super::settings::Settings;
use crate::gst::messages::millis;
use crate::gst::uri;

/// Anything of a film may be read in any order, a broadcast only as it comes. `BANDWIDTH_LIMITED` would be true, but makes playbin put a second buffer
/// with a second policy behind ours.
pub(super) fn scheduling(query: &mut gst::query::Scheduling, live: bool) {
    if live {
        query.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
        query.add_scheduling_modes([gst::PadMode::Push]);
    } else {
        query.set(gst::SchedulingFlags::SEEKABLE, 1, -1, 0);
        query.add_scheduling_modes([gst::PadMode::Pull, gst::PadMode::Push]);
    }
}

/// What is there, in bytes or percent; other formats are for demuxers to answer.
pub(super) fn buffering(query: &mut gst::query::Buffering, there: &Buffered) -> bool {
    match query.format() {
        gst::Format::Bytes => set_ranges(query, there, |at| Some(gst::format::Bytes::from_u64(at))),
        gst::Format::Percent => set_ranges(query, there, |at| Some(percent(at, there.length))),
        _ => return false,
    }
    let (rate_in, rate_out, left) = there.level.stats();
    query.set_percent(there.level.percent < 100, there.level.percent.into());
    query.set_stats(gst::BufferingMode::Stream, rate_in, rate_out, left);
    true
}

fn set_ranges<V>(query: &mut gst::query::Buffering, there: &Buffered, value: impl Fn(u64) -> V)
where
    V: gst::format::FormattedValue + gst::format::CompatibleFormattedValue<V> + Copy,
{
    let total = there.total.map_or(-1, millis);
    query.set_range(value(there.current.start), value(there.current.end), total);
    query.add_buffering_ranges(there.ranges.iter().map(|r| (value(r.start), value(r.end))));
}

fn percent(at: u64, length: u64) -> gst::format::Percent {
    let ppm = u128::from(at) * 1_000_000 / u128::from(length.max(1));
    gst::format::Percent::from_ppm(u32::try_from(ppm).unwrap_or(1_000_000).min(1_000_000))
}

/// Ends in the media file's name, so that typefinding starts with the right guess: with a torrent's name it
/// reads the file's end first, a piece that has to be fetched before the first frame.
pub(super) fn uri(settings: &Settings, loaded: &Loaded) -> String {
    let metainfo = &loaded.metainfo;
    let torrent = match settings.target() {
        Some(Ok(target)) if settings.metainfo.is_none() => target.path.clone(),
        _ => format!("/{}", metainfo.info_hash).into(),
    };
    let name = metainfo.layout.files[loaded.file].name.last().unwrap_or(&metainfo.name);
    uri::media_uri(&torrent, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gst::messages::Level;
    use std::time::Duration;

    fn there() -> Buffered {
        let level = Level { percent: 30, rate_in: 5, rate_out: 6, left: Some(Duration::from_secs(1)) };
        let total = Some(Duration::from_millis(7));
        Buffered { level, ranges: vec![0..100, 300..400], current: 0..100, length: 1_000, total }
    }

    #[test]
    fn ranges_are_told_in_bytes_and_in_percent() {
        gst::init().unwrap();
        let mut query = gst::query::Buffering::new(gst::Format::Bytes);
        assert!(buffering(&mut query, &there()));
        let bytes = |b: u64| gst::GenericFormattedValue::from(Some(gst::format::Bytes::from_u64(b)));
        assert_eq!(query.ranges().collect::<Vec<_>>(), [(bytes(0), bytes(100)), (bytes(300), bytes(400))]);
        assert_eq!(query.range(), (bytes(0), bytes(100), 7));
        assert_eq!(query.percent(), (true, 30));
        assert_eq!(query.stats(), (gst::BufferingMode::Stream, 5, 6, 1_000));

        let mut query = gst::query::Buffering::new(gst::Format::Percent);
        assert!(buffering(&mut query, &there()));
        let percent = |p| gst::GenericFormattedValue::from(Some(gst::format::Percent::from_percent(p)));
        assert_eq!(query.ranges().last(), Some((percent(30), percent(40))));
    }

    #[test]
    fn time_is_left_to_demuxers() {
        gst::init().unwrap();
        assert!(!buffering(&mut gst::query::Buffering::new(gst::Format::Time), &there()));
    }
}
