//! What the API asks of a stream itself: to remove messages, and what it holds.

use crate::jetstream::Outlet;
use crate::jetstream::api::errors::{ApiError, Code};
use crate::jetstream::api::requests::{MsgDeleteRequest, PurgeRequest, StreamInfoRequest};
use crate::jetstream::api::responses::{Page, SUBJECTS_MAX};
use crate::jetstream::config::StreamConfig;
use crate::store::{Messages, Selection, Seq};

use super::limits::limit;
use super::{Stream, World, transforms};

/// Sequences that are not there are listed up to so many.
const DELETED_MAX: usize = 500_000;

/// What `STREAM.INFO` was asked to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Which part of the subjects; none if none were asked for.
    pub page: Option<Page>,
    /// Subjects with their messages, in order.
    pub subjects: Vec<(Vec<u8>, u64)>,
    /// Sequences that are not there between the first and the last.
    pub deleted: Vec<Seq>,
}

impl Stream {
    /// Removes messages as `STREAM.PURGE` asks; how many.
    ///
    /// # Errors
    /// The request contradicts itself, or the stream does not allow it.
    pub fn purge<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        request: &PurgeRequest,
    ) -> Result<u64, ApiError> {
        if request.seq > 0 && request.keep > 0 {
            return Err(Code::BadRequest.into());
        }
        if self.config.sealed {
            return Err(Code::StreamSealed.into());
        }
        if self.config.deny_purge {
            return Err(Code::StreamPurgeFailed.with(&["stream purge not permitted"]));
        }
        let mut selection = if request.filter.is_empty() {
            Selection::everything()
        } else {
            Selection::of(&[&request.filter])
        };
        let after_last = world.messages.state().last_seq.saturating_add(1);
        let below = match request.seq {
            0 => after_last,
            seq if selection.is_everything() => seq,
            seq => seq.min(after_last),
        };
        let purged = world.messages.purge(&mut selection, below, request.keep);
        self.removed.several();
        Ok(purged)
    }

    /// Removes a message as `STREAM.MSG.DELETE` asks.
    ///
    /// # Errors
    /// It is not there, or the stream does not allow it.
    pub fn delete<M: Messages, O: Outlet>(
        &mut self,
        world: &mut World<'_, M, O>,
        request: &MsgDeleteRequest,
    ) -> Result<(), ApiError> {
        if self.config.sealed {
            return Err(Code::StreamSealed.into());
        }
        if self.config.deny_delete {
            return Err(Code::StreamMsgDeleteFailed.with(&["message delete not permitted"]));
        }
        let state = world.messages.state();
        // On disk, what never was or is gone from the front is another failure than what was removed in
        // between.
        if self.is_file() && request.seq > state.last_seq {
            return Err(Code::StreamMsgDeleteFailed.with(&["stream store EOF"]));
        }
        if self.is_file() && request.seq < state.first_seq.max(1) {
            return Err(Code::StreamMsgDeleteFailed.with(&["no message found"]));
        }
        if !self.remove(world.messages, request.seq, !request.no_erase) {
            return Err(Code::SequenceNotFound.with(&[&request.seq.to_string()]));
        }
        Ok(())
    }

    /// What `STREAM.INFO` asks for beside what is always said.
    pub fn details(&self, messages: &impl Messages, request: &StreamInfoRequest) -> Details {
        let mut details = Details::default();
        if !request.subjects_filter.is_empty() {
            let mut selection = Selection::of(&[&request.subjects_filter]);
            let mut all = Vec::new();
            messages.each_subject(&mut selection, &mut |subject, state| {
                all.push((subject.to_vec(), state.messages));
            });
            all.sort_unstable();
            let (page, range) = Page::of(all.len(), request.offset, SUBJECTS_MAX);
            details.page = (page.total > 0).then_some(page);
            details.subjects = all.drain(range).collect();
        }
        if request.deleted_details {
            let holes = messages.holes(DELETED_MAX).into_iter();
            details.deleted = holes
                .flat_map(|(first, last)| first..=last)
                .take(DELETED_MAX)
                .collect();
        }
        details
    }

    /// Takes a changed configuration, which has been checked. Limits that have become narrower are
    /// kept from the next turn on.
    ///
    /// # Errors
    /// When a transform in it is none after all; then nothing has changed.
    pub fn update(
        &mut self,
        config: StreamConfig,
        messages: &mut impl Messages,
    ) -> Result<(), ApiError> {
        (self.transform, self.republish) = transforms(&config)?;
        let old = std::mem::replace(&mut self.config, config);
        let new = &self.config;
        self.duplicates.set_window(new.duplicate_window);
        if !new.allow_atomic {
            self.atomic.clear();
        }
        if !new.allow_batched {
            self.fast.clear();
        }
        if old.max_age != new.max_age {
            self.expiry.restart();
        }
        let had_timers = (old.allow_msg_ttl, old.allow_msg_schedules);
        let has_timers = (new.allow_msg_ttl, new.allow_msg_schedules);
        if !new.allow_msg_ttl {
            self.expiry.forget();
        }
        if !new.allow_msg_schedules {
            self.schedules.clear();
        }
        if had_timers != has_timers {
            self.expiry.forget();
            self.schedules.clear();
            self.recovery.restart_timers(messages);
        }
        self.is_over_limits = true;
        self.hurry();
        if let Some(max) = limit(self.config.max_msgs_per_subject)
            && limit(old.max_msgs_per_subject).is_none_or(|old| old > max)
        {
            self.enforce_subjects(messages, max);
        }
        Ok(())
    }
}
