//! What is kept of consumers, as facts beside the messages.
//!
//! The first fact of a consumer is the length of a JSON object in four bytes, the object (its name,
//! when it was made, its configuration) and its whole state; further ones are changes of the state.

use crate::jetstream::Outlet;
use crate::jetstream::api::decode;
use crate::jetstream::api::encode::Object;
use crate::jetstream::config::ConsumerConfig;
use crate::jetstream::consumer::{Around, Consumer};
use crate::store::{Messages, Refused, UnixNanos};

use super::{Asset, ConsumerSlot, Surroundings};

/// Bytes of changes after which the whole state is written instead.
const REWRITE_BYTES: u64 = 64 * 1024;

/// The number of a consumer's facts; the stream's own are 0.
pub fn number(place: u32) -> u32 {
    place + 1
}

/// What a consumer is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Definition {
    name: String,
    created: UnixNanos,
    config: ConsumerConfig,
}

impl decode::Decode for Definition {
    const TYPE: &'static str = "consumer";

    fn field(&mut self, name: &str, decoder: &mut decode::Decoder<'_>) -> decode::Known {
        match name {
            "name" => decoder.string(&mut self.name),
            "created" => decoder.int64(&mut self.created),
            "config" => decoder.object(&mut self.config),
            _ => decode::Known::No,
        }
    }
}

fn whole(consumer: &Consumer) -> Vec<u8> {
    let mut fact = definition(consumer.name(), consumer.created(), consumer.config());
    fact.extend_from_slice(&consumer.snapshot());
    fact
}

/// The beginning of a consumer's first fact, before its state.
pub fn definition(name: &str, created: UnixNanos, config: &ConsumerConfig) -> Vec<u8> {
    let mut fact = vec![0; 4];
    let mut object = Object::begin(&mut fact);
    object.string("name", name);
    object.integer("created", created);
    config.render(object.key("config"));
    object.end();
    let length = (fact.len() - 4) as u32;
    fact[..4].copy_from_slice(&length.to_le_bytes());
    fact
}

impl Asset {
    /// Writes all that is to be known of a consumer.
    pub(super) fn write_whole<M: Messages, O: Outlet>(
        &mut self,
        place: u32,
        around: &mut Surroundings<'_, M, O>,
    ) -> Result<(), Refused> {
        let Some(slot) = self.slots[place as usize].as_deref_mut() else {
            return Ok(());
        };
        // What has changed is part of it.
        slot.consumer.take_delta();
        around
            .messages
            .rewrite_note(number(place), &whole(&slot.consumer))
    }

    /// Writes what has changed of consumers: before a flush, so that it is part of it.
    pub fn before_flush<M: Messages>(&mut self, messages: &mut M) {
        if self.feeds_are_dirty() {
            // If there is no room, it is written with the next one.
            let _ = self.write_feeds(messages);
        }
        for place in std::mem::take(&mut self.dirty) {
            let Some(slot) = self.slots[place as usize].as_deref_mut() else {
                continue;
            };
            let note = number(place);
            let Some(delta) = slot.consumer.take_delta() else {
                continue;
            };
            let written = match messages.note_bytes(note) {
                bytes if bytes > REWRITE_BYTES => {
                    messages.rewrite_note(note, &whole(&slot.consumer))
                }
                _ => messages.note(note, &delta),
            };
            if written.is_err() {
                // There is no room: all of it is written when there is some.
                slot.consumer.rewrite();
                self.dirty.push(place);
            }
        }
    }

    /// Whether there is something to write.
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.feeds_are_dirty()
    }

    /// Brings a consumer back from its facts. What is wrong with them, if anything is: then
    /// there is no such consumer, and its facts are left alone.
    ///
    /// # Errors
    /// What is wrong.
    pub fn recover_consumer<M: Messages, O: Outlet>(
        &mut self,
        note: u32,
        facts: &[Vec<u8>],
        around: &mut Surroundings<'_, M, O>,
    ) -> Result<(), String> {
        let first = facts.first().ok_or("there are none")?;
        let (length, rest) = first.split_first_chunk::<4>().ok_or("too short")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (json, state) = rest.split_at_checked(length).ok_or("too short")?;
        let definition: Definition =
            decode::request(json, false).map_err(|error| error.description.to_string())?;
        let states = std::iter::once(state).chain(facts[1..].iter().map(Vec::as_slice));
        let mut own = Around {
            now: around.now,
            home: &self.home,
            messages: &mut *around.messages,
            outlet: &mut *around.outlet,
            desk: &mut *around.desk,
        };
        let Definition {
            name,
            created,
            config,
        } = definition;
        let consumer = Consumer::recover(&name, config, created, states, &mut own)
            .map_err(|_| format!("the state of consumer {name:?} cannot be read"))?;
        let slot = ConsumerSlot {
            consumer,
            is_queued: false,
            is_kept: true,
            is_hidden: false,
            hears: false,
            pushes_to: None,
        };
        let place = note - 1;
        self.put_seat(place, slot);
        self.names.insert(name.into(), place);
        self.enter(place, around);
        Ok(())
    }
}
