//! The engine's `tracing` in GStreamer's own log: `GST_DEBUG=swarm:5` shows it.
//!
//! The bridge is the default subscriber of the engine's threads only, never of the process: the subscriber of
//! an application that loads the plugin stays what it is.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::sync::LazyLock;

use gst::DebugLevel;
use gst::log::DebugLogger;
use tracing::field::{Field, Visit};
use tracing::subscriber::{DefaultGuard, Interest};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

static CATEGORY: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("swarm", gst::DebugColorFlags::empty(), Some("The BitTorrent engine"))
});

static BRIDGE: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Registry::default().with(Bridge)));

thread_local! {
    static GUARD: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// Sends what this thread traces to the category `swarm` from now on, until the thread ends.
pub(super) fn install_on_this_thread() {
    GUARD.with_borrow_mut(|guard| {
        guard.get_or_insert_with(|| tracing::dispatcher::set_default(&BRIDGE));
    });
}

struct Bridge;

/// Fields of a span, as they will be printed.
struct SpanFields(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Bridge {
    /// The category's threshold may change at any time, so no call site may remember the answer.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        CATEGORY.above_threshold(level(*metadata.level()))
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut line = Line::default();
            attributes.record(&mut line);
            span.extensions_mut().replace(SpanFields(line.0));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            line.span(span.name(), span.extensions().get::<SpanFields>());
        }
        event.record(&mut line);
        log(event.metadata(), &line.0);
    }
}

fn log(metadata: &Metadata<'_>, text: &str) {
    let file = glib::GString::from_string_checked(metadata.file().unwrap_or("engine").to_owned());
    CATEGORY.log(
        None::<&glib::Object>,
        level(*metadata.level()),
        file.as_ref().map_or(glib::gstr!("engine"), |f| f.as_gstr()),
        metadata.target(),
        metadata.line().unwrap_or(0),
        format_args!("{text}"),
    );
}

/// GStreamer knows two levels between Info and Trace; `tracing`'s debug is the first of them.
fn level(level: Level) -> DebugLevel {
    match level {
        Level::ERROR => DebugLevel::Error,
        Level::WARN => DebugLevel::Warning,
        Level::INFO => DebugLevel::Info,
        Level::DEBUG => DebugLevel::Debug,
        Level::TRACE => DebugLevel::Trace,
    }
}

/// A log line that grows field by field: the message plain, everything else as `name=value`.
#[derive(Default)]
struct Line(String);

impl Line {
    fn span(&mut self, name: &str, fields: Option<&SpanFields>) {
        let fields = fields.map_or("", |f| f.0.as_str());
        let _ = write!(self.0, "{name}{{{fields}}}: ");
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let gap = if self.0.is_empty() || self.0.ends_with(' ') { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{gap}{value:?}"),
            name => write!(self.0, "{gap}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn events_of_this_thread_reach_the_category_with_spans_and_fields() {
        gst::init().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        let function = gst::log::add_log_function(move |category, level, _, _, _, _, message| {
            if category.name() == "swarm" {
                sink.lock().unwrap().push((level, message.get().map(|m| m.to_string())));
            }
        });
        CATEGORY.set_threshold(DebugLevel::Debug);
        std::thread::spawn(|| {
            tracing::warn!("before the bridge");
            install_on_this_thread();
            install_on_this_thread();
            let _span = tracing::info_span!("torrent", n = 7).entered();
            tracing::debug!(peers = 2, "hello");
            tracing::trace!("below the threshold");
        })
        .join()
        .unwrap();
        gst::log::remove_log_function(function);
        let expected = (DebugLevel::Debug, Some("torrent{n=7}: hello peers=2".to_owned()));
        assert_eq!(*lines.lock().unwrap(), [expected]);
    }
}
