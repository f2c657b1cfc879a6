//! Plays media from a BitTorrent swarm while it downloads.

pub mod rate;
pub mod time;

pub mod wire;

pub mod metainfo;

pub mod discovery;
pub mod store;
pub mod stream;
pub mod swarm;

pub mod net;
pub mod sim;

pub mod gst;

pub use plugin::plugin_register_static;

// `plugin_define!` makes public items without documentation.
#[allow(missing_docs)]
mod plugin {
    fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
        crate::gst::register(plugin)
    }

    gst::plugin_define!(
        swarm,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        "MPL-2.0",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        "Unknown package origin",
        env!("BUILD_REL_DATE")
    );
}
