//! Plugins that fail, hang, flood or lie, each beside the site's own feed: that one gets every reading, in order.

mod busy;
mod components;
mod crowd;
mod failing;
mod floods;
mod poison;
