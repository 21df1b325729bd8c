//! SUBSZ: subscriptions, counted and listed.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::Serialize;

use super::json::{float, is_default};
use super::time::UnixNanos;
use super::view::{House, Merged, ServerFacts, page};
use crate::shard::facts::{SubFacts, Wanted, WantedSubscriptions};
use crate::subject;

/// Subscriptions in an answer that asks for no number.
const LIMIT_DEFAULT: i64 = 1024;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub offset: i64,
    pub limit: i64,
    pub subscriptions: bool,
    pub account: String,
    pub test: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SubDetail {
    #[serde(skip_serializing_if = "is_default")]
    pub account: String,
    #[serde(skip_serializing_if = "is_default")]
    pub account_tag: String,
    pub subject: String,
    #[serde(skip_serializing_if = "is_default")]
    pub qgroup: String,
    pub sid: String,
    pub msgs: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub max: u64,
    pub cid: u64,
}

impl SubDetail {
    /// With the account that it is of.
    pub fn of_account(server: &ServerFacts, sub: &SubFacts) -> Self {
        Self {
            account: sub.account.to_string(),
            account_tag: server.name_tag(&sub.account).to_owned(),
            ..Self::of_client(sub)
        }
    }

    /// As it is shown below its connection.
    pub fn of_client(sub: &SubFacts) -> Self {
        Self {
            account: String::new(),
            account_tag: String::new(),
            subject: sub.subject.to_string(),
            qgroup: sub.queue.to_string(),
            sid: sub.sid.to_string(),
            msgs: sub.delivered,
            max: sub.max,
            cid: sub.client_id,
        }
    }
}

/// Counts of the interest. There is no cache like nats-server's: what says something about it is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct InterestStats {
    pub num_subscriptions: u64,
    pub num_cache: u64,
    pub num_inserts: u64,
    pub num_removes: u64,
    pub num_matches: u64,
    #[serde(serialize_with = "float")]
    pub cache_hit_rate: f64,
    pub max_fanout: u64,
    #[serde(serialize_with = "float")]
    pub avg_fanout: f64,
}

impl InterestStats {
    /// Of an account, of which only the present is known.
    pub fn of_account(subscriptions: u64) -> Self {
        Self {
            num_subscriptions: subscriptions,
            num_inserts: subscriptions,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Subsz {
    pub server_id: String,
    pub now: UnixNanos,
    #[serde(flatten)]
    pub stats: InterestStats,
    pub total: usize,
    pub offset: i64,
    pub limit: i64,
    #[serde(skip_serializing_if = "is_default")]
    pub subscriptions_list: Vec<SubDetail>,
}

fn in_order(a: &SubFacts, b: &SubFacts) -> Ordering {
    a.client_id.cmp(&b.client_id).then(a.sid.cmp(&b.sid))
}

/// SUBSZ of what these options ask for.
///
/// # Errors
/// The subject to test is no literal one; the text is for the peer.
pub fn subsz(
    house: &mut dyn House,
    server: &ServerFacts,
    options: &Options,
) -> Result<Subsz, String> {
    if !options.test.is_empty() && !subject::is_valid_literal(options.test.as_bytes()) {
        return Err(format!(
            "invalid test subject, must be valid publish subject: {}",
            options.test
        ));
    }
    let account: Option<Arc<str>> =
        (!options.account.is_empty()).then(|| options.account.as_str().into());
    let subscriptions = match (options.subscriptions, options.test.as_str()) {
        (false, _) => WantedSubscriptions::None,
        (true, "") => WantedSubscriptions::All,
        (true, test) => WantedSubscriptions::Matching(test.into()),
    };
    let limit = if options.limit <= 0 {
        LIMIT_DEFAULT
    } else {
        options.limit
    };
    let offset = options.offset.max(0);
    // There may be millions: those that are shown are kept, the others counted.
    let kept = page(usize::MAX, 0, offset.saturating_add(limit)).end;
    let wanted = Wanted {
        connections: false,
        subscriptions,
        subscriptions_kept: Some(kept),
        account: account.clone(),
        ..Wanted::default()
    };
    let mut list: Vec<SubFacts> = Vec::new();
    let mut total = 0;
    let merged = Merged::ask_piecewise(house, &wanted, |facts| {
        total += facts.subscriptions_found;
        list.append(&mut facts.subscriptions_list);
        if list.len() / 2 > kept {
            list.select_nth_unstable_by(kept, in_order);
            list.truncate(kept);
        }
    });
    list.sort_by(in_order);
    let stats = match &account {
        Some(name) => InterestStats::of_account(merged.account(name).subscriptions),
        None => InterestStats {
            num_subscriptions: merged.subscriptions,
            num_inserts: merged.inserts,
            num_removes: merged.removes,
            ..InterestStats::default()
        },
    };
    let shown = list[page(list.len(), offset, limit)].iter();
    Ok(Subsz {
        server_id: server.identity.id.clone(),
        now: house.now(),
        stats,
        total,
        offset,
        limit,
        subscriptions_list: shown
            .map(|sub| SubDetail::of_account(server, sub))
            .collect(),
    })
}
