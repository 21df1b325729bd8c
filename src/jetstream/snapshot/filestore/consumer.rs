//! How far something has come: a consumer, in its `o.dat`, and a stream that others are sourced into, in
//! `sources.db`.

use std::collections::BTreeMap;

use super::super::{ConsumerState, Damage, Delivered, Position, varint};
use crate::store::Seq;

const MAGIC: u8 = 22;
const NANOS: i64 = 1_000_000_000;

/// Reads it, decrypted. An empty one is of a consumer that has delivered nothing.
///
/// # Errors
/// When it is none.
pub fn read_consumer_state(file: &[u8]) -> Result<ConsumerState, Damage> {
    let mut state = ConsumerState::default();
    if file.is_empty() {
        return Ok(state);
    }
    let &[MAGIC, version @ (1 | 2), ..] = file else {
        return Err(Damage::at(0, "not a consumer's state"));
    };
    let mut from = Cursor { file, at: 2 };
    state.ack_floor = from.position()?;
    state.delivered = from.position()?;
    if version == 1 {
        // It counted from the floor, and what was to be delivered next.
        state.delivered.consumer_seq = (state.delivered.consumer_seq)
            .saturating_add(state.ack_floor.consumer_seq.saturating_sub(1));
        state.delivered.stream_seq = (state.delivered.stream_seq)
            .saturating_add(state.ack_floor.stream_seq.saturating_sub(1));
    }
    if (state.ack_floor.stream_seq | state.delivered.stream_seq) >> 63 != 0 {
        return Err(Damage::at(2, "consumer's state with impossible sequences"));
    }
    let pending = from.unsigned()?;
    if pending > 0 {
        let base = from.signed()?;
        for _ in 0..pending {
            let damage = from.damage();
            let stream_seq = (from.unsigned()?.checked_add(state.ack_floor.stream_seq))
                .filter(|&seq| seq != 0)
                .ok_or(damage)?;
            let consumer_seq = match version {
                1 => 0,
                _ => (from.unsigned()?.checked_add(state.ack_floor.consumer_seq)).ok_or(damage)?,
            };
            let seconds = match version {
                1 => from.signed()?.checked_add(base),
                _ => base.checked_sub(from.signed()?),
            };
            let time = seconds.and_then(|seconds| seconds.checked_mul(NANOS));
            let time = time.ok_or(damage)?;
            let delivered = Delivered { consumer_seq, time };
            state.pending.insert(stream_seq, delivered);
        }
    }
    for _ in 0..from.unsigned()? {
        let damage = from.damage();
        let (seq, count) = (from.unsigned()?, from.unsigned()?);
        if seq > 0 && count > 0 {
            let seq = seq.checked_add(state.ack_floor.stream_seq).ok_or(damage)?;
            state.redelivered.insert(seq, count);
        }
    }
    Ok(state)
}

/// Reads the last sequence of each source.
///
/// # Errors
/// When it is no such file.
pub fn read_sources(file: &[u8]) -> Result<BTreeMap<String, Seq>, Damage> {
    const VERSION: u8 = 1;
    // Behind the count, the stream's own sequence up to which it counts.
    const HEAD_BYTES: usize = 1 + 8 + 8;
    let damage = Damage::at(0, "not a state of sources");
    let head: &[u8; HEAD_BYTES] = file.first_chunk().ok_or(damage)?;
    let (&version, count) = head.split_first().expect("it is longer");
    if version != VERSION {
        return Err(damage);
    }
    let count = u64::from_le_bytes(*count.first_chunk().expect("it is longer"));
    let mut from = Cursor {
        file,
        at: HEAD_BYTES,
    };
    let mut sources = BTreeMap::new();
    for _ in 0..count {
        let damage = from.damage();
        let name = std::str::from_utf8(from.string()?).map_err(|_| damage)?;
        let name = name.to_owned();
        let seq = from.unsigned()?;
        let _identity = from.string()?;
        sources.insert(name, seq);
    }
    Ok(sources)
}

struct Cursor<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn string(&mut self) -> Result<&'a [u8], Damage> {
        let damage = self.damage();
        let bytes = usize::try_from(self.unsigned()?).map_err(|_| damage)?;
        let rest = &self.file[self.at..];
        let string = rest.get(..bytes).ok_or(damage)?;
        self.at += bytes;
        Ok(string)
    }

    fn damage(&self) -> Damage {
        Damage::at(self.at, "consumer's state is corrupt")
    }

    fn unsigned(&mut self) -> Result<u64, Damage> {
        let varint::Varint::Is(value, bytes) = varint::unsigned(&self.file[self.at..]) else {
            return Err(self.damage());
        };
        self.at += bytes;
        Ok(value)
    }

    fn signed(&mut self) -> Result<i64, Damage> {
        let varint::Varint::Is(value, bytes) = varint::signed(&self.file[self.at..]) else {
            return Err(self.damage());
        };
        self.at += bytes;
        Ok(value)
    }

    fn position(&mut self) -> Result<Position, Damage> {
        Ok(Position {
            consumer_seq: self.unsigned()?,
            stream_seq: self.unsigned()?,
        })
    }
}
