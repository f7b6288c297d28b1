//! A feed with a plugin made of rules, a broker that acknowledges at once, and a list of events.
