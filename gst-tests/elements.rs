//! The elements as applications meet them, as far as that needs no swarm.

use std::path::PathBuf;
use std::sync::Once;

use gst::prelude::*;
use gstswarm::metainfo::create::{Content, Draft, DraftFile, encode};
use tempfile::TempDir;

fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstswarm::plugin_register_static().unwrap();
    });
}

/// A torrent of a readme and two films, with hashes that nothing has: enough for everything but playing.
fn films_torrent() -> Vec<u8> {
    let file = |name: &str, length| DraftFile { path: vec![name.into()], length, playtime: None };
    let files = vec![file("readme.txt", 70_000), file("film one.mp4", 50_000), file("two.mkv", 10_000)];
    let content = Content::Folder(files);
    let draft = Draft { name: "films".into(), content, piece_length: 65_536, ..Draft::default() };
    encode(&draft, &[[7; 20]; 2]).unwrap()
}

/// The metainfo of a live broadcast.
fn live_torrent() -> Vec<u8> {
    b"d8:announce12:http://a.b/a4:infod6:lengthi1048576e4:lived10:authmethod5:ECDSAe\
      4:name6:camera12:piece lengthi32768eee"
        .to_vec()
}

/// Bytes in a file that lasts as long as the test.
struct Fixture {
    _folder: TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self { _folder: folder, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

fn swarmsrc(location: &str) -> gst::Element {
    gst::ElementFactory::make("swarmsrc").property("location", location).build().unwrap()
}

/// The error that an element or a pipeline posts instead of starting, and its text.
fn error_of(element: &gst::Element) -> (glib::Error, String) {
    let bus = element.bus().unwrap_or_default();
    element.set_bus(Some(&bus));
    let _ = element.set_state(gst::State::Paused);
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &[gst::MessageType::Error]);
    element.set_state(gst::State::Null).unwrap();
    // Messages that nobody reads keep their element alive.
    bus.set_flushing(true);
    let message = message.expect("an error is posted");
    let gst::MessageView::Error(error) = message.view() else { unreachable!("filtered") };
    (error.error(), error.error().message().to_owned())
}

fn demux_error(bytes: &[u8]) -> (glib::Error, String) {
    let file = Fixture::new("x.torrent", bytes);
    let line = format!("filesrc location={} ! swarmdemux ! fakesink", file.path());
    error_of(&gst::parse::launch(&line).unwrap())
}

#[test]
fn the_elements_are_ranked_and_classed_so_that_players_find_them() {
    init();
    for (name, klass) in [("swarmsrc", "Source/Network"), ("swarmdemux", "Codec/Demuxer")] {
        let factory = gst::ElementFactory::find(name).unwrap();
        assert_eq!((factory.rank(), factory.klass()), (gst::Rank::PRIMARY, klass), "{name}");
        assert!(factory.description().len() > 40, "{name}");
    }
}

#[test]
fn every_property_of_both_elements_says_what_it_means() {
    init();
    for (name, count) in [("swarmsrc", 20), ("swarmdemux", 18)] {
        let element = gst::ElementFactory::make(name).build().unwrap();
        let specs = element.list_properties();
        let own: Vec<_> = specs.iter().filter(|p| p.owner_type() == element.type_()).collect();
        assert_eq!(own.len(), count, "{name}");
        for spec in own {
            assert!(spec.blurb().is_some_and(|blurb| blurb.len() > 20), "{name} {}", spec.name());
        }
        let stats = element.property::<gst::Structure>("stats");
        assert_eq!((stats.name().as_str(), stats.get("state")), ("application/x-swarm-stats", Ok("stopped")));
        assert_eq!(element.property::<gst::Array>("files").len(), 0);
    }
}

#[test]
fn a_swarm_uri_makes_a_source_that_tells_it_back() {
    init();
    let uri = "swarm:///a%20b/x.torrent?file=2&x.pe=127.0.0.1:6881";
    let element = gst::Element::make_from_uri(gst::URIType::Src, uri, None).unwrap();
    assert_eq!(element.factory().unwrap().name(), "swarmsrc");
    let handler = element.dynamic_cast_ref::<gst::URIHandler>().unwrap();
    assert_eq!(handler.uri().as_deref(), Some(uri));
    let error = handler.set_uri("swarm:///x?file=second").unwrap_err();
    assert!(error.matches(gst::URIError::BadReference), "{error}");
    assert_eq!(handler.uri().as_deref(), Some(uri), "a wrong URI changes nothing");
}

#[test]
fn the_scheduling_query_offers_pull_without_a_start() {
    init();
    let source = swarmsrc("/nowhere/x.torrent");
    let mut query = gst::query::Scheduling::new();
    assert!(source.static_pad("src").unwrap().query(&mut query));
    let (flags, ..) = query.result();
    assert_eq!(flags, gst::SchedulingFlags::SEEKABLE, "BANDWIDTH_LIMITED would add a second buffer");
    assert_eq!(query.scheduling_modes().collect::<Vec<_>>(), [gst::PadMode::Pull, gst::PadMode::Push]);
}

#[test]
fn the_file_is_known_before_the_start() {
    init();
    let file = Fixture::new("films.torrent", &films_torrent());
    let source = swarmsrc(file.path());
    let pad = source.static_pad("src").unwrap();
    assert_eq!(pad.query_duration::<gst::format::Bytes>(), Some(gst::format::Bytes::from_u64(50_000)));
    let mut uri = gst::query::Uri::new();
    assert!(pad.query(&mut uri));
    assert_eq!(uri.uri().unwrap().as_str(), format!("swarm://{}/film%20one.mp4", file.path()));
    assert!(!pad.query(&mut gst::query::Buffering::new(gst::Format::Percent)), "nothing is buffered yet");

    source.set_property("file-index", 2);
    assert_eq!(pad.query_duration::<gst::format::Bytes>(), Some(gst::format::Bytes::from_u64(10_000)));
}

#[test]
fn the_files_of_a_torrent_are_listed() {
    init();
    let file = Fixture::new("films.torrent", &films_torrent());
    let source = swarmsrc(&format!("swarm://{}?file=2", file.path()));
    let files = source.property::<gst::Array>("files");
    let files: Vec<gst::Structure> = files.iter().map(|f| f.get().unwrap()).collect();
    let expected =
        [("readme.txt", 70_000_u64, false), ("film one.mp4", 50_000, true), ("two.mkv", 10_000, true)];
    assert_eq!(files.len(), expected.len());
    for (index, (file, (name, length, media))) in files.iter().zip(expected).enumerate() {
        assert_eq!(file.get("index"), Ok(index as u32));
        assert_eq!(file.get("name"), Ok(name));
        assert_eq!((file.get("length"), file.get("media")), (Ok(length), Ok(media)), "{name}");
        assert_eq!(file.get("selected"), Ok(index == 2), "{name}");
    }
}

#[test]
fn a_missing_torrent_is_not_found() {
    init();
    let (error, text) = error_of(&swarmsrc("/nowhere/x.torrent"));
    assert!(error.matches(gst::ResourceError::NotFound), "{error}");
    assert!(text.contains("/nowhere/x.torrent"), "{text}");
    let (error, text) = error_of(&gst::ElementFactory::make("swarmsrc").build().unwrap());
    assert!(error.matches(gst::ResourceError::NotFound), "{error}");
    assert!(text.contains("no location set") && text.contains("swarmsrc location="), "{text}");
}

#[test]
fn what_is_no_plain_file_is_not_read() {
    init();
    let (error, text) = error_of(&swarmsrc("/dev/zero"));
    assert!(error.matches(gst::ResourceError::OpenRead), "{error}");
    assert!(text.contains("not a plain file"), "{text}");
}

#[test]
fn what_is_no_torrent_is_of_the_wrong_type() {
    init();
    let file = Fixture::new("x.torrent", b"not a torrent");
    for (error, text) in [error_of(&swarmsrc(file.path())), demux_error(b"not a torrent")] {
        assert!(error.matches(gst::StreamError::WrongType), "{error}");
        assert!(text.contains("not a torrent: it does not begin as one does"), "{text}");
    }
    let (_, text) = error_of(&swarmsrc(file.path()));
    assert!(text.contains("x.torrent: ") && text.contains("first bytes: 'not a torrent'"), "{text}");
}

#[test]
fn a_live_broadcast_is_told_from_a_broken_torrent() {
    init();
    let file = Fixture::new("x.tstream", &live_torrent());
    for (error, text) in [error_of(&swarmsrc(file.path())), demux_error(&live_torrent())] {
        assert!(error.matches(gst::StreamError::WrongType), "{error}");
        assert!(text.contains("live broadcast 'camera'") && text.contains("obsolete"), "{text}");
    }
}

#[test]
fn settings_that_make_no_sense_are_named_at_the_start() {
    init();
    let file = Fixture::new("films.torrent", &films_torrent());
    for (name, value) in [("bind-address", "localhost"), ("peers", "127.0.0.1")] {
        let source = swarmsrc(file.path());
        source.set_property(name, value);
        let (error, text) = error_of(&source);
        assert!(error.matches(gst::ResourceError::Settings), "{error}");
        assert!(text.contains(name) && text.contains(value), "{text}");
    }
    let source = swarmsrc(file.path());
    source.set_property("file-index", 3);
    let (error, text) = error_of(&source);
    assert!(error.matches(gst::ResourceError::NotFound) && text.contains("no file 3"), "{text}");
    let (error, text) = error_of(&swarmsrc("http://127.0.0.1/x.torrent"));
    assert!(error.matches(gst::ResourceError::NotFound) && text.contains("souphttpsrc"), "{text}");
}

#[test]
fn a_torrent_without_end_is_cut_off() {
    init();
    let line = "fakesrc sizetype=fixed sizemax=1000000 filltype=zero ! application/x-bittorrent ! swarmdemux ! fakesink";
    let (error, text) = error_of(&gst::parse::launch(line).unwrap());
    assert!(error.matches(gst::StreamError::WrongType), "{error}");
    assert!(text.contains("16777216"), "{text}");
}

#[test]
fn torrents_are_recognised_by_content() {
    init();
    let type_of = |data: &[u8]| {
        let (caps, _) = gst_base::type_find_helper_for_data(None::<&gst::Object>, data).ok()?;
        Some(caps.structure(0)?.name().to_string())
    };
    assert_eq!(type_of(&films_torrent()).as_deref(), Some("application/x-bittorrent"));
    assert_eq!(type_of(&live_torrent()).as_deref(), Some("application/x-tstream"));
    let behind_another_key = [b"d3:aaai1e", &films_torrent()[1..]].concat();
    assert_eq!(type_of(&behind_another_key).as_deref(), Some("application/x-bittorrent"));
    assert_eq!(type_of(b"d3:aaai1e4:name1:xe"), None);
}

#[test]
fn nothing_is_left_of_elements_that_failed_or_never_started() {
    init();
    for name in ["swarmsrc", "swarmdemux"] {
        let element = gst::ElementFactory::make(name).build().unwrap();
        let weak = element.downgrade();
        drop(element);
        assert!(weak.upgrade().is_none(), "{name}");
    }
    let file = Fixture::new("x.torrent", b"not a torrent");
    let source = swarmsrc(file.path());
    let weak = source.downgrade();
    error_of(&source);
    drop(source);
    assert!(weak.upgrade().is_none(), "a source that failed");

    let line = format!("filesrc location={} ! swarmdemux name=d ! fakesink", file.path());
    let pipeline = gst::parse::launch(&line).unwrap();
    let weak = pipeline.downcast_ref::<gst::Bin>().unwrap().by_name("d").unwrap().downgrade();
    error_of(&pipeline);
    drop(pipeline);
    assert!(weak.upgrade().is_none(), "a demuxer that failed");
}
