//! Which configurations of consumers are allowed, what is put in where nothing was said, and what may
//! be changed. In the order of nats-server, so that the first error is the same.
//!
//! [`addressed`] needs nothing but the request; [`creation`] is for where the stream and its
//! consumers are.

use std::collections::BTreeMap;

use crate::jetstream::config::{
    AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy, Retention, StreamConfig,
};
use crate::subject::{collide, is_literal, is_subset, is_valid_pattern};

use super::check_stream::Limits;
use super::errors::{ApiError, Code};
use super::overlap::{self, Among};
use super::requests::{Action, ConsumerRequest};
use super::responses::AccountLimits;
use super::scan::go_quoted;
use super::stream_rules::{
    DESCRIPTION_BYTES_MAX, METADATA_BYTES_MAX, NAME_BYTES_MAX, invalid, is_valid_name,
    metadata_bytes,
};
use super::subjects::Call;
use super::{time, versions};

const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MILLISECOND;
/// Pull requests that may wait where nothing was said.
const MAX_WAITING: i64 = 512;
/// Time to acknowledge where nothing was said.
const ACK_WAIT: i64 = 30 * SECOND;
/// Unacknowledged messages where nothing was said.
const MAX_ACK_PENDING: i64 = 1000;
/// How long a client stays pinned where nothing was said.
const PINNED_TTL: i64 = 120 * SECOND;
/// How long an ephemeral consumer that nobody uses stays where nothing was said.
const INACTIVE_THRESHOLD: i64 = 5 * SECOND;
/// Heartbeats of a consumer whose flow control acknowledges.
const FLOW_CONTROL_HEARTBEAT: i64 = SECOND;
/// The shortest heartbeat otherwise.
const SHORTEST_HEARTBEAT: i64 = 100 * MILLISECOND;
/// Bytes of a priority group's name.
const GROUP_BYTES_MAX: usize = 16;

/// Whether a priority group may be called that.
pub fn is_group_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/_=-".contains(&b);
    !name.is_empty() && name.len() <= GROUP_BYTES_MAX && name.bytes().all(allowed)
}

/// The consumers of a stream.
pub trait Consumers {
    /// One of them.
    fn consumer(&self, name: &str) -> Option<&ConsumerConfig>;

    /// Calls for each of them.
    fn each(&self, each: &mut dyn FnMut(&str, &ConsumerConfig));

    /// Whether somebody listens to a deliver subject.
    fn has_interest(&self, subject: &str) -> bool;
}

impl Consumers for BTreeMap<String, ConsumerConfig> {
    fn consumer(&self, name: &str) -> Option<&ConsumerConfig> {
        self.get(name)
    }

    fn each(&self, each: &mut dyn FnMut(&str, &ConsumerConfig)) {
        for (name, config) in self {
            each(name, config);
        }
    }

    fn has_interest(&self, _: &str) -> bool {
        false
    }
}

/// What the server allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLimits {
    /// Unacknowledged messages; 0 for any number.
    pub max_ack_pending: i64,
    /// Messages per pull request; 0 for any number.
    pub max_request_batch: i64,
}

/// What a consumer is checked against.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Its stream.
    pub stream: &'a StreamConfig,
    /// The hash of when the stream was made, which sources use to see that it is another one.
    pub identity: &'a str,
    /// The stream's consumers.
    pub consumers: &'a dyn Consumers,
    /// What the account may have.
    pub limits: &'a Limits,
    /// What the server allows.
    pub server: ServerLimits,
}

/// What is to be done about a request to create a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It is to be made.
    New {
        /// Its name.
        name: String,
        /// What it is.
        config: ConsumerConfig,
    },
    /// It is there and becomes this; perhaps it is so already.
    Update {
        /// Its name.
        name: String,
        /// What it is.
        config: ConsumerConfig,
    },
}

/// Checks a request against the subject that it came on, and puts the subject's name into it.
///
/// # Errors
/// That they do not fit.
pub fn addressed(
    call: &Call<'_>,
    mut request: ConsumerRequest,
) -> Result<ConsumerRequest, ApiError> {
    let (stream, name, filter) = match *call {
        Call::ConsumerCreateUnnamed(stream) => (stream, None, None),
        Call::ConsumerCreate {
            stream,
            consumer,
            filter,
        } => (stream, Some(consumer), filter),
        Call::ConsumerDurableCreate { stream, consumer } => (stream, Some(consumer), None),
        _ => return Err(Code::BadRequest.into()),
    };
    if stream != request.stream {
        return Err(Code::StreamMismatch.into());
    }
    let config = &mut request.config;
    if name.unwrap_or(&config.name).contains(['\\', '/']) {
        return Err(Code::ConsumerNameContainsPathSeparators.into());
    }
    match (call, name) {
        (Call::ConsumerDurableCreate { .. }, _) if config.durable_name.is_empty() => {
            return Err(Code::ConsumerDurableNameNotSet.into());
        }
        (_, Some(name)) => {
            if !config.durable_name.is_empty() && name != config.durable_name {
                return Err(Code::ConsumerDurableNameNotMatchSubject.into());
            }
            name.clone_into(&mut config.name);
        }
        (_, None) if !config.durable_name.is_empty() => {
            return Err(Code::ConsumerEphemeralWithDurableName.into());
        }
        (_, None) => {}
    }
    if let Some(filter) = filter {
        if !config.filter_subjects.is_empty() {
            return Err(Code::ConsumerMultipleFiltersNotAllowed.into());
        }
        if config.filter_subject != filter {
            return Err(Code::ConsumerCreateFilterSubjectMismatch.into());
        }
    }
    if config.num_replicas > 1 {
        return Err(Code::StreamReplicasNotSupported.into());
    }
    Ok(request)
}

/// Checks a request that [`addressed`] has let through. `identity` is what it says the stream's is;
/// `fresh_name` makes names for consumers without one, each time another.
///
/// # Errors
/// Why not.
pub fn creation(
    request: ConsumerRequest,
    identity: Option<&[u8]>,
    around: &Around<'_>,
    mut fresh_name: impl FnMut() -> String,
) -> Result<Creation, ApiError> {
    let ConsumerRequest {
        mut config,
        action,
        pedantic,
        ..
    } = request;
    if config.direct && config.sourcing && !config.name.is_empty() {
        if around.stream.retention == Retention::Limits {
            // Sources ask with a name that stays the same.
            config.name = format!("{}-{}", config.name, fresh_name());
        } else {
            // What it has not acknowledged must not be deleted.
            config.direct = false;
            config.durable_name.clone_from(&config.name);
            config.ack_policy = AckPolicy::FlowControl;
            config.ack_wait = 0;
            config.max_deliver = 0;
            config.inactive_threshold = 0;
        }
    }
    if (config.direct || config.sourcing)
        && identity.is_some_and(|one| !one.is_empty() && one != around.identity.as_bytes())
    {
        return Err(Code::ConsumerStreamIdentityMismatch.with(&[around.identity]));
    }
    if let Some(old) = around.consumers.consumer(&config.name) {
        // A pause is not changed by this request.
        config.pause_until = old.pause_until;
        if config.sourcing && !config.durable_name.is_empty() {
            config.deliver_policy = old.deliver_policy;
            config.opt_start_seq = old.opt_start_seq;
            config.opt_start_time = old.opt_start_time;
        }
    }
    versions::set_consumer(&mut config);
    addition(config, action, pedantic, around, fresh_name)
}

/// Checks a consumer that is to be added, by a request or out of a snapshot.
///
/// # Errors
/// Why not.
pub fn addition(
    mut config: ConsumerConfig,
    action: Action,
    pedantic: bool,
    around: &Around<'_>,
    mut fresh_name: impl FnMut() -> String,
) -> Result<Creation, ApiError> {
    let (limits, _) = around
        .limits
        .of(replicas(&config, around.stream))
        .ok_or(Code::NoLimits)?;
    set_defaults(&mut config, around.stream, around.server, &limits, pedantic)?;
    check(&config, around.stream, around.server, &limits)?;
    let name = if config.durable_name.is_empty() {
        config.name.clone()
    } else {
        config.durable_name.clone()
    };
    if !name.is_empty()
        && let Some(old) = around.consumers.consumer(&name)
    {
        return change(old, name, config, action, around);
    }
    if action == Action::Update {
        return Err(Code::ConsumerDoesNotExist.into());
    }
    let others = limitable(around.consumers);
    let mut max_consumers = around.stream.max_consumers;
    if max_consumers <= 0 || (limits.max_consumers > 0 && limits.max_consumers < max_consumers) {
        max_consumers = limits.max_consumers;
    }
    if max_consumers > 0 && others >= max_consumers {
        return Err(Code::MaximumConsumersLimit.into());
    }
    if around.stream.retention == Retention::WorkQueue && !config.direct && !config.sourcing {
        if !matches!(
            config.ack_policy,
            AckPolicy::Explicit | AckPolicy::FlowControl
        ) {
            return Err(Code::ConsumerWQRequiresExplicitAck.into());
        }
        if config.deliver_policy != DeliverPolicy::All {
            return Err(Code::ConsumerWQConsumerNotDeliverAll.into());
        }
        if others > 0 {
            if filters(&config).next().is_none() {
                return Err(Code::ConsumerWQMultipleUnfiltered.into());
            }
            if !is_alone(&name, &config, around.consumers) {
                return Err(Code::ConsumerWQConsumerNotUnique.into());
            }
        }
    }
    if config.durable_name.len() > NAME_BYTES_MAX {
        return Err(Code::ConsumerNameTooLong.with(&[&NAME_BYTES_MAX.to_string()]));
    }
    // Its configuration goes without a name.
    let mut name = name;
    if name.is_empty() {
        name = fresh_name();
        while around.consumers.consumer(&name).is_some() {
            name = fresh_name();
        }
    }
    set_inactive_threshold(&mut config);
    Ok(Creation::New { name, config })
}

/// The subjects that a consumer wants; none for all.
pub fn filters(config: &ConsumerConfig) -> impl Iterator<Item = &String> {
    config
        .filter_subjects
        .iter()
        .chain(Some(&config.filter_subject).filter(|filter| !filter.is_empty()))
}

/// Copies of a consumer's state.
fn replicas(config: &ConsumerConfig, stream: &StreamConfig) -> i64 {
    if config.num_replicas != 0 && config.num_replicas <= stream.num_replicas {
        return config.num_replicas;
    }
    let old_ephemeral = config.durable_name.is_empty()
        && stream.retention == Retention::Limits
        && config.num_replicas == 0;
    if old_ephemeral {
        1
    } else {
        stream.num_replicas
    }
}

/// Ephemeral consumers go when nobody uses them.
fn set_inactive_threshold(config: &mut ConsumerConfig) {
    if config.durable_name.is_empty() && config.inactive_threshold <= 0 {
        config.inactive_threshold = INACTIVE_THRESHOLD;
    }
}

/// How many consumers count, and may stand in each other's way.
fn limitable(consumers: &dyn Consumers) -> i64 {
    let mut count = 0;
    consumers.each(&mut |_, config| count += i64::from(!config.direct && !config.sourcing));
    count
}

/// Whether no other consumer of a work queue wants the same.
fn is_alone(name: &str, config: &ConsumerConfig, consumers: &dyn Consumers) -> bool {
    let mut alone = true;
    consumers.each(&mut |other_name, other| {
        if other_name == name || other.direct || other.sourcing || !alone {
            return;
        }
        for own in filters(config) {
            let mut theirs = filters(other).peekable();
            alone &= theirs.peek().is_some()
                && !theirs.any(|theirs| collide(own.as_bytes(), theirs.as_bytes()));
        }
    });
    alone
}

fn pedant<T>(why: &str) -> Result<T, ApiError> {
    Err(Code::Pedantic.with(&[why]))
}

/// Puts in what was not said.
fn set_defaults(
    config: &mut ConsumerConfig,
    stream: &StreamConfig,
    server: ServerLimits,
    limits: &AccountLimits,
    pedantic: bool,
) -> Result<(), ApiError> {
    if config.max_deliver < -1 && pedantic {
        return pedant("max_deliver must be set to -1");
    }
    if config.max_deliver == 0 || config.max_deliver < -1 {
        config.max_deliver = -1;
    }
    if config.max_waiting < 0 {
        if pedantic {
            return pedant("max_waiting must not be negative");
        }
        config.max_waiting = 0;
    }
    if config.max_ack_pending < -1 {
        if pedantic {
            return pedant("max_ack_pending must be set to -1");
        }
        config.max_ack_pending = -1;
    }
    for (name, value) in [
        ("max_batch", &mut config.max_batch),
        ("max_expires", &mut config.max_expires),
        ("max_bytes", &mut config.max_bytes),
        ("idle_heartbeat", &mut config.idle_heartbeat),
        ("inactive_threshold", &mut config.inactive_threshold),
        ("priority_timeout", &mut config.priority_timeout),
    ] {
        if *value < 0 {
            if pedantic {
                return pedant(&format!("{name} must not be negative"));
            }
            *value = 0;
        }
    }
    let pulls = config.deliver_subject.is_empty();
    if pulls && config.max_waiting == 0 {
        config.max_waiting = MAX_WAITING;
    }
    let waits = matches!(config.ack_policy, AckPolicy::Explicit | AckPolicy::All);
    if config.ack_wait == 0 && waits {
        config.ack_wait = ACK_WAIT;
    }
    if let Some(&first) = config.backoff.first() {
        if pedantic && config.ack_wait != first {
            return pedant("first backoff value has to equal batch AckWait");
        }
        config.ack_wait = first;
    }
    if config.max_ack_pending == 0 {
        if pedantic && stream.consumer_limits.max_ack_pending > 0 {
            return pedant("max_ack_pending must be set if it's configured in stream limits");
        }
        config.max_ack_pending = stream.consumer_limits.max_ack_pending;
    }
    if config.inactive_threshold == 0 {
        if pedantic && stream.consumer_limits.inactive_threshold > 0 {
            return pedant("inactive_threshold must be set if it's configured in stream limits");
        }
        config.inactive_threshold = stream.consumer_limits.inactive_threshold;
    }
    if config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None {
        config.max_ack_pending = MAX_ACK_PENDING;
        for limit in [server.max_ack_pending, limits.max_ack_pending] {
            if limit > 0 && limit < config.max_ack_pending {
                config.max_ack_pending = limit;
            }
        }
    }
    if pulls && config.max_batch == 0 && server.max_request_batch > 0 {
        if pedantic {
            return pedant("max_request_batch must be set if it's JetStream limits are set");
        }
        config.max_batch = server.max_request_batch;
    }
    if config.priority_policy == PriorityPolicy::PinnedClient && config.priority_timeout == 0 {
        config.priority_timeout = PINNED_TTL;
    }
    if config.ack_policy == AckPolicy::FlowControl && !pedantic {
        config.flow_control = true;
        config.idle_heartbeat = FLOW_CONTROL_HEARTBEAT;
    }
    Ok(())
}

/// The first error whose condition holds.
fn first_of(conditions: &[(bool, Code)]) -> Result<(), ApiError> {
    match conditions.iter().find(|(forbidden, _)| *forbidden) {
        Some((_, code)) => Err((*code).into()),
        None => Ok(()),
    }
}

/// Checks a configuration by itself and against its stream.
fn check(
    config: &ConsumerConfig,
    stream: &StreamConfig,
    server: ServerLimits,
    limits: &AccountLimits,
) -> Result<(), ApiError> {
    if !config.name.is_empty() && !is_valid_name(&config.name) {
        return invalid(r"consumer name can not contain '.', '*', '>', '\', '/'");
    }
    if !config.durable_name.is_empty() && !is_valid_name(&config.durable_name) {
        return invalid(r"consumer durable name can not contain '.', '*', '>', '\', '/'");
    }
    let replicas = config.num_replicas;
    first_of(&[
        (
            replicas > 0 && replicas > stream.num_replicas,
            Code::ConsumerReplicasExceedsStream,
        ),
        (replicas < 0, Code::ReplicasCountCannotBeNegative),
        (
            stream.retention != Retention::Limits
                && replicas != 0
                && replicas != stream.num_replicas,
            Code::ConsumerReplicasShouldMatchStream,
        ),
        (
            config.backoff.iter().any(|wait| *wait < 0),
            Code::ConsumerBackOffNegative,
        ),
        (config.ack_wait < 0, Code::ConsumerAckWaitNegative),
    ])?;
    if config.ack_policy == AckPolicy::FlowControl {
        check_flow_control(config)?;
    }
    if is_backoff_too_long(config) {
        return Err(Code::ConsumerMaxDeliverBackoff.into());
    }
    if config.description.len() > DESCRIPTION_BYTES_MAX {
        let max = DESCRIPTION_BYTES_MAX.to_string();
        return Err(Code::ConsumerDescriptionTooLong.with(&[&max]));
    }
    if config.deliver_subject.is_empty() {
        check_pull(config, stream, server)?;
    } else {
        check_push(config, stream)?;
    }
    for limit in [
        server.max_ack_pending,
        limits.max_ack_pending,
        stream.consumer_limits.max_ack_pending,
    ] {
        if limit > 0 && config.max_ack_pending > limit {
            return Err(Code::ConsumerMaxPendingAckExcess.with(&[&limit.to_string()]));
        }
    }
    let threshold = stream.consumer_limits.inactive_threshold;
    if threshold > 0 && config.inactive_threshold > threshold {
        let limit = time::duration(threshold);
        return Err(Code::ConsumerInactiveThresholdExcess.with(&[&limit]));
    }
    if config.direct {
        first_of(&[
            (
                config.deliver_subject.is_empty(),
                Code::ConsumerDirectRequiresPush,
            ),
            (
                !config.durable_name.is_empty(),
                Code::ConsumerDirectRequiresEphemeral,
            ),
        ])?;
    }
    check_filters(config)?;
    check_start(config)?;
    check_sampling(&config.sample_freq)?;
    if config.flow_control && config.idle_heartbeat == 0 {
        return Err(Code::ConsumerWithFlowControlNeedsHeartbeats.into());
    }
    let both = !config.durable_name.is_empty() && !config.name.is_empty();
    if both && config.name != config.durable_name {
        return Err(Code::ConsumerCreateDurableAndNameMismatch.into());
    }
    if metadata_bytes(&config.metadata) > METADATA_BYTES_MAX {
        let limit = format!("{}KB", METADATA_BYTES_MAX / 1024);
        return Err(Code::ConsumerMetadataLength.with(&[&limit]));
    }
    check_priorities(config)
}

/// Acknowledgements by flow control are for sources.
fn check_flow_control(config: &ConsumerConfig) -> Result<(), ApiError> {
    first_of(&[
        (
            config.deliver_subject.is_empty(),
            Code::ConsumerAckFCRequiresPush,
        ),
        (!config.flow_control, Code::ConsumerAckFCRequiresFC),
    ])?;
    if config.idle_heartbeat != FLOW_CONTROL_HEARTBEAT {
        return invalid("flow control ack policy heartbeat needs to be 1s");
    }
    first_of(&[
        (
            config.max_ack_pending <= 0,
            Code::ConsumerAckFCRequiresMaxAckPending,
        ),
        (
            config.ack_wait != 0 || !config.backoff.is_empty(),
            Code::ConsumerAckFCRequiresNoAckWait,
        ),
        (
            config.max_deliver > 0,
            Code::ConsumerAckFCRequiresNoMaxDeliver,
        ),
    ])
}

fn is_backoff_too_long(config: &ConsumerConfig) -> bool {
    let steps = i64::try_from(config.backoff.len()).unwrap_or(i64::MAX);
    steps > 0 && config.max_deliver != -1 && steps > config.max_deliver
}

fn check_push(config: &ConsumerConfig, stream: &StreamConfig) -> Result<(), ApiError> {
    let subject = config.deliver_subject.as_bytes();
    let cycle = |own: &String| is_subset(subject, own.as_bytes());
    first_of(&[
        (!is_literal(subject), Code::ConsumerDeliverToWildcards),
        (
            !is_valid_pattern(subject),
            Code::ConsumerInvalidDeliverSubject,
        ),
        (
            stream.subjects.iter().any(cycle),
            Code::ConsumerDeliverCycle,
        ),
        (config.max_waiting != 0, Code::ConsumerPushMaxWaiting),
        (
            config.max_ack_pending > 0 && config.ack_policy == AckPolicy::None,
            Code::ConsumerMaxPendingAckPolicyRequired,
        ),
        (
            config.idle_heartbeat > 0 && config.idle_heartbeat < SHORTEST_HEARTBEAT,
            Code::ConsumerSmallHeartbeat,
        ),
    ])
}

fn check_pull(
    config: &ConsumerConfig,
    stream: &StreamConfig,
    server: ServerLimits,
) -> Result<(), ApiError> {
    first_of(&[
        (
            config.ack_policy == AckPolicy::None && stream.retention == Retention::WorkQueue,
            Code::ConsumerPullRequiresAck,
        ),
        (config.rate_limit_bps > 0, Code::ConsumerPullWithRateLimit),
        (config.idle_heartbeat > 0, Code::ConsumerHBRequiresPush),
        (config.flow_control, Code::ConsumerFCRequiresPush),
        (
            config.max_expires != 0 && config.max_expires < MILLISECOND,
            Code::ConsumerMaxRequestExpiresTooSmall,
        ),
    ])?;
    let limit = server.max_request_batch;
    if limit > 0 && config.max_batch > limit {
        return Err(Code::ConsumerMaxRequestBatchExceeded.with(&[&limit.to_string()]));
    }
    Ok(())
}

fn check_filters(config: &ConsumerConfig) -> Result<(), ApiError> {
    let one = &config.filter_subject;
    if !one.is_empty() && !config.filter_subjects.is_empty() {
        return Err(Code::ConsumerDuplicateFilterSubjects.into());
    }
    if !one.is_empty() && !is_valid_pattern(one.as_bytes()) {
        return invalid("invalid subject");
    }
    if config.filter_subjects.iter().any(String::is_empty) {
        return Err(Code::ConsumerEmptyFilter.into());
    }
    let either_subset = |one: &[u8], other: &[u8]| is_subset(one, other) || is_subset(other, one);
    let overlap = overlap::among(&config.filter_subjects, either_subset);
    if overlap == Among::TooMany {
        return invalid("too many filters with wildcards");
    }
    for (i, filter) in config.filter_subjects.iter().enumerate() {
        if !is_valid_pattern(filter.as_bytes()) {
            return invalid("invalid subject");
        }
        if matches!(overlap, Among::Two(first, _) if first == i) {
            return Err(Code::ConsumerOverlappingSubjectFilters.into());
        }
    }
    Ok(())
}

/// The start must be said if the policy needs it, and not if it does not.
fn check_start(config: &ConsumerConfig) -> Result<(), ApiError> {
    let seq = config.opt_start_seq > 0;
    let time = config.opt_start_time.is_some();
    let refuse = |policy: &str, what: &str| {
        let why = format!("consumer delivery policy is deliver {policy}, but optional {what}");
        Err(Code::ConsumerInvalidPolicy.with(&[&why]))
    };
    let (policy, needs) = match config.deliver_policy {
        DeliverPolicy::All => ("all", None),
        DeliverPolicy::Last => ("last", None),
        DeliverPolicy::LastPerSubject => ("last per subject", None),
        DeliverPolicy::New => ("new", None),
        DeliverPolicy::ByStartSequence => ("by start sequence", Some((seq, "start sequence"))),
        DeliverPolicy::ByStartTime => ("by start time", Some((time, "start time"))),
    };
    if let Some((false, what)) = needs {
        return refuse(policy, &format!("{what} is not set"));
    }
    match config.deliver_policy {
        DeliverPolicy::ByStartSequence if time => {
            return refuse(policy, "start time is also set");
        }
        DeliverPolicy::ByStartTime if seq => {
            return refuse(policy, "start start sequence is also set");
        }
        DeliverPolicy::ByStartSequence | DeliverPolicy::ByStartTime => return Ok(()),
        _ => {}
    }
    if seq {
        return refuse(policy, "start sequence is also set");
    }
    if time {
        return refuse(policy, "start time is also set");
    }
    if config.deliver_policy == DeliverPolicy::LastPerSubject && filters(config).next().is_none() {
        return refuse(policy, "filter subject is not set");
    }
    Ok(())
}

/// How many of a hundred acknowledgements are measured.
fn check_sampling(frequency: &str) -> Result<(), ApiError> {
    if frequency.is_empty() {
        return Ok(());
    }
    let digits = frequency.strip_suffix('%').unwrap_or(frequency);
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
    let numeric = !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit());
    let why = match digits.parse::<i64>() {
        Ok(0..) => return Ok(()),
        // nats-server fills in an error that there is not.
        Ok(_) => "<nil>".to_owned(),
        Err(_) => {
            let why = if numeric {
                "value out of range"
            } else {
                "invalid syntax"
            };
            format!(
                "strconv.Atoi: parsing {}: {why}",
                go_quoted(digits.as_bytes())
            )
        }
    };
    Err(Code::ConsumerInvalidSampling.with(&[&why]))
}

fn check_priorities(config: &ConsumerConfig) -> Result<(), ApiError> {
    if config.priority_policy == PriorityPolicy::None {
        return first_of(&[
            (
                !config.priority_groups.is_empty(),
                Code::ConsumerPriorityGroupWithPolicyNone,
            ),
            (
                config.priority_timeout > 0,
                Code::ConsumerPinnedTtlWithoutPriorityPolicyNone,
            ),
        ]);
    }
    first_of(&[
        (
            !config.deliver_subject.is_empty(),
            Code::ConsumerPushWithPriorityGroup,
        ),
        (
            config.priority_groups.is_empty(),
            Code::ConsumerPriorityPolicyWithoutGroup,
        ),
    ])?;
    for group in &config.priority_groups {
        if group.is_empty() {
            return Err(Code::ConsumerEmptyGroupName.into());
        }
        if !is_group_name(group) {
            return Err(Code::ConsumerInvalidGroupName.into());
        }
    }
    Ok(())
}

/// Checks what a consumer becomes against what it was.
fn change(
    old: &ConsumerConfig,
    name: String,
    mut config: ConsumerConfig,
    action: Action,
    around: &Around<'_>,
) -> Result<Creation, ApiError> {
    if action == Action::Create {
        versions::copy(&mut config.metadata, &old.metadata);
        if config != *old {
            return Err(Code::ConsumerAlreadyExists.into());
        }
    }
    if around.stream.retention == Retention::WorkQueue
        && !is_alone(&name, &config, around.consumers)
    {
        return Err(Code::ConsumerWQConsumerNotUnique.into());
    }
    if config != *old {
        check_change(old, &config, around.consumers)?;
        if config.inactive_threshold != old.inactive_threshold {
            set_inactive_threshold(&mut config);
        }
    }
    Ok(Creation::Update { name, config })
}

fn check_change(
    old: &ConsumerConfig,
    new: &ConsumerConfig,
    consumers: &dyn Consumers,
) -> Result<(), ApiError> {
    let refuse = |why: &str| Err(Code::ConsumerCreate.with(&[why]));
    for (differs, what) in [
        (old.deliver_policy != new.deliver_policy, "deliver policy"),
        (old.mem_storage != new.mem_storage, "storage type"),
        (old.direct != new.direct, "direct"),
        (old.sourcing != new.sourcing, "sourcing"),
        (old.opt_start_seq != new.opt_start_seq, "start sequence"),
        (old.opt_start_time != new.opt_start_time, "start time"),
        (old.ack_policy != new.ack_policy, "ack policy"),
        (old.replay_policy != new.replay_policy, "replay policy"),
        (old.idle_heartbeat != new.idle_heartbeat, "heart beats"),
        (old.flow_control != new.flow_control, "flow control"),
    ] {
        if differs {
            return refuse(&format!("{what} can not be updated"));
        }
    }
    if old.deliver_subject != new.deliver_subject {
        if old.deliver_subject.is_empty() {
            return refuse("can not update pull consumer to push based");
        }
        if new.deliver_subject.is_empty() {
            return refuse("can not update push consumer to pull based");
        }
        if consumers.has_interest(&old.deliver_subject) {
            return Err(Code::ConsumerNameExist.into());
        }
    }
    if old.max_waiting != new.max_waiting {
        return refuse("max waiting can not be updated");
    }
    if is_backoff_too_long(new) {
        return Err(Code::ConsumerMaxDeliverBackoff.into());
    }
    Ok(())
}
