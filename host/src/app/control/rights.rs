//! The rights of holders, which a change of their files takes away at once: while a new version is still loaded, and if it is
//! refused.

use std::collections::BTreeMap;

use bessai_control::{Holder, Input};
use bessai_domain::proposal::Proposal;

use super::Control;

/// The channels that each feed may set, as `device/channel`.
pub(super) type FeedRights = BTreeMap<String, Vec<String>>;

impl Control {
    /// A feed's file allows these channels now, as `device/channel`; none if the feed is gone.
    pub(in crate::app) fn set_rights(&self, feed: &str, write: &[String]) {
        let mut rights = self.shared.rights.borrow_mut();
        if rights.get(feed).map_or(&[][..], Vec::as_slice) == write && rights.contains_key(feed) {
            return;
        }
        rights.insert(feed.to_owned(), write.to_vec());
        drop(rights);
        let channel = |right: &String| right.split_once('/').map(|(device, channel)| (device.into(), channel.into()));
        let allowed = write.iter().filter_map(channel).collect();
        self.handle(Input::Rights(Holder::Feed(feed.to_owned()), allowed));
    }

    /// A model may set nothing any more.
    pub(in crate::app) fn end_model(&self, model: &str) {
        self.handle(Input::Rights(Holder::Model(model.to_owned()), Vec::new()));
    }

    /// Whether the file of a feed has the right; the error is the line that it lacks. Its running version may be older.
    pub(super) fn check_right(&self, holder: &Holder, proposal: &Proposal) -> Result<(), String> {
        let Holder::Feed(feed) = holder else { return Ok(()) };
        let right = format!("{}/{}", proposal.device, proposal.channel);
        let rights = self.shared.rights.borrow();
        if rights.get(feed).is_none_or(|rights| rights.contains(&right)) { Ok(()) } else { Err(right) }
    }
}
