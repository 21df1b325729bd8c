//! Until the stream's own.
use super::*;
use crate::base::deadlines::Millis;
impl Stream {
    pub fn tick<M: Messages, O: Outlet>(&mut self, _world: &mut World<'_, M, O>) {}
    pub fn next_deadline(&self) -> Option<Millis> {
        None
    }
    pub fn waits_for_read(&self) -> bool {
        !self.waiting.is_empty()
    }
    pub fn has_removed(&mut self, _seqs: &[Seq]) {}
    pub fn update<M: Messages, O: Outlet>(
        &mut self,
        config: StreamConfig,
        _world: &mut World<'_, M, O>,
    ) -> Result<(), ApiError> {
        self.config = config;
        Ok(())
    }
}
