//! Brings back what the stores hold. What cannot be brought back is left alone: it stays on the disks, nobody
//! else gets its name, and if only its account was missing it is tried again when that has come.

use std::collections::BTreeSet;

use super::api::DECIDES;
use super::host::Host;
use super::lifecycle::{Meta, names};
use super::{Engine, Problem, Unhealthy};
use crate::base::ids::AccountId;
use crate::jetstream::api::{decode, versions};
use crate::jetstream::asset::Asset;
use crate::jetstream::{Now, Order};
use crate::store::StreamNumber;

/// Streams that could not be brought back, of which a question after such is told.
const LOST_MAX: usize = 1024;

#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The stores read their journals.
    #[default]
    Reading,
    /// Streams are there whose accounts are not known yet.
    SeekingAccounts,
    Done,
}

/// A stream of this shard's stores that could not be brought back.
#[derive(Debug)]
struct Lost {
    volume: usize,
    number: StreamNumber,
    account: Box<str>,
    stream: Box<str>,
    what: Problem,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Recovery {
    phase: Phase,
    lost: Vec<Lost>,
    /// On the shard that decides: accounts and names of those of all shards.
    names: BTreeSet<(Box<str>, Box<str>)>,
    /// What all shards must have acknowledged to know of what was brought back late.
    told: u64,
}

impl Recovery {
    /// Whether the stores have not been read yet.
    pub fn is_reading(&self) -> bool {
        self.phase == Phase::Reading
    }

    /// Whether what can be brought back from the start is there.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Another shard has a stream that could not be brought back.
    pub fn hear_of_lost(&mut self, account: Box<str>, stream: Box<str>) {
        self.names.insert((account, stream));
    }
}

impl Engine {
    /// All stores have been read. Accounts that are fetched only when somebody of them connects are looked
    /// for first if they have streams: somebody of another account may publish to those.
    pub(super) fn begin_recovery<H: Host>(&mut self, now: Now, host: &mut H) {
        let mut missing = BTreeSet::new();
        for volume in &self.volumes {
            for number in volume.store.streams() {
                if let Some((account, _)) = volume.store.key(number).and_then(names)
                    && self.accounts.find(account).is_none()
                {
                    missing.insert(account.to_owned());
                }
            }
        }
        if missing.is_empty() {
            self.recover(now, host);
        } else {
            self.recovery.phase = Phase::SeekingAccounts;
            host.seek_accounts(missing.into_iter().collect());
        }
    }

    /// What could be found of the accounts that were sought is known.
    pub fn accounts_were_sought<H: Host>(&mut self, now: Now, host: &mut H) {
        if self.recovery.phase == Phase::SeekingAccounts {
            self.recover(now, host);
        }
    }

    fn recover<H: Host>(&mut self, now: Now, host: &mut H) {
        self.recovery.phase = Phase::Done;
        for volume in 0..self.volumes.len() {
            for number in self.volumes[volume].store.streams() {
                if let Err(why) = self.recover_stream(volume, number, 0, now, host) {
                    self.leave_alone(volume, number, &why, host);
                }
            }
        }
        for shard in self.others(host) {
            host.order(shard, Order::Recovered);
        }
    }

    fn leave_alone<H: Host>(
        &mut self,
        volume: usize,
        number: StreamNumber,
        why: &str,
        host: &mut H,
    ) {
        let text = format!("JetStream: stream {} is left alone: {why}", number.0);
        host.log(true, text);
        let store = &self.volumes[volume].store;
        let Some((account, stream)) = store.key(number).and_then(names) else {
            return;
        };
        let what = match self.accounts.find(account) {
            Some(_) => Problem::NotRecovered,
            None => Problem::NoAccount,
        };
        let (account, stream): (Box<str>, Box<str>) = (account.into(), stream.into());
        self.recovery.lost.push(Lost {
            volume,
            number,
            account: account.clone(),
            stream: stream.clone(),
            what,
        });
        if host.own() == DECIDES {
            self.recovery.hear_of_lost(account, stream);
        } else {
            let name = stream;
            host.order(DECIDES, Order::LeftAlone { account, name });
        }
    }

    /// Tries again what was left alone for want of an account that is there now.
    pub(super) fn recover_left_alone<H: Host>(&mut self, now: Now, host: &mut H) {
        let mut is_any_found = false;
        for lost in std::mem::take(&mut self.recovery.lost) {
            if lost.what != Problem::NoAccount || self.accounts.find(&lost.account).is_none() {
                self.recovery.lost.push(lost);
                continue;
            }
            let Lost { volume, number, .. } = lost;
            if let Err(why) = self.recover_stream(volume, number, 0, now, host) {
                self.leave_alone(volume, number, &why, host);
            } else if let Some(account) = self.accounts.find(&lost.account) {
                self.found(account, &lost.stream);
                is_any_found = true;
            }
        }
        if is_any_found {
            self.recovery.told = host.fence();
        }
    }

    /// Whether other shards that have acknowledged all up to this number know what was brought back here. At the
    /// start they are told in other ways.
    pub fn is_known_by(&self, acknowledged: u64) -> bool {
        !self.recovery.is_done() || self.recovery.told <= acknowledged
    }

    /// A stream is there. If it was given up, it is not any more.
    pub(super) fn found(&mut self, account: AccountId, stream: &str) {
        if !self.recovery.names.is_empty() {
            let account = self.accounts.name(account).into();
            self.recovery.names.remove(&(account, stream.into()));
        }
    }

    /// Whether a stream of that name is on the disks and could not be brought back.
    pub(super) fn is_lost(&self, account: AccountId, stream: &str) -> bool {
        let names = &self.recovery.names;
        !names.is_empty() && names.contains(&(self.accounts.name(account).into(), stream.into()))
    }

    /// Streams of this shard's stores that could not be brought back.
    pub(super) fn lost(&self) -> Vec<Unhealthy> {
        let lost = self.recovery.lost.iter().take(LOST_MAX);
        lost.map(|lost| Unhealthy {
            account: lost.account.clone(),
            stream: lost.stream.clone(),
            what: lost.what.clone(),
        })
        .collect()
    }

    /// Brings a stream back.
    ///
    /// # Errors
    /// Why that cannot be done.
    pub(super) fn recover_stream<H: Host>(
        &mut self,
        volume: usize,
        number: StreamNumber,
        decision: u64,
        now: Now,
        host: &mut H,
    ) -> Result<(), String> {
        let store = &self.volumes[volume].store;
        let key = store.key(number).ok_or("it has no name")?;
        let (account_name, stream) = names(key).ok_or("its name cannot be read")?;
        let (account_name, stream) = (account_name.to_owned(), stream.to_owned());
        let meta: Meta = decode::request(store.meta(number).unwrap_or_default(), false)
            .map_err(|error| format!("{account_name} > {stream}: {}", error.description))?;
        if meta.is_restoring {
            self.volumes[volume].store.delete_stream(number);
            let text = format!(
                "JetStream: {account_name} > {stream} was not restored to its end: what had come is deleted"
            );
            host.log(false, text);
            return Ok(());
        }
        if !versions::is_supported(&meta.config.metadata) {
            return Err(format!(
                "{account_name} > {stream} needs a server of a higher API level"
            ));
        }
        let Some(account) = self.accounts.find(&account_name) else {
            return Err(format!(
                "there is no account {account_name:?} for {stream:?}"
            ));
        };
        let known = self.directory.get(account, &stream);
        if known.is_some_and(|known| known.home != host.own())
            || self.place(account, &stream).is_some()
        {
            return Err(format!(
                "there is another stream {stream:?} of {account_name:?}"
            ));
        }
        let store = &mut self.volumes[volume].store;
        let mut facts: std::collections::BTreeMap<u32, Vec<Vec<u8>>> = Default::default();
        store.notes(number, &mut |note, fact| {
            facts.entry(note).or_default().push(fact.to_vec());
        });
        let own = facts.remove(&0).unwrap_or_default();
        let settings = self.options.stream.clone();
        let Some(mut messages) = store.stream(number) else {
            return Err("it is not there".to_owned());
        };
        let asset = Asset::recover(
            meta.config,
            settings,
            &account_name,
            meta.created,
            own.iter().map(Vec::as_slice),
            &mut messages,
            now,
        );
        let asset =
            asset.map_err(|error| format!("{account_name} > {stream}: {}", error.description))?;
        let place = self.settle_in(account, volume, number, asset, decision, host);
        for (note, facts) in facts {
            let recovered = self.with(place, now, host, |asset, around| {
                if asset.recover_feeds(note, &facts) {
                    return Ok(false);
                }
                asset.recover_consumer(note, &facts, around).map(|()| true)
            });
            match recovered {
                Some(Err(why)) => {
                    let text = format!("JetStream: {account_name} > {stream}: {why}");
                    host.log(true, text);
                }
                Some(Ok(true)) => self.accounts.count_consumers(account, 1),
                Some(Ok(false)) | None => {}
            }
        }
        self.with(place, now, host, |asset, around| {
            asset.begin(around);
        });
        Ok(())
    }
}
