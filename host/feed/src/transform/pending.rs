//! The events that a plugin has yet to process, as far as the feed may see them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bessai_domain::event::{EventBody, RecordedEvent, Sequence};
use bessai_domain::site::Site;
use bessai_domain::time::{MonotonicTime, Timestamp};
use bessai_domain::view::FeedView;

use crate::policy::Policy;

/// An event, and what the feed may see of it.
#[derive(Clone)]
pub(super) struct PendingEvent {
    recorded: RecordedEvent,
    /// None if the feed may not see it or does not want it any more.
    pub(super) visible: Option<RecordedEvent>,
    /// Why the plugin cannot process it: it is quarantined and then skipped.
    pub(super) fault: Option<String>,
}

impl PendingEvent {
    fn visible_site(&self) -> Option<Arc<Site>> {
        self.visible.as_ref().and_then(site_of)
    }
}

/// Site descriptions: as they are, and as the feed sees them.
struct SiteView {
    site: Arc<Site>,
    visible: Arc<Site>,
}

/// The newest events that were processed under the current site description: a fresh instance is tried with them.
#[derive(Default)]
struct ProcessedEvents {
    /// The newest of each source.
    frames: BTreeMap<u32, PendingEvent>,
    /// The source of the newest frame.
    newest_source: Option<u32>,
    other: Option<PendingEvent>,
}

/// An event that a plugin is tried with when it fails on another one.
pub(super) struct Candidate {
    pub(super) event: RecordedEvent,
    /// The plugin treats it as it treats the other one, as far as can be known: a frame of the same source, or an event of
    /// the same kind.
    pub(super) is_alike: bool,
}

/// The events that a plugin has yet to process.
pub(super) struct PendingEvents {
    view: FeedView,
    // The site description that the first event refers to.
    site: Option<SiteView>,
    queue: VecDeque<PendingEvent>,
    processed: ProcessedEvents,
}

/// What was completed: up to which event, and whether the plugin processed one.
pub(super) struct Completed {
    pub(super) through: Sequence,
    pub(super) at: Timestamp,
    pub(super) has_processed: bool,
}

impl PendingEvents {
    pub(super) fn new(policy: &Policy) -> Self {
        let view = FeedView::new(policy.read.clone());
        Self { view, site: None, queue: VecDeque::new(), processed: ProcessedEvents::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn first(&self) -> Option<&PendingEvent> {
        self.queue.front()
    }

    /// The events that the plugin gets.
    pub(super) fn visible(&self) -> Vec<RecordedEvent> {
        self.queue.iter().filter_map(|pending| pending.visible.clone()).collect()
    }

    /// Whether the site description that the first event refers to is unknown.
    pub(super) fn needs_site(&self) -> bool {
        self.site.is_none()
    }

    /// The site description that the first event refers to, as the feed sees it.
    pub(super) fn visible_site(&self) -> Option<&Arc<Site>> {
        self.site.as_ref().map(|site| &site.visible)
    }

    /// The same as it is, for another view.
    pub(super) fn site(&self) -> Option<&Arc<Site>> {
        self.site.as_ref().map(|site| &site.site)
    }

    /// The first site description among the events, as the feed sees it.
    pub(super) fn next_site(&self) -> Option<Arc<Site>> {
        self.queue.iter().find_map(PendingEvent::visible_site)
    }

    /// Adds events; `site` is the description that the first of them refers to. Returns how many are too old.
    pub(super) fn push(
        &mut self,
        events: Vec<RecordedEvent>,
        site: Option<Arc<Site>>,
        policy: &Policy,
        now: MonotonicTime,
    ) -> u64 {
        if let (None, Some(site)) = (&self.site, site) {
            let visible = self.view.site(&site);
            self.site = Some(SiteView { site, visible });
        }
        let mut too_old = 0;
        for recorded in events {
            let is_too_old = policy.is_too_old(&recorded, now);
            too_old += u64::from(is_too_old);
            let visible = seen_through(&mut self.view, &recorded).filter(|_| !is_too_old);
            self.queue.push_back(PendingEvent { recorded, visible, fault: None });
        }
        too_old
    }

    /// The plugin cannot process the first event, so that it does not count as processed.
    pub(super) fn set_fault_of_first(&mut self, fault: String) {
        if let Some(first) = self.queue.front_mut() {
            first.fault = Some(fault);
        }
    }

    /// Removes the first `count` events; none if there are none.
    pub(super) fn complete(&mut self, count: usize) -> Option<Completed> {
        let mut completed: Option<Completed> = None;
        for pending in self.queue.drain(..count.min(self.queue.len())) {
            if let EventBody::Site(site) = &pending.recorded.event.body {
                let visible = pending.visible_site().unwrap_or_else(|| Arc::clone(site));
                self.site = Some(SiteView { site: Arc::clone(site), visible });
                self.processed = ProcessedEvents::default();
            }
            let is_processed = pending.visible.is_some() && pending.fault.is_none();
            completed = Some(Completed {
                through: pending.recorded.event.sequence,
                at: pending.recorded.event.at,
                has_processed: is_processed || completed.is_some_and(|completed| completed.has_processed),
            });
            if is_processed {
                self.processed.note(pending);
            }
        }
        completed
    }

    /// Applies new rights to what is pending.
    pub(super) fn apply(&mut self, policy: &Policy, now: MonotonicTime) {
        self.view = FeedView::new(policy.read.clone());
        if let Some(site) = &mut self.site {
            site.visible = self.view.site(&site.site);
        }
        for PendingEvent { recorded, visible, fault } in &mut self.queue {
            // Another version may be able to process it.
            *fault = None;
            *visible = seen_through(&mut self.view, recorded).filter(|_| !policy.is_too_old(recorded, now));
        }
        // The new rights may hide these events.
        self.processed = ProcessedEvents::default();
    }

    /// An event that the running version processed, to try a new one with.
    pub(super) fn processed_event(&self) -> Option<&RecordedEvent> {
        let newest = self.processed.newest_source.and_then(|source| self.processed.frames.get(&source));
        newest.or(self.processed.other.as_ref()).map(|pending| &pending.recorded)
    }

    /// Whether an event after the first `known` ones can be compared with the first event.
    pub(super) fn is_decided_since(&self, known: usize) -> bool {
        let needs_frame = self.first().and_then(|first| first.visible.as_ref()).is_some_and(is_frame);
        let mut added = self.queue.iter().skip(known).filter_map(|pending| pending.visible.as_ref());
        added.any(|recorded| is_frame(recorded) || !needs_frame)
    }

    /// Other events to try the plugin with when it fails on this one, those that are like it first. For a frame only frames
    /// count: a plugin that fails on all frames but processes heartbeats must not have its frames quarantined.
    pub(super) fn comparable(&self, event: &RecordedEvent, count: usize) -> Vec<Candidate> {
        let is_same = |other: &RecordedEvent| Arc::ptr_eq(&other.event, &event.event);
        let processed = self.processed.frames.values().chain(&self.processed.other);
        let others = processed.chain(&self.queue).filter_map(|pending| pending.visible.as_ref());
        let comparable = others.filter(|other| !is_same(other) && (is_frame(other) || !is_frame(event)));
        let (mut alike, other): (Vec<_>, Vec<_>) = comparable.partition(|other| is_alike(other, event));
        alike.extend(other);
        let candidate = |other: &RecordedEvent| Candidate { event: other.clone(), is_alike: is_alike(other, event) };
        alike.into_iter().take(count).map(candidate).collect()
    }
}

impl ProcessedEvents {
    fn note(&mut self, pending: PendingEvent) {
        match &pending.recorded.event.body {
            EventBody::Frame(frame) => {
                self.newest_source = Some(frame.source);
                self.frames.insert(frame.source, pending);
            }
            _ => self.other = Some(pending),
        }
    }
}

/// Whether a plugin may be expected to treat both alike.
fn is_alike(one: &RecordedEvent, other: &RecordedEvent) -> bool {
    match (&one.event.body, &other.event.body) {
        (EventBody::Frame(one), EventBody::Frame(other)) => one.source == other.source,
        (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn is_frame(recorded: &RecordedEvent) -> bool {
    matches!(recorded.event.body, EventBody::Frame(_))
}

/// The event as a feed with this view sees it; none if it does not.
pub(super) fn seen_through(view: &mut FeedView, recorded: &RecordedEvent) -> Option<RecordedEvent> {
    view.event(&recorded.event).map(|event| RecordedEvent { event, occurred: recorded.occurred })
}

/// The site description in an event.
pub(super) fn site_of(recorded: &RecordedEvent) -> Option<Arc<Site>> {
    match &recorded.event.body {
        EventBody::Site(site) => Some(Arc::clone(site)),
        _ => None,
    }
}
