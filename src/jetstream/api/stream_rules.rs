//! What a stream's configuration must be, by itself and beside other streams. It does not know
//! whether the stream is there already.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use crate::jetstream::config::{
    Discard, PersistMode, Placement, Retention, Storage, StreamConfig, StreamSource,
    SubjectTransform,
};
use crate::subject::transform::Transform;
use crate::subject::{collide, is_literal, is_subset, is_valid_literal, is_valid_pattern};

use super::check_stream::{Around, Limits, Streams};
use super::errors::{ApiError, Code};
use super::overlap::{self, Among};
use super::scan::go_quoted;
use super::time;

/// Copies of a stream that a cluster may hold at most.
const REPLICAS_MAX: i64 = 5;
/// Bytes of a name.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// Bytes of a description.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 4 * 1024;
/// Bytes of metadata.
pub(super) const METADATA_BYTES_MAX: usize = 128 * 1024;
/// The duplicate window where none was asked for: two minutes.
const DUPLICATE_WINDOW: i64 = 120 * 1_000_000_000;
/// The shortest duplicate window and the shortest age of messages: 100 ms.
const SHORTEST: i64 = 100 * 1_000_000;
const SECOND: i64 = 1_000_000_000;
pub(super) const EVERYTHING: &str = ">";
/// What no stream may take over unless it does not acknowledge, because requests would be answered
/// with acknowledgements.
const API_SPACES: &[&str] = &["$JS.>", "$JSC.>", "$NRG.>"];

/// Whether a name may be one of a stream or consumer.
pub fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([' ', '\t', '\r', '\n', '\x0c', '.', '*', '>', '\\', '/'])
}

/// Checks a configuration by itself and against others, and puts in what was not said.
///
/// # Errors
/// Why it is not allowed.
pub fn check(
    mut config: StreamConfig,
    pedantic: bool,
    around: &Around<'_>,
) -> Result<StreamConfig, ApiError> {
    check_texts(&config)?;
    set_counts(&mut config, pedantic)?;
    set_duplicate_window(&mut config, pedantic, around.server.duplicate_window)?;
    check_features(&mut config, pedantic)?;
    let mut prefixes = Prefixes::default();
    check_mirror(&mut config, pedantic, around.streams, &mut prefixes)?;
    check_sources(&config, around.streams, &mut prefixes)?;
    prefixes.check()?;
    check_cycles(&config, around.streams)?;
    check_subjects(&mut config)?;
    check_max_bytes(&config, around.limits)?;
    check_transforms(&mut config, pedantic)?;
    if config.placement == Some(Placement::default()) {
        config.placement = None;
    }
    if let Some(placement) = &config.placement
        && !placement.preferred.is_empty()
    {
        return invalid("preferred server not permitted in placement");
    }
    Ok(config)
}

pub(super) fn invalid<T>(why: &str) -> Result<T, ApiError> {
    Err(Code::StreamInvalidConfig.with(&[why]))
}

fn pedant<T>(why: &str) -> Result<T, ApiError> {
    Err(Code::Pedantic.with(&[why]))
}

fn check_texts(config: &StreamConfig) -> Result<(), ApiError> {
    if !is_valid_name(&config.name) {
        return invalid(r"stream name is required and can not contain '.', '*', '>', '\', '/'");
    }
    if config.name.len() > NAME_BYTES_MAX {
        return invalid(&format!(
            "stream name is too long, maximum allowed is {NAME_BYTES_MAX}"
        ));
    }
    if config.description.len() > DESCRIPTION_BYTES_MAX {
        return invalid(&format!(
            "stream description is too long, maximum allowed is {DESCRIPTION_BYTES_MAX}"
        ));
    }
    if metadata_bytes(&config.metadata) > METADATA_BYTES_MAX {
        return invalid(&format!(
            "stream metadata exceeds maximum size of {METADATA_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}

pub(super) fn metadata_bytes(metadata: &BTreeMap<String, String>) -> usize {
    metadata.iter().map(|(k, v)| k.len() + v.len()).sum()
}

/// Copies, limits and age.
fn set_counts(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.num_replicas == 0 {
        config.num_replicas = 1;
    }
    if config.num_replicas > REPLICAS_MAX {
        return invalid(&format!("maximum replicas is {REPLICAS_MAX}"));
    }
    if config.num_replicas < 0 {
        return Err(Code::ReplicasCountCannotBeNegative.into());
    }
    let mut max_msg_size = i64::from(config.max_msg_size);
    for (name, limit) in [
        ("max_msgs", &mut config.max_msgs),
        ("max_msgs_per_subject", &mut config.max_msgs_per_subject),
        ("max_bytes", &mut config.max_bytes),
        ("max_msg_size", &mut max_msg_size),
        ("max_consumers", &mut config.max_consumers),
    ] {
        if *limit < -1 && pedantic {
            return pedant(&format!("{name} must be set to -1"));
        }
        if *limit == 0 || *limit < -1 {
            *limit = -1;
        }
    }
    config.max_msg_size = i32::try_from(max_msg_size).expect("it is as it was, or -1");
    if config.max_age < 0 {
        return invalid("max age can not be negative");
    }
    if config.max_age != 0 && config.max_age < SHORTEST {
        return invalid("max age needs to be >= 100ms");
    }
    Ok(())
}

fn set_duplicate_window(
    config: &mut StreamConfig,
    pedantic: bool,
    longest: i64,
) -> Result<(), ApiError> {
    let own_messages = config.mirror.is_none() && config.sources.is_empty();
    if config.duplicate_window == 0 && own_messages {
        let mut window = DUPLICATE_WINDOW;
        if longest > 0 && window > longest {
            if pedantic {
                return pedant("duplicate window limits are higher than current limits");
            }
            window = longest;
        }
        if config.max_age != 0 && config.max_age < window {
            if pedantic {
                return pedant("duplicate window cannot be bigger than max age");
            }
            window = config.max_age;
        }
        config.duplicate_window = window;
    }
    let window = config.duplicate_window;
    if window < 0 {
        return invalid("duplicates window can not be negative");
    }
    if config.max_age != 0 && window > config.max_age {
        return invalid("duplicates window can not be larger then max age");
    }
    if longest > 0 && window > longest {
        return invalid(&format!(
            "duplicates window can not be larger then server limit of {}",
            time::duration(longest)
        ));
    }
    if window > 0 && window < SHORTEST {
        return invalid("duplicates window needs to be >= 100ms");
    }
    Ok(())
}

/// Settings that exclude or need each other.
fn check_features(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.deny_purge && config.allow_rollup_hdrs {
        return invalid("roll-ups require the purge permission");
    }
    if config.allow_msg_counter {
        if config.discard == Discard::New {
            return invalid("counter stream cannot use discard new");
        }
        if config.allow_msg_ttl {
            return invalid("counter stream cannot use message TTLs");
        }
        if config.allow_msg_schedules {
            return invalid("counter stream cannot use message schedules");
        }
        if config.retention != Retention::Limits {
            return invalid("counter stream can only use limits retention");
        }
    }
    check_discard_per_subject(config)?;
    if config.subject_delete_marker_ttl > 0 {
        if config.subject_delete_marker_ttl < SECOND {
            return invalid("subject delete marker TTL must be at least 1 second");
        }
        if !config.allow_msg_ttl {
            if pedantic {
                return invalid("subject delete marker cannot be set if message TTLs are disabled");
            }
            config.allow_msg_ttl = true;
        }
        if !config.allow_rollup_hdrs {
            if pedantic {
                return invalid("subject delete marker cannot be set if roll-ups are disabled");
            }
            (config.allow_rollup_hdrs, config.deny_purge) = (true, false);
        }
    } else if config.subject_delete_marker_ttl < 0 {
        return invalid("subject delete marker TTL must not be negative");
    }
    if config.allow_msg_schedules {
        if config.discard == Discard::New {
            return invalid("message scheduling cannot use discard new");
        }
        if !config.allow_rollup_hdrs {
            if pedantic {
                return invalid("message scheduling cannot be set if roll-ups are disabled");
            }
            (config.allow_rollup_hdrs, config.deny_purge) = (true, false);
        }
    }
    if config.persist_mode == PersistMode::Async {
        if config.storage != Storage::File {
            return invalid("async persist mode is only supported on file storage");
        }
        if config.num_replicas > 1 {
            return invalid("async persist mode is not supported on replicated streams");
        }
        if config.allow_atomic {
            return invalid("async persist mode is not supported with atomic batch publish");
        }
    }
    Ok(())
}

pub(super) fn check_discard_per_subject(config: &StreamConfig) -> Result<(), ApiError> {
    if config.discard_new_per_subject {
        if config.discard != Discard::New {
            return invalid("discard new per subject requires discard new policy to be set");
        }
        if config.max_msgs_per_subject <= 0 {
            return invalid("discard new per subject requires max msgs per subject > 0");
        }
    }
    Ok(())
}

/// What external streams bring with them, and what streams here have.
#[derive(Default)]
struct Prefixes {
    subjects: Vec<String>,
    delivery: Vec<String>,
    api: Vec<String>,
}

impl Prefixes {
    fn add_external(&mut self, source: &StreamSource) {
        if let Some(external) = &source.external {
            if !external.deliver.is_empty() {
                self.delivery.push(external.deliver.clone());
            }
            if !external.api.is_empty() {
                self.api.push(external.api.clone());
            }
        }
    }

    fn check(&self) -> Result<(), ApiError> {
        const API: &str = "$JS.API";
        for prefix in &self.delivery {
            if !is_valid_literal(prefix.as_bytes()) {
                return Err(Code::StreamInvalidExternalDeliverySubj.with(&[prefix]));
            }
            for subject in &self.subjects {
                let delivered = format!("{prefix}.{subject}");
                if collide(subject.as_bytes(), delivered.as_bytes()) {
                    return Err(Code::StreamExternalDelPrefixOverlaps.with(&[prefix, subject]));
                }
            }
        }
        for prefix in &self.api {
            if !is_valid_literal(prefix.as_bytes()) {
                return invalid(&format!(
                    "stream external api prefix {} must be a valid subject without wildcards",
                    go_quoted(prefix.as_bytes())
                ));
            }
            if collide(prefix.as_bytes(), API.as_bytes()) {
                return Err(Code::StreamExternalApiOverlap.with(&[prefix, API]));
            }
        }
        Ok(())
    }
}

/// A mapping that may do nothing: without a destination.
pub(super) fn check_mapping(source: &str, destination: &str) -> Result<(), String> {
    if destination.is_empty() {
        return Ok(());
    }
    Transform::new(source, destination)
        .map(drop)
        .map_err(|why| why.to_string())
}

/// The complaint about a filter that is no subject.
fn check_source_subject(source: &str) -> Result<(), String> {
    if source.is_empty() || is_valid_pattern(source.as_bytes()) {
        return Ok(());
    }
    Err(format!("invalid subject {source}"))
}

/// Whether a consumer made beforehand may feed a mirror or source.
fn check_source_consumer(source: &StreamSource, code: Code) -> Result<(), ApiError> {
    let Some(consumer) = &source.consumer else {
        return Ok(());
    };
    let deliver = consumer.deliver_subject.as_bytes();
    let allowed = is_valid_name(&consumer.name)
        && is_literal(deliver)
        && is_valid_pattern(deliver)
        && source.opt_start_seq == 0
        && source.opt_start_time.is_none()
        && source.filter_subject.is_empty();
    if allowed { Ok(()) } else { Err(code.into()) }
}

fn check_mirror(
    config: &mut StreamConfig,
    pedantic: bool,
    streams: &dyn Streams,
    prefixes: &mut Prefixes,
) -> Result<(), ApiError> {
    let Some(mirror) = &config.mirror else {
        return Ok(());
    };
    for (forbidden, code) in [
        (config.first_seq > 0, Code::MirrorWithFirstSeq),
        (!config.subjects.is_empty(), Code::MirrorWithSubjects),
        (!config.sources.is_empty(), Code::MirrorWithSources),
        (config.allow_msg_counter, Code::MirrorWithCounters),
        (config.allow_atomic, Code::MirrorWithAtomicPublish),
        (config.allow_batched, Code::MirrorWithBatchPublish),
        (config.allow_msg_schedules, Code::MirrorWithMsgSchedules),
    ] {
        if forbidden {
            return Err(code.into());
        }
    }
    check_source_consumer(mirror, Code::MirrorDurableConsumerCfgInvalid)?;
    if !mirror.filter_subject.is_empty() && !mirror.subject_transforms.is_empty() {
        return Err(Code::MirrorMultipleFiltersNotAllowed.into());
    }
    if config.subject_delete_marker_ttl > 0 {
        return invalid("subject delete markers forbidden on mirrors");
    }
    let transforms = &mirror.subject_transforms;
    let overlap = overlap::among(&filters_of(transforms), collide);
    for (i, transform) in transforms.iter().enumerate() {
        check_source_subject(&transform.source)
            .map_err(|why| Code::MirrorInvalidSubjectFilter.with(&[&why]))?;
        check_mapping(&transform.source, &transform.destination)
            .map_err(|why| Code::MirrorInvalidTransformDestination.with(&[&why]))?;
        if overlap == Among::TooMany || matches!(overlap, Among::Two(first, _) if first == i) {
            return Err(Code::MirrorOverlappingSubjectFilters.into());
        }
    }
    if mirror.external.is_some() {
        prefixes.add_external(mirror);
        return Ok(());
    }
    if !is_valid_name(&mirror.name) {
        return Err(Code::MirrorInvalidStreamName.into());
    }
    if let Some(origin) = streams.stream(&mirror.name) {
        prefixes.subjects.extend(origin.subjects.iter().cloned());
        if is_smaller(config.max_msg_size, origin.max_msg_size) {
            return Err(Code::MirrorMaxMessageSizeTooBig.into());
        }
        if pedantic && config.mirror_direct != origin.allow_direct {
            return pedant("origin stream has direct get set, mirror has it disabled");
        }
        config.mirror_direct = origin.allow_direct;
    }
    Ok(())
}

/// Whether messages that one stream takes are too large for another.
fn is_smaller(own: i32, other: i32) -> bool {
    own > 0 && other > 0 && own < other
}

fn check_sources(
    config: &StreamConfig,
    streams: &dyn Streams,
    prefixes: &mut Prefixes,
) -> Result<(), ApiError> {
    if !config.sources.is_empty() && config.allow_msg_schedules {
        return Err(Code::SourceWithMsgSchedules.into());
    }
    let mut seen = HashSet::new();
    let mut consumers = HashSet::new();
    for source in &config.sources {
        if !is_valid_name(&source.name) {
            return Err(Code::SourceInvalidStreamName.into());
        }
        if !seen.insert(source_identity(source)) {
            return Err(Code::SourceDuplicateDetected.into());
        }
        if !source.filter_subject.is_empty() && !source.subject_transforms.is_empty() {
            return Err(Code::SourceMultipleFiltersNotAllowed.into());
        }
        let transforms = &source.subject_transforms;
        for transform in transforms {
            check_source_subject(&transform.source)
                .map_err(|why| Code::SourceInvalidSubjectFilter.with(&[&why]))?;
            check_mapping(&transform.source, &transform.destination)
                .map_err(|why| Code::SourceInvalidTransformDestination.with(&[&why]))?;
        }
        let either_subset =
            |one: &[u8], other: &[u8]| is_subset(one, other) || is_subset(other, one);
        if overlap::among(&filters_of(transforms), either_subset) != Among::Nothing {
            return Err(Code::SourceOverlappingSubjectFilters.into());
        }
        check_source_consumer(source, Code::SourceDurableConsumerCfgInvalid)?;
        if let Some(consumer) = &source.consumer {
            let api = source.external.as_ref().map(|external| &external.api);
            if !consumers.insert((&source.name, api, &consumer.name)) {
                return Err(Code::SourceDurableConsumerDuplicateDetected.into());
            }
        }
        if source.external.is_some() {
            prefixes.add_external(source);
        } else if let Some(origin) = streams.stream(&source.name) {
            prefixes.subjects.extend(origin.subjects.iter().cloned());
            if is_smaller(config.max_msg_size, origin.max_msg_size) {
                return Err(Code::SourceMaxMessageSizeTooBig.into());
            }
        }
    }
    Ok(())
}

fn filters_of(transforms: &[SubjectTransform]) -> Vec<&str> {
    transforms.iter().map(|one| one.source.as_str()).collect()
}

/// What tells sources apart: stream, API and filters with what they become.
type SourceIdentity<'s> = (&'s str, Option<&'s str>, Vec<(&'s str, &'s str)>);

fn source_identity<'s>(source: &'s StreamSource) -> SourceIdentity<'s> {
    fn all(text: &str) -> &str {
        if text.is_empty() { EVERYTHING } else { text }
    }
    let api = source
        .external
        .as_ref()
        .map(|external| external.api.as_str());
    let filters = if source.subject_transforms.is_empty() {
        vec![(all(&source.filter_subject), EVERYTHING)]
    } else {
        let pair = |one: &'s SubjectTransform| (all(&one.source), all(&one.destination));
        source.subject_transforms.iter().map(pair).collect()
    };
    (&source.name, api, filters)
}

/// Messages must not come back to where they came from.
fn check_cycles(config: &StreamConfig, streams: &dyn Streams) -> Result<(), ApiError> {
    fn overlaps(subjects: &[String], filter: &str) -> bool {
        let filter = filter.as_bytes();
        filter.is_empty() || subjects.iter().any(|one| collide(one.as_bytes(), filter))
    }
    let mut to_visit = vec![config];
    let mut visited: HashSet<&str> = HashSet::new();
    let mut at = 0;
    while let Some(&config) = to_visit.get(at) {
        at += 1;
        if !visited.insert(&config.name) {
            // It was reached on two ways; what it leads to is known.
            continue;
        }
        for source in &config.sources {
            if source.external.is_some() {
                continue;
            }
            if visited.contains(source.name.as_str()) {
                if overlaps(&config.subjects, &source.filter_subject) {
                    return invalid("detected cycle");
                }
            } else {
                to_visit.extend(streams.stream(&source.name));
            }
        }
        if let Some(mirror) = &config.mirror
            && mirror.external.is_none()
        {
            if visited.contains(mirror.name.as_str()) {
                return invalid("detected cycle");
            }
            to_visit.extend(streams.stream(&mirror.name));
        }
    }
    Ok(())
}

fn check_subjects(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.subjects.is_empty() {
        if config.mirror.is_none() && config.sources.is_empty() {
            config.subjects.push(config.name.clone());
        }
        return Ok(());
    }
    let overlap = overlap::among(&config.subjects, collide);
    if overlap == Among::TooMany {
        return invalid("too many subjects with wildcards");
    }
    for (i, subject) in config.subjects.iter().enumerate() {
        let bytes = subject.as_bytes();
        if !is_valid_pattern(bytes) {
            return invalid("invalid subject");
        }
        if subject == EVERYTHING {
            if !config.no_ack {
                return invalid("capturing all subjects requires no-ack to be true");
            }
            if config.num_replicas != 1 {
                return invalid("capturing all subjects requires replicas of 1");
            }
        }
        if !config.no_ack {
            let within_api = API_SPACES
                .iter()
                .any(|space| collide(bytes, space.as_bytes()));
            if within_api && !is_subset(bytes, b"$JS.EVENT.>") {
                return invalid(
                    "subjects that overlap with jetstream api require no-ack to be true",
                );
            }
            if collide(bytes, b"$SYS.>") && !is_subset(bytes, b"$SYS.ACCOUNT.>") {
                return invalid("subjects that overlap with system api require no-ack to be true");
            }
        }
        // Equal ones overlap, too.
        if let Among::Two(first, second) = overlap
            && first == i
        {
            return invalid(&format!(
                "subject {} overlaps with {}",
                go_quoted(bytes),
                go_quoted(config.subjects[second].as_bytes())
            ));
        }
    }
    Ok(())
}

fn check_max_bytes(config: &StreamConfig, limits: &Limits) -> Result<(), ApiError> {
    let Some((limits, _)) = limits.of(config.num_replicas) else {
        return Ok(());
    };
    if limits.max_bytes_required && config.max_bytes <= 0 {
        return Err(Code::StreamMaxBytesRequired.into());
    }
    let limit = match config.storage {
        Storage::Memory => limits.memory_max_stream_bytes,
        Storage::File => limits.storage_max_stream_bytes,
    };
    if limit > 0 && config.max_bytes > limit {
        return Err(Code::StreamMaxStreamBytesExceeded.into());
    }
    Ok(())
}

fn check_transforms(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if let Some(transform) = &config.subject_transform {
        check_source_subject(&transform.source)
            .map_err(|why| Code::StreamTransformInvalidSource.with(&[&why]))?;
        check_mapping(&transform.source, &transform.destination)
            .map_err(|why| Code::StreamTransformInvalidDestination.with(&[&why]))?;
    }
    let Some(republish) = &mut config.republish else {
        return Ok(());
    };
    if republish.source.is_empty() {
        if pedantic {
            return pedant("republish source can not be empty");
        }
        republish.source = EVERYTHING.to_owned();
    }
    // From everything to everything: the stream's transform makes it something else.
    if republish.source == EVERYTHING
        && republish.destination == EVERYTHING
        && let Some(transform) = &config.subject_transform
        && config.subjects.len() == 1
        && config.subjects[0] == transform.source
    {
        if pedantic {
            return pedant("implicit republish based on subject transform");
        }
        republish.source.clone_from(&transform.destination);
        republish.destination.clone_from(&transform.destination);
    }
    let destination = republish.destination.as_bytes();
    if config
        .subjects
        .iter()
        .any(|subject| collide(destination, subject.as_bytes()))
    {
        return invalid("stream configuration for republish destination forms a cycle");
    }
    if check_mapping(&republish.source, &republish.destination).is_err() {
        return invalid(&format!(
            "stream configuration for republish with transform from '{}' to '{}' not valid",
            republish.source, republish.destination
        ));
    }
    Ok(())
}

/// Filters that nothing else has looked at.
pub(super) fn check_filters(config: &StreamConfig) -> Result<(), ApiError> {
    let bad = |source: &StreamSource| {
        source.subject_transforms.is_empty()
            && check_source_subject(&source.filter_subject).is_err()
    };
    if let Some(mirror) = config.mirror.as_ref().filter(|mirror| bad(mirror)) {
        let filter = &mirror.filter_subject;
        let why = format!("subject filter '{filter}' for the mirror invalid subject");
        return Err(Code::StreamCreate.with(&[&why]));
    }
    if let Some(source) = config.sources.iter().find(|source| bad(source)) {
        let filter = &source.filter_subject;
        let why = format!("subject filter '{filter}' for the source: invalid subject");
        return Err(Code::StreamCreate.with(&[&why]));
    }
    Ok(())
}
