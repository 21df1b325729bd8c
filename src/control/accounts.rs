//! ACCOUNTZ, INFO and STATZ: accounts, what they export and import, and what they use.

use std::collections::BTreeMap;

use serde::Serialize;

use super::json::is_default;
use super::subsz::InterestStats;
use super::time::UnixNanos;
use super::view::{AccountView, House, Merged, ServerFacts};
use crate::auth::definition::{
    ExportDefinition, ExportKind, ImportDefinition, ImportKind, LatencyDefinition, ResponseType,
    Sampling,
};
use crate::auth::system_imports::{SYSTEM_EXPORTS, SYSTEM_IMPORTS};
use crate::shard::facts::{AccountFacts, Wanted};

#[derive(Clone, Debug, Serialize)]
pub struct Accountz {
    pub server_id: String,
    pub now: UnixNanos,
    #[serde(skip_serializing_if = "is_default")]
    pub system_account: String,
    #[serde(skip_serializing_if = "is_default")]
    pub accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_detail: Option<AccountInfo>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AccountInfo {
    pub account_name: String,
    pub update_time: UnixNanos,
    #[serde(skip_serializing_if = "is_default")]
    pub is_system: bool,
    pub expired: bool,
    pub complete: bool,
    pub jetstream_enabled: bool,
    pub leafnode_connections: u64,
    pub client_connections: u64,
    pub subscriptions: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub mappings: BTreeMap<String, Vec<Mapping>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<Export>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
    #[serde(skip_serializing_if = "is_default")]
    pub jwt: String,
    #[serde(skip_serializing_if = "is_default")]
    pub issuer_key: String,
    #[serde(skip_serializing_if = "is_default")]
    pub name_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
    pub sublist_stats: InterestStats,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mapping {
    pub subject: String,
    pub weight: u8,
    #[serde(skip_serializing_if = "is_default")]
    pub cluster: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Export {
    pub subject: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "is_default")]
    pub token_req: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub response_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_latency: Option<Latency>,
    #[serde(skip_serializing_if = "is_default")]
    pub approved_accounts: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// Per cent, or `headers`.
    pub sampling: LatencySampling,
    pub results: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum LatencySampling {
    Percent(u8),
    Headers(&'static str),
}

#[derive(Clone, Debug, Serialize)]
pub struct Import {
    pub subject: String,
    pub account: String,
    /// Of services, the subject in the importing account, twice: tools read one or the other.
    #[serde(skip_serializing_if = "is_default")]
    pub to: String,
    #[serde(skip_serializing_if = "is_default")]
    pub local_subject: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub invalid: bool,
    pub share: bool,
    pub tracking: bool,
}

/// ACCOUNTZ: all names, or one account in detail.
///
/// # Errors
/// There is no such account; the text is for the peer.
pub fn accountz(
    house: &mut dyn House,
    server: &ServerFacts,
    account: &str,
) -> Result<Accountz, String> {
    let detail = match account {
        "" => None,
        name => Some(account_info(house, server, name)?),
    };
    Ok(Accountz {
        server_id: server.identity.id.clone(),
        now: house.now(),
        system_account: server.system_account.to_string(),
        accounts: match detail {
            Some(_) => Vec::new(),
            None => server
                .accounts
                .iter()
                .map(|account| account.definition.name.clone())
                .collect(),
        },
        account_detail: detail,
    })
}

/// INFO of one account.
///
/// # Errors
/// There is no such account; the text is for the peer.
pub fn account_info(
    house: &mut dyn House,
    server: &ServerFacts,
    name: &str,
) -> Result<AccountInfo, String> {
    let account = server
        .account(name)
        .ok_or_else(|| format!("Account {name} does not exist"))?;
    let wanted = Wanted {
        jetstream_accounts: true,
        ..Wanted::default()
    };
    let merged = Merged::ask(house, &wanted);
    let facts = merged.account(name);
    let is_system = name == &*server.system_account;
    let mut mappings = BTreeMap::new();
    for mapping in &account.definition.mappings {
        let destinations = mapping.destinations.iter().map(|d| Mapping {
            subject: d.subject.clone(),
            weight: d.weight,
            cluster: d.cluster.clone().unwrap_or_default(),
        });
        mappings.insert(mapping.source.clone(), destinations.collect());
    }
    Ok(AccountInfo {
        account_name: name.to_owned(),
        update_time: account.updated,
        is_system,
        expired: account.expired,
        complete: true,
        jetstream_enabled: merged.jetstream_accounts.contains_key(name),
        leafnode_connections: 0,
        client_connections: facts.connections,
        subscriptions: facts.subscriptions,
        mappings,
        exports: exports(account, is_system),
        imports: imports(server, account, is_system),
        jwt: account.jwt.clone(),
        issuer_key: account.issuer_key.clone(),
        name_tag: server.name_tag(name).to_owned(),
        tags: account.tags.clone(),
        sublist_stats: InterestStats::of_account(facts.subscriptions),
    })
}

fn response_type(response: ResponseType) -> &'static str {
    match response {
        ResponseType::Singleton => "Singleton",
        ResponseType::Stream => "Streamed",
        ResponseType::Chunked => "Chunked",
    }
}

fn exports(account: &AccountView, is_system: bool) -> Vec<Export> {
    let of_system = SYSTEM_EXPORTS.iter().filter(|_| is_system).map(|export| {
        let response_type = response_type(export.response);
        Export {
            subject: export.subject.to_owned(),
            kind: "service",
            token_req: false,
            response_type,
            service_latency: None,
            approved_accounts: Vec::new(),
        }
    });
    let configured = account.definition.exports.iter().map(export);
    configured.chain(of_system).collect()
}

fn export(export: &ExportDefinition) -> Export {
    let (kind, response, latency) = match &export.kind {
        ExportKind::Stream => ("stream", "", None),
        ExportKind::Service {
            response, latency, ..
        } => (
            "service",
            response_type(*response),
            latency.as_ref().map(self::latency),
        ),
    };
    Export {
        subject: export.subject.clone(),
        kind,
        token_req: export.token_required,
        response_type: response,
        service_latency: latency,
        approved_accounts: export.accounts.clone().unwrap_or_default(),
    }
}

fn latency(latency: &LatencyDefinition) -> Latency {
    Latency {
        sampling: match latency.sampling {
            Sampling::Percent(share) => LatencySampling::Percent(share),
            Sampling::Headers => LatencySampling::Headers("headers"),
        },
        results: latency.subject.clone(),
    }
}

fn imports(server: &ServerFacts, account: &AccountView, is_system: bool) -> Vec<Import> {
    let name = &account.definition.name;
    let of_system = SYSTEM_IMPORTS
        .iter()
        .filter(|import| !is_system || import.also_of_system_account)
        .map(|import| Import {
            subject: import.to(name),
            account: server.system_account.to_string(),
            to: import.subject.to_owned(),
            local_subject: import.subject.to_owned(),
            kind: "service",
            invalid: false,
            share: import.share,
            tracking: false,
        });
    let configured = account.definition.imports.iter().map(import);
    configured.chain(of_system).collect()
}

fn import(import: &ImportDefinition) -> Import {
    let local = import.to.as_ref().unwrap_or(&import.subject);
    let (kind, share, to) = match import.kind {
        ImportKind::Stream { .. } => ("stream", false, String::new()),
        ImportKind::Service { share } => ("service", share, local.clone()),
    };
    Import {
        subject: import.subject.clone(),
        account: import.account.clone(),
        to,
        local_subject: local.clone(),
        kind,
        invalid: false,
        share,
        tracking: false,
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct AccountStatz {
    pub server_id: String,
    pub now: UnixNanos,
    pub account_statz: Vec<AccountStat>,
}

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub msgs: u64,
    pub bytes: u64,
}

/// Messages by where they come from or go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CountByKind {
    #[serde(flatten)]
    pub all: Count,
    pub gateways: Count,
    pub routes: Count,
    pub leafs: Count,
}

#[derive(Clone, Debug, Serialize)]
pub struct AccountStat {
    pub acc: String,
    pub name: String,
    pub conns: u64,
    pub leafnodes: u64,
    pub total_conns: u64,
    pub num_subscriptions: u64,
    pub sent: CountByKind,
    pub received: CountByKind,
    pub slow_consumers: u64,
}

impl AccountStat {
    /// Of an account with these counts.
    pub fn new(server: &ServerFacts, name: &str, facts: &AccountFacts) -> Self {
        let traffic = &facts.traffic;
        let of_clients = |msgs, bytes| CountByKind {
            all: Count { msgs, bytes },
            ..CountByKind::default()
        };
        Self {
            acc: name.to_owned(),
            name: server.name_tag(name).to_owned(),
            conns: facts.connections,
            leafnodes: 0,
            total_conns: facts.connections,
            num_subscriptions: facts.subscriptions,
            sent: of_clients(traffic.out_messages, traffic.out_bytes),
            received: of_clients(traffic.in_messages, traffic.in_bytes),
            slow_consumers: facts.slow_consumers,
        }
    }
}

/// STATZ of these accounts, or of all; those without connections only if asked for.
pub fn account_statz(
    house: &mut dyn House,
    server: &ServerFacts,
    accounts: &[String],
    include_unused: bool,
) -> AccountStatz {
    let merged = Merged::ask(house, &Wanted::default());
    let chosen: Vec<&str> = if accounts.is_empty() {
        let all = server.accounts.iter();
        all.map(|account| account.definition.name.as_str())
            .collect()
    } else {
        let known = |name: &&str| server.account(name).is_some();
        accounts.iter().map(String::as_str).filter(known).collect()
    };
    let stats = chosen.into_iter().filter_map(|name| {
        let facts = merged.account(name);
        (include_unused || facts.connections > 0).then(|| AccountStat::new(server, name, &facts))
    });
    AccountStatz {
        server_id: server.identity.id.clone(),
        now: house.now(),
        account_statz: stats.collect(),
    }
}
