//! Subscriptions of a session, and the broker's answers to them.

use bessai_domain::command::Subscription;
use bessai_domain::message::Qos;

/// Filters in one SUBSCRIBE: AWS IoT Core accepts no more.
const FILTERS_PER_PACKET: usize = 8;
/// The first packet id of a SUBSCRIBE; further ones count down. Messages get theirs from 1 upwards, and the answer arrives
/// long before they reach it.
const FIRST_PACKET_ID: u16 = u16::MAX;

/// An answer: each filter, with what the broker granted or why it refused.
pub(crate) type Answer = Vec<(String, Result<Qos, String>)>;

/// Subscriptions that the broker has not answered, by packet id.
#[derive(Default)]
pub(crate) struct PendingSubscriptions(Vec<(u16, Vec<String>)>);

impl PendingSubscriptions {
    /// Divides subscriptions into packets; each with its id.
    pub(crate) fn packets<'a>(
        &mut self,
        subscriptions: &'a [Subscription],
    ) -> impl Iterator<Item = (u16, &'a [Subscription])> + use<'a> {
        let packets = (1..=FIRST_PACKET_ID).rev().zip(subscriptions.chunks(FILTERS_PER_PACKET));
        for (id, chunk) in packets.clone() {
            self.0.push((id, chunk.iter().map(|subscription| subscription.filter.clone()).collect()));
        }
        packets
    }

    /// The answer to the packet of this id; none if there is no such packet or it has another number of filters.
    pub(crate) fn answered(&mut self, id: u16, codes: Vec<Result<Qos, String>>) -> Option<Answer> {
        let index = self.0.iter().position(|(pending, filters)| *pending == id && filters.len() == codes.len())?;
        let (_, filters) = self.0.remove(index);
        Some(filters.into_iter().zip(codes).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_belongs_to_the_filters_of_its_packet() {
        let subscription = |number: usize| Subscription { filter: format!("f/{number}"), qos: Qos::AtLeastOnce };
        let subscriptions: Vec<_> = (0..10).map(subscription).collect();
        let mut pending = PendingSubscriptions::default();
        let sizes: Vec<_> = pending.packets(&subscriptions).map(|(id, filters)| (id, filters.len())).collect();
        assert_eq!(sizes, [(65_535, 8), (65_534, 2)]);
        assert_eq!(pending.answered(7, vec![Ok(Qos::AtLeastOnce)]), None);
        assert_eq!(pending.answered(65_534, vec![Ok(Qos::AtLeastOnce)]), None, "one code for two filters");
        let answer = pending.answered(65_534, vec![Ok(Qos::AtMostOnce), Err("no".into())]);
        assert_eq!(answer, Some(vec![("f/8".into(), Ok(Qos::AtMostOnce)), ("f/9".into(), Err("no".into()))]));
    }
}
