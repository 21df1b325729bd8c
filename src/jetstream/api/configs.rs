//! Configurations of streams and consumers out of JSON and into it, names and order as nats-server
//! has them. It does not know which are allowed.

use crate::jetstream::config::{
    AckPolicy, Compression, ConsumerConfig, ConsumerLimits, DeliverPolicy, Discard, External,
    PersistMode, Placement, PriorityPolicy, ReplayPolicy, Republish, Retention, SourceConsumer,
    Storage, StreamConfig, StreamSource, SubjectTransform,
};

use super::decode::{Decode, Decoder, Known};
use super::encode::{Object, array, integer};
use super::scan::go_quoted;

const RETENTIONS: &[(&str, Retention)] = &[
    ("limits", Retention::Limits),
    ("interest", Retention::Interest),
    ("workqueue", Retention::WorkQueue),
];
const DISCARDS: &[(&str, Discard)] = &[("old", Discard::Old), ("new", Discard::New)];
const STORAGES: &[(&str, Storage)] = &[("memory", Storage::Memory), ("file", Storage::File)];
const COMPRESSIONS: &[(&str, Compression)] =
    &[("none", Compression::None), ("s2", Compression::S2)];
const PERSIST_MODES: &[(&str, PersistMode)] = &[
    ("default", PersistMode::Default),
    ("", PersistMode::Default),
    ("async", PersistMode::Async),
];
const DELIVER_POLICIES: &[(&str, DeliverPolicy)] = &[
    ("all", DeliverPolicy::All),
    ("undefined", DeliverPolicy::All),
    ("last", DeliverPolicy::Last),
    ("last_per_subject", DeliverPolicy::LastPerSubject),
    ("new", DeliverPolicy::New),
    ("by_start_sequence", DeliverPolicy::ByStartSequence),
    ("by_start_time", DeliverPolicy::ByStartTime),
];
const ACK_POLICIES: &[(&str, AckPolicy)] = &[
    ("none", AckPolicy::None),
    ("all", AckPolicy::All),
    ("explicit", AckPolicy::Explicit),
    ("flow_control", AckPolicy::FlowControl),
];
const REPLAY_POLICIES: &[(&str, ReplayPolicy)] = &[
    ("instant", ReplayPolicy::Instant),
    ("original", ReplayPolicy::Original),
];
const PRIORITY_POLICIES: &[(&str, PriorityPolicy)] = &[
    ("none", PriorityPolicy::None),
    ("overflow", PriorityPolicy::Overflow),
    ("pinned_client", PriorityPolicy::PinnedClient),
    ("prioritized", PriorityPolicy::Prioritized),
];

/// The name of a value: the first that it has.
fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names
        .iter()
        .find(|(_, named)| named == value)
        .map_or("", |&(name, _)| name)
}

/// What most of the named values say about others.
fn cannot(raw: &[u8]) -> String {
    format!("can not unmarshal {}", go_quoted(raw))
}

impl Discard {
    /// Its name; nats-server takes it in any case.
    fn read(&mut self, decoder: &mut Decoder<'_>) -> Known {
        let raw = decoder.raw();
        let lower = raw.to_ascii_lowercase();
        match lower.as_slice() {
            br#""old""# => *self = Discard::Old,
            br#""new""# => *self = Discard::New,
            _ => decoder.save(cannot(raw)),
        }
        Known::Yes
    }
}

impl Compression {
    fn read(&mut self, decoder: &mut Decoder<'_>) -> Known {
        let Some(name) = decoder.lone_string() else {
            return Known::Yes;
        };
        match COMPRESSIONS.iter().find(|(known, _)| *known == name) {
            Some(&(_, value)) => *self = value,
            None => decoder.save("unknown compression algorithm".to_owned()),
        }
        Known::Yes
    }
}

impl Decode for StreamConfig {
    const TYPE: &'static str = "server.StreamConfig";

    fn unsaid() -> Self {
        StreamConfig::unsaid()
    }

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "name" => decoder.string(&mut self.name),
            "description" => decoder.string(&mut self.description),
            "subjects" => decoder.strings(&mut self.subjects),
            "retention" => decoder.named(&mut self.retention, RETENTIONS, cannot),
            "max_consumers" => decoder.int(&mut self.max_consumers),
            "max_msgs" => decoder.int64(&mut self.max_msgs),
            "max_bytes" => decoder.int64(&mut self.max_bytes),
            "max_age" => decoder.duration(&mut self.max_age),
            "max_msgs_per_subject" => decoder.int64(&mut self.max_msgs_per_subject),
            "max_msg_size" => decoder.int32(&mut self.max_msg_size),
            "discard" => self.discard.read(decoder),
            "storage" => decoder.named(&mut self.storage, STORAGES, cannot),
            "num_replicas" => decoder.int(&mut self.num_replicas),
            "no_ack" => decoder.boolean(&mut self.no_ack),
            "duplicate_window" => decoder.duration(&mut self.duplicate_window),
            "placement" => decoder.optional(&mut self.placement),
            "mirror" => decoder.optional(&mut self.mirror),
            "sources" => decoder.objects(&mut self.sources, "[]*server.StreamSource"),
            "compression" => self.compression.read(decoder),
            "first_seq" => decoder.uint64(&mut self.first_seq),
            "subject_transform" => decoder.optional(&mut self.subject_transform),
            "republish" => decoder.optional(&mut self.republish),
            "allow_direct" => decoder.boolean(&mut self.allow_direct),
            "mirror_direct" => decoder.boolean(&mut self.mirror_direct),
            "discard_new_per_subject" => decoder.boolean(&mut self.discard_new_per_subject),
            "sealed" => decoder.boolean(&mut self.sealed),
            "deny_delete" => decoder.boolean(&mut self.deny_delete),
            "deny_purge" => decoder.boolean(&mut self.deny_purge),
            "allow_rollup_hdrs" => decoder.boolean(&mut self.allow_rollup_hdrs),
            "consumer_limits" => decoder.object(&mut self.consumer_limits),
            "allow_msg_ttl" => decoder.boolean(&mut self.allow_msg_ttl),
            "subject_delete_marker_ttl" => decoder.duration(&mut self.subject_delete_marker_ttl),
            "allow_msg_counter" => decoder.boolean(&mut self.allow_msg_counter),
            "allow_atomic" => decoder.boolean(&mut self.allow_atomic),
            "allow_msg_schedules" => decoder.boolean(&mut self.allow_msg_schedules),
            "persist_mode" => decoder.named(&mut self.persist_mode, PERSIST_MODES, cannot),
            "allow_batched" => decoder.boolean(&mut self.allow_batched),
            "metadata" => decoder.map(&mut self.metadata),
            _ => Known::No,
        }
    }
}

impl Decode for Placement {
    const TYPE: &'static str = "server.Placement";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "cluster" => decoder.string(&mut self.cluster),
            "tags" => decoder.strings(&mut self.tags),
            "preferred" => decoder.string(&mut self.preferred),
            _ => Known::No,
        }
    }
}

impl Decode for StreamSource {
    const TYPE: &'static str = "server.StreamSource";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "name" => decoder.string(&mut self.name),
            "opt_start_seq" => decoder.uint64(&mut self.opt_start_seq),
            "opt_start_time" => decoder.optional_time(&mut self.opt_start_time),
            "filter_subject" => decoder.string(&mut self.filter_subject),
            "subject_transforms" => decoder.objects(
                &mut self.subject_transforms,
                "[]server.SubjectTransformConfig",
            ),
            "external" => decoder.optional(&mut self.external),
            "consumer" => decoder.optional(&mut self.consumer),
            _ => Known::No,
        }
    }
}

impl Decode for External {
    const TYPE: &'static str = "server.ExternalStream";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "api" => decoder.string(&mut self.api),
            "deliver" => decoder.string(&mut self.deliver),
            _ => Known::No,
        }
    }
}

impl Decode for SourceConsumer {
    const TYPE: &'static str = "server.StreamConsumerSource";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "name" => decoder.string(&mut self.name),
            "deliver_subject" => decoder.string(&mut self.deliver_subject),
            _ => Known::No,
        }
    }
}

impl Decode for SubjectTransform {
    const TYPE: &'static str = "server.SubjectTransformConfig";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "src" => decoder.string(&mut self.source),
            "dest" => decoder.string(&mut self.destination),
            _ => Known::No,
        }
    }
}

impl Decode for Republish {
    const TYPE: &'static str = "server.RePublish";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "src" => decoder.string(&mut self.source),
            "dest" => decoder.string(&mut self.destination),
            "headers_only" => decoder.boolean(&mut self.headers_only),
            _ => Known::No,
        }
    }
}

impl Decode for ConsumerLimits {
    const TYPE: &'static str = "server.StreamConsumerLimits";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "inactive_threshold" => decoder.duration(&mut self.inactive_threshold),
            "max_ack_pending" => decoder.int(&mut self.max_ack_pending),
            _ => Known::No,
        }
    }
}

impl Decode for ConsumerConfig {
    const TYPE: &'static str = "server.ConsumerConfig";

    fn field(&mut self, name: &str, decoder: &mut Decoder<'_>) -> Known {
        match name {
            "durable_name" => decoder.string(&mut self.durable_name),
            "name" => decoder.string(&mut self.name),
            "description" => decoder.string(&mut self.description),
            "deliver_policy" => decoder.named(&mut self.deliver_policy, DELIVER_POLICIES, cannot),
            "opt_start_seq" => decoder.uint64(&mut self.opt_start_seq),
            "opt_start_time" => decoder.optional_time(&mut self.opt_start_time),
            "ack_policy" => decoder.named(&mut self.ack_policy, ACK_POLICIES, cannot),
            "ack_wait" => decoder.duration(&mut self.ack_wait),
            "max_deliver" => decoder.int(&mut self.max_deliver),
            "backoff" => decoder.durations(&mut self.backoff),
            "filter_subject" => decoder.string(&mut self.filter_subject),
            "filter_subjects" => decoder.strings(&mut self.filter_subjects),
            "replay_policy" => decoder.named(&mut self.replay_policy, REPLAY_POLICIES, cannot),
            "rate_limit_bps" => decoder.uint64(&mut self.rate_limit_bps),
            "sample_freq" => decoder.string(&mut self.sample_freq),
            "max_waiting" => decoder.int(&mut self.max_waiting),
            "max_ack_pending" => decoder.int(&mut self.max_ack_pending),
            "flow_control" => decoder.boolean(&mut self.flow_control),
            "headers_only" => decoder.boolean(&mut self.headers_only),
            "max_batch" => decoder.int(&mut self.max_batch),
            "max_expires" => decoder.duration(&mut self.max_expires),
            "max_bytes" => decoder.int(&mut self.max_bytes),
            "deliver_subject" => decoder.string(&mut self.deliver_subject),
            "deliver_group" => decoder.string(&mut self.deliver_group),
            "idle_heartbeat" => decoder.duration(&mut self.idle_heartbeat),
            "inactive_threshold" => decoder.duration(&mut self.inactive_threshold),
            "num_replicas" => decoder.int(&mut self.num_replicas),
            "mem_storage" => decoder.boolean(&mut self.mem_storage),
            "direct" => decoder.boolean(&mut self.direct),
            "sourcing" => decoder.boolean(&mut self.sourcing),
            "metadata" => decoder.map(&mut self.metadata),
            "pause_until" => decoder.optional_time(&mut self.pause_until),
            "priority_groups" => decoder.strings(&mut self.priority_groups),
            "priority_policy" => {
                decoder.named(&mut self.priority_policy, PRIORITY_POLICIES, |raw| {
                    format!("unknown priority policy: {}", String::from_utf8_lossy(raw))
                })
            }
            "priority_timeout" => decoder.duration(&mut self.priority_timeout),
            _ => Known::No,
        }
    }
}

impl StreamConfig {
    /// As nats-server writes it.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.string("name", &self.name);
        object.string_unless_empty("description", &self.description);
        object.strings_unless_empty("subjects", &self.subjects);
        object.string("retention", name_of(RETENTIONS, &self.retention));
        object.integer("max_consumers", self.max_consumers);
        object.integer("max_msgs", self.max_msgs);
        object.integer("max_bytes", self.max_bytes);
        object.integer("max_age", self.max_age);
        object.integer("max_msgs_per_subject", self.max_msgs_per_subject);
        object.integer_unless_zero("max_msg_size", i64::from(self.max_msg_size));
        object.string("discard", name_of(DISCARDS, &self.discard));
        object.string("storage", name_of(STORAGES, &self.storage));
        object.integer("num_replicas", self.num_replicas);
        object.boolean_if_true("no_ack", self.no_ack);
        object.integer_unless_zero("duplicate_window", self.duplicate_window);
        if let Some(placement) = &self.placement {
            placement.render(object.key("placement"));
        }
        if let Some(mirror) = &self.mirror {
            mirror.render(object.key("mirror"));
        }
        if !self.sources.is_empty() {
            array(object.key("sources"), &self.sources, |out, source| {
                source.render(out);
            });
        }
        object.string("compression", name_of(COMPRESSIONS, &self.compression));
        object.unsigned_unless_zero("first_seq", self.first_seq);
        if let Some(transform) = &self.subject_transform {
            transform.render(object.key("subject_transform"));
        }
        if let Some(republish) = &self.republish {
            let mut inner = Object::begin(object.key("republish"));
            inner.string_unless_empty("src", &republish.source);
            inner.string("dest", &republish.destination);
            inner.boolean_if_true("headers_only", republish.headers_only);
            inner.end();
        }
        object.boolean("allow_direct", self.allow_direct);
        object.boolean("mirror_direct", self.mirror_direct);
        object.boolean_if_true("discard_new_per_subject", self.discard_new_per_subject);
        object.boolean("sealed", self.sealed);
        object.boolean("deny_delete", self.deny_delete);
        object.boolean("deny_purge", self.deny_purge);
        object.boolean("allow_rollup_hdrs", self.allow_rollup_hdrs);
        let mut limits = Object::begin(object.key("consumer_limits"));
        limits.integer_unless_zero(
            "inactive_threshold",
            self.consumer_limits.inactive_threshold,
        );
        limits.integer_unless_zero("max_ack_pending", self.consumer_limits.max_ack_pending);
        limits.end();
        object.boolean("allow_msg_ttl", self.allow_msg_ttl);
        object.integer_unless_zero("subject_delete_marker_ttl", self.subject_delete_marker_ttl);
        object.boolean_if_true("allow_msg_counter", self.allow_msg_counter);
        object.boolean_if_true("allow_atomic", self.allow_atomic);
        object.boolean_if_true("allow_msg_schedules", self.allow_msg_schedules);
        if self.persist_mode != PersistMode::Default {
            object.string("persist_mode", name_of(PERSIST_MODES, &self.persist_mode));
        }
        object.boolean_if_true("allow_batched", self.allow_batched);
        object.map_unless_empty("metadata", self.metadata.iter());
        object.end();
    }
}

impl Placement {
    /// As nats-server writes it.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.string_unless_empty("cluster", &self.cluster);
        object.strings_unless_empty("tags", &self.tags);
        object.string_unless_empty("preferred", &self.preferred);
        object.end();
    }
}

impl SubjectTransform {
    /// As nats-server writes it.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.string("src", &self.source);
        object.string("dest", &self.destination);
        object.end();
    }
}

impl External {
    /// As nats-server writes it.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.string("api", &self.api);
        object.string("deliver", &self.deliver);
        object.end();
    }
}

impl StreamSource {
    /// As nats-server writes it.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.string("name", &self.name);
        object.unsigned_unless_zero("opt_start_seq", self.opt_start_seq);
        if let Some(time) = self.opt_start_time {
            object.time("opt_start_time", time);
        }
        object.string_unless_empty("filter_subject", &self.filter_subject);
        render_transforms(&mut object, &self.subject_transforms);
        if let Some(external) = &self.external {
            external.render(object.key("external"));
        }
        if let Some(consumer) = &self.consumer {
            let mut inner = Object::begin(object.key("consumer"));
            inner.string_unless_empty("name", &consumer.name);
            inner.string_unless_empty("deliver_subject", &consumer.deliver_subject);
            inner.end();
        }
        object.end();
    }
}

/// Transforms of a source, left out when there are none.
pub fn render_transforms(object: &mut Object<'_>, transforms: &[SubjectTransform]) {
    if !transforms.is_empty() {
        array(object.key("subject_transforms"), transforms, |out, one| {
            one.render(out);
        });
    }
}

impl ConsumerConfig {
    /// As nats-server writes it.
    pub fn render(&self, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.string_unless_empty("durable_name", &self.durable_name);
        object.string_unless_empty("name", &self.name);
        object.string_unless_empty("description", &self.description);
        object.string(
            "deliver_policy",
            name_of(DELIVER_POLICIES, &self.deliver_policy),
        );
        object.unsigned_unless_zero("opt_start_seq", self.opt_start_seq);
        if let Some(time) = self.opt_start_time {
            object.time("opt_start_time", time);
        }
        object.string("ack_policy", name_of(ACK_POLICIES, &self.ack_policy));
        object.integer_unless_zero("ack_wait", self.ack_wait);
        object.integer_unless_zero("max_deliver", self.max_deliver);
        if !self.backoff.is_empty() {
            array(object.key("backoff"), &self.backoff, |out, &wait| {
                integer(out, wait);
            });
        }
        object.string_unless_empty("filter_subject", &self.filter_subject);
        object.strings_unless_empty("filter_subjects", &self.filter_subjects);
        object.string(
            "replay_policy",
            name_of(REPLAY_POLICIES, &self.replay_policy),
        );
        object.unsigned_unless_zero("rate_limit_bps", self.rate_limit_bps);
        object.string_unless_empty("sample_freq", &self.sample_freq);
        object.integer_unless_zero("max_waiting", self.max_waiting);
        object.integer_unless_zero("max_ack_pending", self.max_ack_pending);
        object.boolean_if_true("flow_control", self.flow_control);
        object.boolean_if_true("headers_only", self.headers_only);
        object.integer_unless_zero("max_batch", self.max_batch);
        object.integer_unless_zero("max_expires", self.max_expires);
        object.integer_unless_zero("max_bytes", self.max_bytes);
        object.string_unless_empty("deliver_subject", &self.deliver_subject);
        object.string_unless_empty("deliver_group", &self.deliver_group);
        object.integer_unless_zero("idle_heartbeat", self.idle_heartbeat);
        object.integer_unless_zero("inactive_threshold", self.inactive_threshold);
        object.integer("num_replicas", self.num_replicas);
        object.boolean_if_true("mem_storage", self.mem_storage);
        object.boolean_if_true("direct", self.direct);
        object.boolean_if_true("sourcing", self.sourcing);
        object.map_unless_empty("metadata", self.metadata.iter());
        if let Some(time) = self.pause_until {
            object.time("pause_until", time);
        }
        object.strings_unless_empty("priority_groups", &self.priority_groups);
        if self.priority_policy != PriorityPolicy::None {
            object.string(
                "priority_policy",
                name_of(PRIORITY_POLICIES, &self.priority_policy),
            );
        }
        object.integer_unless_zero("priority_timeout", self.priority_timeout);
        object.end();
    }
}
