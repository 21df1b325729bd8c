//! The throughput workloads as plans: who publishes what, who hears it.

use crate::subjects::{NumberedSubjects, Subjects};
use crate::throughput::{Plan, PublisherPlan, SubscriberPlan};

const SLOW_SUBJECT: &str = "load.slow";

/// Publishers on subjects of their own, nobody listens.
pub fn publish_only(publishers: usize) -> Plan {
    let publishers = (0..publishers)
        .map(|index| publisher(format!("load.n.{index:06}")))
        .collect();
    Plan {
        publishers,
        subscribers: Vec::new(),
        mute_subjects: Vec::new(),
    }
}

/// As many publishers as subscribers, each pair on its own subject.
pub fn pairs(pairs: usize) -> Plan {
    let subject = |index: usize| format!("load.p.{index:06}");
    Plan {
        publishers: (0..pairs).map(|index| publisher(subject(index))).collect(),
        subscribers: (0..pairs)
            .map(|index| subscriber(subject(index), None, index, 1))
            .collect(),
        mute_subjects: Vec::new(),
    }
}

/// Everybody publishes to one subject that everybody hears.
pub fn fan(subscribers: usize, publishers: usize) -> Plan {
    let subject = || "load.fan".to_owned();
    Plan {
        publishers: (0..publishers).map(|_| publisher(subject())).collect(),
        subscribers: (0..subscribers)
            .map(|_| subscriber(subject(), None, 0, publishers))
            .collect(),
        mute_subjects: Vec::new(),
    }
}

/// One publisher walks through many literal subjects; the subscribers hear them all through a wildcard.
pub fn wildcard(subjects: u64, subscribers: usize, scattered: bool) -> Plan {
    const PREFIX: &str = "load.k.";
    let family = || Subjects::Numbered(NumberedSubjects::new(PREFIX, subjects, scattered));
    let subscriber = |_| SubscriberPlan {
        filter: format!("{PREFIX}*"),
        queue_group: None,
        subjects: family(),
        first_publisher: 0,
        publishers: 1,
    };
    Plan {
        publishers: vec![PublisherPlan {
            subjects: family(),
            background: false,
        }],
        subscribers: (0..subscribers).map(subscriber).collect(),
        mute_subjects: Vec::new(),
    }
}

/// Publishers on one subject, members of one queue group share the messages.
pub fn queue(members: usize, publishers: usize) -> Plan {
    let subject = || "load.q".to_owned();
    let member = |_| subscriber(subject(), Some("workers".to_owned()), 0, publishers);
    Plan {
        publishers: (0..publishers).map(|_| publisher(subject())).collect(),
        subscribers: (0..members).map(member).collect(),
        mute_subjects: Vec::new(),
    }
}

/// A healthy pair beside a subscriber that never reads, fed by its own publisher or (`shared`) by the pair's.
pub fn slow(shared: bool) -> Plan {
    let mut plan = pairs(1);
    if shared {
        plan.mute_subjects.push("load.p.000000".to_owned());
    } else {
        plan.mute_subjects.push(SLOW_SUBJECT.to_owned());
        plan.publishers.push(PublisherPlan {
            subjects: Subjects::Fixed(SLOW_SUBJECT.to_owned()),
            background: true,
        });
    }
    plan
}

fn publisher(subject: String) -> PublisherPlan {
    PublisherPlan {
        subjects: Subjects::Fixed(subject),
        background: false,
    }
}

fn subscriber(
    subject: String,
    queue_group: Option<String>,
    first_publisher: usize,
    publishers: usize,
) -> SubscriberPlan {
    SubscriberPlan {
        filter: subject.clone(),
        queue_group,
        subjects: Subjects::Fixed(subject),
        first_publisher,
        publishers,
    }
}
