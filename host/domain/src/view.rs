//! What one feed sees of a site: the devices that it has the right to read, with sources renumbered.

use std::sync::Arc;

use crate::event::{Event, EventBody, Frame, Safety};
use crate::site::Site;

/// Applies a feed's right to read to descriptions and events.
#[derive(Clone, Debug)]
pub struct FeedView {
    devices: Option<Vec<String>>,
    /// The feed's number of each source; none if it may not read it.
    sources: Vec<Option<u32>>,
}

impl FeedView {
    /// A view of these devices, or of all devices if there is no list.
    pub fn new(devices: Option<Vec<String>>) -> Self {
        Self { devices, sources: Vec::new() }
    }

    fn allows(&self, device: &str) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.iter().any(|allowed| allowed == device))
    }

    /// The description as the feed sees it; sources of later frames are renumbered accordingly.
    pub fn site(&mut self, site: &Arc<Site>) -> Arc<Site> {
        if self.devices.is_none() {
            return Arc::clone(site);
        }
        let mut next = 0;
        self.sources = Vec::with_capacity(site.sources.len());
        for source in &site.sources {
            let allowed = self.allows(&source.device);
            self.sources.push(allowed.then_some(next));
            next += u32::from(allowed);
        }
        let mut visible = Site::clone(site);
        visible.devices.retain(|device| self.allows(&device.name));
        visible.sources.retain(|source| self.allows(&source.device));
        Arc::new(visible)
    }

    /// An event as the feed sees it; none if it concerns a device that the feed may not read.
    pub fn event(&mut self, event: &Arc<Event>) -> Option<Arc<Event>> {
        if self.devices.is_none() {
            return Some(Arc::clone(event));
        }
        let body = self.body(&event.body)?;
        Some(Arc::new(Event { body, ..Event::clone(event) }))
    }

    fn body(&mut self, body: &EventBody) -> Option<EventBody> {
        match body {
            EventBody::Site(site) => Some(EventBody::Site(self.site(site))),
            EventBody::Frame(frame) => {
                let index = usize::try_from(frame.source).ok()?;
                let source = self.sources.get(index).copied().flatten()?;
                Some(EventBody::Frame(Frame { source, ..frame.clone() }))
            }
            EventBody::Device(status) => self.allows(&status.device).then(|| body.clone()),
            EventBody::Dispatch(dispatch) => self.allows(&dispatch.device).then(|| body.clone()),
            EventBody::Anomaly(anomaly) => self.allows(&anomaly.device).then(|| body.clone()),
            EventBody::Write(write) => self.allows(&write.proposal.device).then(|| body.clone()),
            EventBody::Safety(safety) => {
                let mut visible = Safety::clone(safety);
                visible.violations.retain(|violation| self.allows(&violation.device));
                Some(EventBody::Safety(visible))
            }
            EventBody::Gap(_) | EventBody::Heartbeat => Some(body.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DeviceStatus, Sequence};
    use crate::proposal::{Proposal, WriteStep};
    use crate::site::{Device, Source};
    use crate::time::Timestamp;
    use std::time::Duration;

    fn site() -> Arc<Site> {
        let device = |name: &str| Device { name: name.into(), attributes: Vec::new() };
        let source = |name: &str| Source {
            device: name.into(),
            period: Duration::from_secs(1),
            channels: [].into(),
            attributes: Vec::new(),
        };
        let names = ["a", "b", "c"];
        Arc::new(Site {
            id: "S".into(),
            revision: 1,
            devices: names.map(device).into(),
            sources: names.map(source).into(),
            attributes: Vec::new(),
        })
    }

    fn frame_of(view: &mut FeedView, source: u32) -> Option<u32> {
        let frame = Frame { source, values: vec![1.0], faults: Vec::new(), texts: Vec::new() };
        let body = EventBody::Frame(frame);
        let event = Arc::new(Event { sequence: Sequence(1), at: Timestamp::default(), body });
        view.event(&event).map(|event| match &event.body {
            EventBody::Frame(frame) => frame.source,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn sources_are_renumbered_and_other_devices_hidden() {
        let mut view = FeedView::new(Some(vec!["b".into(), "c".into()]));
        let visible = view.site(&site());
        assert_eq!(visible.devices.len(), 2);
        assert_eq!(visible.sources[0].device, "b");
        assert_eq!([0, 1, 2, 3].map(|source| frame_of(&mut view, source)), [None, Some(0), Some(1), None]);
        let status = EventBody::Device(DeviceStatus { device: "a".into(), online: true, detail: String::new() });
        assert_eq!(view.body(&status), None);
        for (device, visible) in [("a", false), ("b", true)] {
            let (channel, reference) = ("power_kw".into(), String::new());
            let proposal = Proposal { device: device.into(), channel, value: None, until: None, reference };
            let (proposer, unit) = ("operator".into(), "kW".into());
            let step = WriteStep { proposed: None, proposer, proposal, unit, outcome: None };
            assert_eq!(view.body(&EventBody::Write(Box::new(step))).is_some(), visible, "{device}");
        }
    }

    #[test]
    fn without_a_list_nothing_is_changed() {
        let mut view = FeedView::new(None);
        assert_eq!(view.site(&site()), site());
        assert_eq!(frame_of(&mut view, 2), Some(2));
    }
}
