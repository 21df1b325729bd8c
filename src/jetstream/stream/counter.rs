//! Counters (`Nats-Incr`, ADR-49): a message adds to what its subject's last message says, with
//! numbers of any length.

use std::collections::BTreeMap;

use num_bigint::BigInt;

use crate::jetstream::Outlet;
use crate::jetstream::api::errors::Code;
use crate::store::{Fetched, Messages};

use super::headers::{self, Asked};
use super::publish::{Checked, Origin, Stop};
use super::{Stream, World};

/// What was counted elsewhere: by stream, by subject.
type Sources = BTreeMap<String, BTreeMap<String, String>>;

/// What a subject counts up to.
#[derive(Clone, Debug, Default)]
pub(super) struct Total {
    value: BigInt,
    sources: Sources,
}

/// A number: digits, perhaps with a sign before them.
fn number(text: &[u8]) -> Option<BigInt> {
    let digits = match text {
        [b'+' | b'-', digits @ ..] => digits,
        digits => digits,
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    BigInt::parse_bytes(text, 10)
}

/// The number in `{"val":"123"}`; zero if that is none, nothing if it is not even JSON.
fn value(payload: &[u8]) -> Option<BigInt> {
    let value: BTreeMap<String, serde_json::Value> = serde_json::from_slice(payload).ok()?;
    match value.get("val") {
        None | Some(serde_json::Value::Null) => Some(BigInt::default()),
        Some(serde_json::Value::String(text)) => Some(number(text.as_bytes()).unwrap_or_default()),
        Some(_) => None,
    }
}

impl Stream {
    /// Whether an increment may be made, and what comes out; nothing for messages without.
    pub(super) fn check_increment(
        &self,
        origin: Origin,
        asked: &Asked<'_>,
        payload: &[u8],
    ) -> Result<Option<BigInt>, Stop> {
        if asked.increment.is_empty() {
            return Ok(None);
        }
        let increment = number(asked.increment).ok_or(Code::MessageIncrInvalid)?;
        if origin.is_trusted() {
            return Ok(Some(increment));
        }
        if !self.config.allow_msg_counter {
            return Err(Code::MessageIncrDisabled.into());
        }
        if !payload.is_empty() {
            return Err(Code::MessageIncrPayload.into());
        }
        if asked.expects() || !asked.rollup.is_empty() {
            return Err(Code::MessageIncrInvalid.into());
        }
        Ok(Some(increment))
    }

    /// Makes the message that has the new total. `staged` is the total after those of the same
    /// batch.
    pub(super) fn count<M: Messages, O: Outlet>(
        &self,
        world: &mut World<'_, M, O>,
        increment: BigInt,
        asked: &Asked<'_>,
        checked: &mut Checked<'_>,
        staged: Option<&Total>,
    ) -> Result<Total, Stop> {
        let broken = || Stop::from(Code::MessageCounterBroken);
        let mut total = match staged {
            Some(total) => total.clone(),
            None => last_total(world, checked.subject)?,
        };
        let mut increment = increment;
        let block = checked.headers.to_mut();
        if !asked.stream_source.is_empty() {
            // What a source has counted is a total: this one grows by what that has grown.
            let mut fields = asked.stream_source.split(|&b| b == b' ');
            let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
            let stream = text(fields.next().unwrap_or_default());
            let subject = text(fields.nth(3).unwrap_or(checked.subject));
            let sourced = value(&checked.payload).ok_or_else(broken)?;
            let counted = total.sources.entry(stream).or_default();
            let before = counted
                .insert(subject, sourced.to_string())
                .unwrap_or_default();
            increment = sourced - number(before.as_bytes()).unwrap_or_default();
            headers::set(block, headers::INCREMENT, increment.to_string().as_bytes());
        }
        total.value += increment;
        if !total.sources.is_empty() {
            let sources = serde_json::to_vec(&total.sources).map_err(|_| broken())?;
            headers::set(block, headers::COUNTER_SOURCES, &sources);
        }
        let text = total.value.to_string();
        let payload = checked.payload.to_mut();
        payload.clear();
        payload.extend_from_slice(b"{\"val\":\"");
        payload.extend_from_slice(text.as_bytes());
        payload.extend_from_slice(b"\"}");
        if checked.headers.len() + checked.payload.len() > self.settings.max_payload {
            return Err(Code::StreamMessageExceedsMaximum.into());
        }
        checked.counter = Some(text);
        Ok(total)
    }
}

fn last_total<M: Messages, O: Outlet>(
    world: &mut World<'_, M, O>,
    subject: &[u8],
) -> Result<Total, Stop> {
    let Some(state) = world.messages.subject(subject) else {
        return Ok(Total::default());
    };
    match world.messages.get(state.last) {
        Fetched::Later => Err(Stop::Later),
        Fetched::Gone => Ok(Total::default()),
        Fetched::Damaged => Err(Code::MessageCounterBroken.into()),
        Fetched::Here(message) => {
            let value = value(message.payload).ok_or(Code::MessageCounterBroken)?;
            let sources = Asked::read(message.headers).counter_sources;
            let sources = match sources {
                b"" => Sources::new(),
                text => serde_json::from_slice(text).map_err(|_| Code::MessageCounterBroken)?,
            };
            Ok(Total { value, sources })
        }
    }
}
