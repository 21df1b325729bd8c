//! What cannot be answered before other shards have said something: lists of streams, what an account
//! uses, the removal of all that an account has. Whoever asks is the shard that decides.

use hashbrown::HashMap;

use super::host::{Arrival, Host};
use super::{Engine, borrowed, owned};
use crate::base::ids::{AccountId, ShardId};
use crate::jetstream::api::errors::ApiError;
use crate::jetstream::api::requests::StreamsRequest;
use crate::jetstream::api::responses::{self, LIST_MAX, Page};
use crate::jetstream::{Now, Order, Request};

/// What waits for other shards' answers.
#[derive(Debug, Default)]
pub struct Questions {
    next: u64,
    open: HashMap<u64, Question>,
}

impl Questions {
    /// Whether one is not answered.
    pub fn is_open(&self) -> bool {
        !self.open.is_empty()
    }
}

/// One of them.
#[derive(Debug)]
struct Question {
    request: Box<Request>,
    subject: About,
    /// Shards that have not answered.
    awaited: usize,
}

/// What it is about.
#[derive(Debug)]
enum About {
    /// A list of streams that is being put together: in order, with what has come.
    Streams(Page, Vec<(Box<str>, Option<Vec<u8>>)>),
    /// What an account uses.
    Usage,
    /// Whether the streams of an account are gone.
    Purge,
}

impl Questions {
    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    fn add(&mut self, question: Question) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, question);
        number
    }
}

impl Engine {
    /// All shards but this one.
    pub(super) fn others<H: Host>(&self, host: &H) -> impl Iterator<Item = ShardId> + use<H> {
        let own = host.own();
        let shards = (0..self.options.shards as u8).map(ShardId);
        shards.filter(move |&shard| shard != own)
    }

    /// `STREAM.LIST`.
    pub(super) fn list<H: Host>(
        &mut self,
        now: Now,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) -> Result<(), ApiError> {
        let request: StreamsRequest = self.read(arrival.payload)?;
        let names = self.matching(arrival.account, &request.subject);
        let (page, range) = Page::of(names.len(), request.offset, LIST_MAX);
        let by_home = self.by_home(arrival.account, &names[range.clone()]);
        let streams = names[range].iter().map(|name| (name.clone(), None));
        let number = self.questions.add(Question {
            request: owned(arrival),
            subject: About::Streams(page, streams.collect()),
            awaited: by_home.len(),
        });
        self.conclude_if_answered(number, host);
        for (home, names) in by_home {
            let order = Order::Describe {
                question: number,
                account: arrival.account,
                names,
            };
            self.order(home, order, now, host);
        }
        Ok(())
    }

    /// Streams of an account, by the shard where they live.
    fn by_home(&self, account: AccountId, names: &[Box<str>]) -> Vec<(ShardId, Vec<Box<str>>)> {
        let mut by_home: Vec<(ShardId, Vec<Box<str>>)> = Vec::new();
        for name in names {
            let Some(located) = self.directory.get(account, name) else {
                continue;
            };
            match by_home.iter_mut().find(|(home, _)| *home == located.home) {
                Some((_, names)) => names.push(name.clone()),
                None => by_home.push((located.home, vec![name.clone()])),
            }
        }
        by_home
    }

    /// `INFO`: what the account uses is asked for, because who has just been told that something was
    /// stored wants to find it here.
    pub(super) fn ask_for_usage<H: Host>(&mut self, arrival: &Arrival<'_>, host: &mut H) {
        let others = self.others(host);
        let number = self.questions.add(Question {
            request: owned(arrival),
            subject: About::Usage,
            awaited: self.options.shards.saturating_sub(1),
        });
        self.conclude_if_answered(number, host);
        for shard in others {
            let order = Order::AskUsage {
                question: number,
                account: arrival.account,
            };
            host.order(shard, order);
        }
    }

    /// Removes all streams of an account, and answers then.
    pub(super) fn ask_for_purge<H: Host>(
        &mut self,
        now: Now,
        account: Option<AccountId>,
        arrival: &Arrival<'_>,
        host: &mut H,
    ) {
        let names = account.map(|account| self.matching(account, ""));
        let by_home = match (account, names) {
            (Some(account), Some(names)) => self.by_home(account, &names),
            _ => Vec::new(),
        };
        let number = self.questions.add(Question {
            request: owned(arrival),
            subject: About::Purge,
            awaited: by_home.len(),
        });
        self.conclude_if_answered(number, host);
        for (home, names) in by_home {
            let Some(account) = account else { continue };
            let order = Order::Drop {
                question: number,
                account,
                names,
            };
            self.order(home, order, now, host);
        }
    }

    /// A shard has answered; with descriptions of streams if it was asked for them.
    pub(super) fn answered<H: Host>(
        &mut self,
        number: u64,
        described: Vec<(Box<str>, Vec<u8>)>,
        host: &mut H,
    ) {
        let Some(question) = self.questions.open.get_mut(&number) else {
            return;
        };
        if let About::Streams(_, streams) = &mut question.subject {
            for (name, json) in described {
                let place = streams.binary_search_by(|(own, _)| own.cmp(&name));
                if let Ok(place) = place {
                    streams[place].1 = Some(json);
                }
            }
        }
        question.awaited = question.awaited.saturating_sub(1);
        self.conclude_if_answered(number, host);
    }

    fn conclude_if_answered<H: Host>(&mut self, number: u64, host: &mut H) {
        let open = &mut self.questions.open;
        if open
            .get(&number)
            .is_none_or(|question| question.awaited > 0)
        {
            return;
        }
        let Some(question) = open.remove(&number) else {
            return;
        };
        let arrival = borrowed(&question.request);
        match question.subject {
            About::Streams(page, streams) => {
                // One that was deleted meanwhile is not there.
                let infos = streams.into_iter().filter_map(|(_, json)| json);
                let infos: Vec<Vec<u8>> = infos.collect();
                self.respond(&arrival, host, |to| {
                    responses::stream_list(to, page, &infos);
                });
            }
            About::Usage => {
                let mut answer = std::mem::take(&mut self.answer);
                answer.clear();
                // Its own request is not among those that it tells of.
                self.account_info(arrival.account, &mut answer);
                self.accounts.count_request(arrival.account, false);
                self.send(arrival.account, arrival.reply, &answer, host);
                self.audit(&arrival, &answer, self.now, host);
                self.answer = answer;
            }
            About::Purge => self.respond(&arrival, host, responses::account_purged),
        }
    }
}
