//! Blocks that get no reply although the device answers others: they are left out of the plan and asked for alone, in
//! halves, until the points are known that get none.

use super::packing::{Plan, ReadRequest};

impl Plan {
    /// The block without a reply that is to be asked for next; none if there is no such block.
    pub fn silent_request(&self) -> Option<ReadRequest> {
        self.request(self.learned.silent.front()?)
    }

    /// The device replied to [`silent_request`](Self::silent_request): the block is part of the plan again.
    pub fn end_silence(&mut self) {
        self.learned.silent.pop_front();
        self.repack();
    }

    /// The device did not reply again. Splits the block in two, or returns the positions of its channels if it is one point.
    pub fn split_silent(&mut self) -> Vec<usize> {
        let Some(block) = self.learned.silent.pop_front() else { return Vec::new() };
        let groups = self.groups(&block);
        if let (1, Some(request)) = (groups.len(), self.request(&block)) {
            self.learned.silent.push_back(block);
            return self.channels(&request).collect();
        }
        let (first, second) = groups.split_at(groups.len() / 2);
        self.learned.silent.push_front(second.concat());
        self.learned.silent.push_front(first.concat());
        Vec::new()
    }

    /// Whether every block without a reply is a single point.
    pub fn is_silence_located(&self) -> bool {
        self.learned.silent.iter().all(|block| self.groups(block).len() == 1)
    }
}
